"""
One network as a surrogate: what it expects of a picture, what it sees in it.

Pictures come as Y, Cb and Cr in 8-bit levels at any size; they are turned into the
ImageNet-normalised RGB of the network's own input size here, with gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.transforms import shrink, straight_through

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INPUT_SIZE = 224
# Y, Cb, Cr of limited range to R, G, B (ITU-R BT.601). HD video is BT.709 and some is full
# range: the difference is a slight tint and contrast, to which recognisers are indifferent.
_RGB_OF_YCBCR = (
    (1.16438, 0.0, 1.59603),
    (1.16438, -0.39176, -0.81297),
    (1.16438, 2.01723, 0.0),
)
_BLACK = (16.0, 128.0, 128.0)
# Depths of a network, as shares of its layers, after which features are compared. Middle
# layers transfer best to networks of other kinds: early ones see edges, late ones labels.
_DEPTHS = (0.5, 0.75)
# A module that holds more of the layers than this is looked into.
_LARGEST_BLOCK = 0.25
_LAYERS = (nn.Conv2d, nn.Linear, nn.MultiheadAttention)


@dataclass(frozen=True)
class Network:
    """
    A network that is ready to be differentiated.

    Attributes:
        name: as the report calls it.
        module: takes (n, 3, input_size, input_size) normalised RGB, gives a tensor (n, ...),
            or a tuple or list that begins with one; in eval mode, its parameters frozen. Of one
            picture the tensor may lack the first dimension.
        input_size: side of the square it wants, pixels.
        taps: names of the submodules whose outputs are compared, beside the network's own.
        mean, std: of R, G and B in 0-1, by which its input is normalised.
        batch_size: how many pictures the module takes at once; None where it takes any number.
        layout: of its input in memory.
    """

    name: str
    module: nn.Module
    input_size: int = INPUT_SIZE
    taps: tuple[str, ...] = ()
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    batch_size: int | None = None
    layout: torch.memory_format = torch.channels_last

    def features(self, batch: Tensor) -> list[Tensor]:
        """Return (n, length) for each tap, then for the output, of a batch (n, 3, h, w)."""
        features = [self._features(part) for part in self._parts(batch)]
        return [torch.cat(parts) for parts in zip(*features, strict=True)]

    def top1(self, batch: Tensor) -> Tensor:
        """Return (n,) int64: the index of the largest output for each of (n, 3, h, w)."""
        outputs = [_rows(first_tensor(self.module(part)), part) for part in self._parts(batch)]
        return torch.cat(outputs).argmax(dim=1)

    def _features(self, part: Tensor) -> list[Tensor]:
        with _capture(self.module, self.taps) as captured:
            output = first_tensor(self.module(part))
        return [_rows(feature, part) for feature in (*captured, output)]

    def _parts(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Return what goes through the module at once, in turn."""
        prepared = self._prepare(batch)
        # Parts of a split must not be written to, and networks may normalise their input in place.
        return prepared.split(self.batch_size) if self.batch_size else (prepared,)

    def _prepare(self, batch: Tensor) -> Tensor:
        """Return normalised RGB; a picture that is not square is squeezed, not cropped."""
        rgb = rgb_of(shrink(batch, (self.input_size, self.input_size)))
        normalised = (rgb - _column(self.mean, batch)) / _column(self.std, batch)
        return normalised.contiguous(memory_format=self.layout)


def similarity(before: list[Tensor], after: list[Tensor]) -> Tensor:
    """Return how alike two pictures' features are, a scalar from -1 to 1."""
    pairs = zip(before, after, strict=True)
    return torch.stack([F.cosine_similarity(b, a, dim=1).mean() for b, a in pairs]).mean()


def rgb_of(batch: Tensor) -> Tensor:
    """
    Return RGB in 0-1 of Y, Cb, Cr in levels, both (n, 3, h, w).

    Gradients pass the clamp as if it were not there: a place that is just too bright can
    still be darkened.
    """
    matrix = torch.tensor(_RGB_OF_YCBCR, dtype=batch.dtype, device=batch.device) / 255
    offset = -matrix @ _column(_BLACK, batch).flatten()
    rgb = F.conv2d(batch, matrix[:, :, None, None], offset)
    return straight_through(rgb, rgb.clamp(0.0, 1.0))


def first_tensor(output: object) -> Tensor:
    """
    Return the tensor that a network's output is or begins with.

    Raises:
        TypeError: there is none.
    """
    if isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, Tensor):
        raise TypeError(f"its output is a {type(output).__name__}, not a tensor")
    return output


def choose_taps(module: nn.Module, input_size: int) -> tuple[str, ...]:
    """
    Return the names of the blocks that end nearest to a half and three quarters of the depth.

    Depth is counted in weighted layers, in the order in which they run. Blocks are the
    coarsest modules that hold at most a quarter of the layers each: ResNet's stages,
    MobileNet's blocks, a transformer's layers, VGG's single layers.
    """
    ends = _block_ends(module, input_size)
    if not ends:
        return ()
    nearest = [min(ends, key=lambda name: abs(ends[name] - depth)) for depth in _DEPTHS]
    return tuple(dict.fromkeys(nearest))


def _block_ends(module: nn.Module, input_size: int) -> dict[str, float]:
    """Return at which share of the layers each block with spatial output ends."""
    layers = _count_layers(module)
    names = [name for name, _ in _blocks(module, "", layers)]
    ends: dict[str, int] = {}
    passed = [0]

    def count(*_: object) -> None:
        passed[0] += 1

    def end(name: str, output: object) -> None:
        if isinstance(output, Tensor) and _is_spatial(output):
            ends[name] = passed[0]

    handles = [m.register_forward_hook(count) for m in module.modules() if isinstance(m, _LAYERS)]
    for name in names:
        block = module.get_submodule(name)
        handles.append(block.register_forward_hook(lambda _m, _i, o, name=name: end(name, o)))
    try:
        with torch.no_grad():
            module(torch.zeros(1, 3, input_size, input_size))
    finally:
        for handle in handles:
            handle.remove()
    return {name: passed_then / max(1, passed[0]) for name, passed_then in ends.items()}


def _blocks(module: nn.Module, prefix: str, layers: int) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        is_leaf = next(child.children(), None) is None
        if is_leaf or _count_layers(child) <= _LARGEST_BLOCK * layers:
            yield prefix + name, child
        else:
            yield from _blocks(child, f"{prefix}{name}.", layers)


def _count_layers(module: nn.Module) -> int:
    return sum(isinstance(part, _LAYERS) for part in module.modules())


def _is_spatial(output: Tensor) -> bool:
    """Whether features have places: (n, c, h, w) of more than one pixel, or (n, tokens, c)."""
    if output.ndim == 4:
        return output.shape[-1] * output.shape[-2] > 1
    return output.ndim == 3 and output.shape[1] > 1


def _rows(output: Tensor, part: Tensor) -> Tensor:
    """Return (n, length), a row for each of n pictures; networks may squeeze a single one away."""
    return output.reshape(len(part), -1)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype, device=like.device).reshape(1, 3, 1, 1)


@contextmanager
def _capture(module: nn.Module, names: tuple[str, ...]) -> Iterator[list[Tensor]]:
    """Collect the outputs of the named submodules while the block runs, in running order."""
    captured: list[Tensor] = []
    handles = [
        module.get_submodule(name).register_forward_hook(lambda _m, _i, out: captured.append(out))
        for name in names
    ]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()
