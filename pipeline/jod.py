"""
How much of a change people see, in JOD, where the package cvvdp is installed.

ColorVideoVDP (Mantiuk et al. 2024) models what an eye tells apart: 10 is no difference, and a
difference of 1 is seen by three quarters of observers. Measured is this and no more: six frames
spread over the video, each as a still picture that fills the height of a full-HD screen
(`standard_fhd`), scaled down to 540 lines where it has more. That takes about 0.6 s a frame on
one core (at 720 lines 1.2 s) and read 0.01 to 0.02 higher than the full picture on three real
clips. The codec's own part is in it; flicker, and what else motion shows or hides, is not.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from types import ModuleType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.display import UPRIGHT, orientation, upright_planes
from pipeline.media import VideoTrack
from pipeline.pairing import Ground, common_ground
from pipeline.planes import Planes, planes_of

MOST_FRAMES = 6
_MOST_LINES = 540
_LEAST_SIDE = 2  # the metric's pyramid has no level for less
_DISPLAY = "standard_fhd"
_PIXELS_PER_DEGREE = 37.8  # of that display, at 1080 lines
_PACKAGE, _MODULE = "cvvdp", "pycvvdp"


@dataclass(frozen=True)
class JodMeasure:
    """JOD of the sampled frames: their mean, the worst, and how many they are."""

    mean: float
    worst: float
    frames: int


class NoJod(Exception):
    """JOD cannot be told; says why, in words that follow "not measured: "."""


def load_metric() -> ModuleType:
    """
    Return the package that measures.

    Raises:
        NoJod: it is not installed, or cannot be imported.
    """
    if importlib.util.find_spec(_MODULE) is None:
        raise NoJod("pip install 'media-cleaner[quality]' adds it")
    from pipeline.torchvision_import import import_torchvision

    try:
        import_torchvision()  # the package imports torchvision, which a CPU torch needs mended
        return importlib.import_module(_MODULE)
    except (ImportError, OSError, RuntimeError) as error:
        raise NoJod(f"{_PACKAGE} cannot be imported ({error})") from error


class Stills:
    """Keeps a few pairs of pictures out of those it is offered, as the metric takes them."""

    def __init__(self, ways: tuple[VideoTrack, VideoTrack], pairs: int) -> None:
        """
        Args:
            ways: the tracks of the original and of the protected video.
            pairs: how many will be offered, at least one.
        """
        places = np.linspace(0, pairs - 1, min(MOST_FRAMES, pairs)).round()
        self._chosen = frozenset(int(place) for place in places)
        self._is_hdr = any(track.is_hdr for track in ways)
        first, second = (orientation(track.display_matrix) for track in ways)
        # Of different orientations, `common_planes` has turned both.
        self._turn = first if first == second else UPRIGHT
        self._aspect = Fraction(ways[0].sample_aspect or 1)
        if first.is_transposed:
            self._aspect = 1 / self._aspect
        self._kept: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []

    def offer(
        self,
        number: int,
        frames: tuple[av.VideoFrame, av.VideoFrame],
        planes: tuple[Planes, Planes],
    ) -> None:
        """
        Consider the pair of this number, from 0; it is copied if kept.

        Args:
            planes: of `frames`, as `pairing.common_planes` makes them.
        """
        if number not in self._chosen or self._is_hdr:
            return
        ground = common_ground(*frames)
        first, second = (
            _shown(upright_planes(picture, self._turn), ground, self._aspect) for picture in planes
        )
        self._kept.append((first, second))

    def jod(self) -> JodMeasure:
        """
        Return the JOD of what was kept.

        Raises:
            NoJod: as `load_metric`, or the pictures are not for the screen that is modelled.
        """
        if self._is_hdr:
            raise NoJod("the picture is HDR, and the screen that is modelled is not")
        package = load_metric()
        with _one_thread():
            found = list(self._jods(package))
        return JodMeasure(float(np.mean(found)), min(found), len(found))

    def _jods(self, package: ModuleType) -> Iterator[float]:
        metrics: dict[tuple[int, ...], Any] = {}  # a video may change its size halfway
        for original, protected in self._kept:
            size = original.shape[:2]
            if size not in metrics:
                metrics[size] = _metric(package, *size)
            yield float(metrics[size].predict(protected, original, dim_order="HWC")[0])


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one: at these sizes two took 2.2 times the CPU, and twice as long when busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _metric(package: ModuleType, height: int, width: int) -> Any:
    import torch

    geometry = package.vvdp_display_geometry(
        [width, height], ppd=_PIXELS_PER_DEGREE * height / 1080
    )
    # On the CPU, whatever there is: CUDA's driver reserves more address space than we may use.
    return package.cvvdp(
        display_name=_DISPLAY,
        display_geometry=geometry,
        device=torch.device("cpu"),
        quiet=True,
    )


def _shown(picture: Planes, ground: Ground, aspect: Fraction) -> NDArray[np.uint8]:
    """Return an upright picture with square pixels, (height, width, 3) RGB, at most 540 lines."""
    frame = _frame(picture)
    # As `shown.as_displayed`: the smaller side grows.
    one = Fraction(1)
    width, height = frame.width * max(aspect, one), frame.height / min(aspect, one)
    scale = min(one, _MOST_LINES / height)
    rgb = frame.reformat(
        width=max(_LEAST_SIDE, round(width * scale)),
        height=max(_LEAST_SIDE, round(height * scale)),
        format="rgb24",
        interpolation="AREA",
        src_color_range=ground.range,
        src_colorspace=ground.matrix,
        threads=1,
    )
    return np.asarray(rgb.to_ndarray(), np.uint8)


def _frame(picture: Planes) -> av.VideoFrame:
    height, width = picture.luma.shape
    frame = av.VideoFrame(width, height, "yuv420p" if picture.depth == 8 else "yuv420p10le")
    for target, source in zip(planes_of(frame), picture, strict=True):
        target[:] = source
    return frame
