"""
An accelerator where there is none: tensors that say that they lie elsewhere, and are computed here.

Torch refuses, on a real one, what mixes tensors of two devices, draws there from a generator of
the CPU, or reads there without a copy; so does this. It calls itself `meta`, a kind of device that
every build of torch knows and that needs no driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta")
_COPIES = ("aten::_to_copy", "aten::copy_")
# Those of the accelerator take indices of the CPU, too.
_INDEXING = ("aten::index", "aten::index_put_")


class _Elsewhere(Tensor):
    """A tensor of the accelerator; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> _Elsewhere:
        tensor = Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        tensor.held = held
        return tensor

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None):
        return _run(operator, args, kwargs or {})


class _Operators(TorchDispatchMode):
    """Sees what makes a tensor out of nothing, or out of the CPU's, as well."""

    def __init__(self) -> None:
        super().__init__()
        self.ran = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None):
        self.ran += 1
        return _run(operator, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """`torch.tensor` with a device makes an empty one before any operator is seen."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        kwargs = dict(kwargs or {})
        if function is torch.tensor and (device := kwargs.pop("device", None)) is not None:
            return function(*args, **kwargs).to(device)
        return function(*args, **kwargs)


@contextmanager
def accelerator() -> Iterator[Callable[[], int]]:
    """Yields what tells how many operators have run so far, here or there."""
    with _Operators() as operators, _Literals():
        yield lambda: operators.ran


def _run(operator: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = operator._schema.name
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    is_elsewhere = any(isinstance(tensor, _Elsewhere) for tensor in tensors)
    # A tensor of the CPU without dimensions counts as a number.
    is_here = any(not isinstance(tensor, _Elsewhere) and tensor.ndim for tensor in tensors)
    if is_elsewhere and is_here and name not in (*_COPIES, *_INDEXING):
        raise RuntimeError(f"{name}: tensors on two devices")
    target = kwargs.get("device")
    if target is not None:
        is_elsewhere = torch.device(target).type == DEVICE.type
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif name == "aten::copy_":
        is_elsewhere = isinstance(args[0], _Elsewhere)
    if is_elsewhere and kwargs.get("generator") is not None:
        raise RuntimeError(f"{name}: a generator of the CPU")
    held_args, held_kwargs = tree_map_only(_Elsewhere, lambda tensor: tensor.held, (args, kwargs))
    result = operator(*held_args, **held_kwargs)
    if name.endswith("_") and isinstance(result, Tensor):  # in place
        return args[0]
    return tree_map_only(Tensor, _Elsewhere, result) if is_elsewhere else result
