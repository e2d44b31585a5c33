"""Tensors under `torch.func` transforms: what they stand for, which outlives the transform.

Torch has only private names for this. Where one is gone, transforms are refused by name and all else is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

_functorch: Any = getattr(torch._C, "_functorch", None)
_level: Callable[[], object] | None = getattr(_functorch, "peek_interpreter_stack", None)
_NAMES = ("is_functorch_wrapped_tensor", "maybe_get_level", "get_unwrapped", "is_batchedtensor", "maybe_get_bdim")
_clear_stack: Callable[[], AbstractContextManager[object]] | None

try:
    from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack as _clear_stack
except ImportError:
    _clear_stack = None


def transformed(tensors: Sequence[Tensor]) -> bool:
    """Whether any of these is a stand-in that some transform (vmap, grad) made."""
    return any(map(_is_stand_in, tensors))


def going_on() -> bool:
    """Whether any transform may be."""
    return _level is None or _level() is not None


def outside() -> AbstractContextManager[object]:
    """Work done in here is no part of the transforms that are going on."""
    assert _clear_stack is not None
    return _clear_stack()


def unseen() -> AbstractContextManager[object]:
    """Work done in here is seen by no watch further out."""
    return torch._C.DisableTorchFunction()


def plain(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors themselves, with a leading dimension for each vmap that they are in.

    All have one rank before, or fewer dimensions that broadcast from the right; so they have after.
    """
    rank = max(tensor.ndim for tensor in tensors)
    while transformed(tensors):
        level = max(map(_functorch.maybe_get_level, filter(_is_stand_in, tensors)))
        ranked = [tensor[(None,) * (rank - tensor.ndim)] for tensor in tensors]
        tensors, batched = zip(*(_peeled(tensor, level) for tensor in ranked), strict=True)
        if any(batched):
            tensors = [t if was else t[None] for t, was in zip(tensors, batched, strict=True)]
            rank += 1
    return list(tensors)


def _peeled(tensor: Tensor, level: int) -> tuple[Tensor, bool]:
    """The tensor without one transform, and whether that was a vmap: its dimension then comes first."""
    if not _is_stand_in(tensor) or _functorch.maybe_get_level(tensor) != level:
        return tensor, False
    inner = _functorch.get_unwrapped(tensor)
    if not _functorch.is_batchedtensor(tensor):
        return inner, False
    return inner.movedim(_functorch.maybe_get_bdim(tensor), 0), True


def _refused(tensor: Tensor) -> bool:
    """False for a plain tensor; a stand-in, known by having no memory of its own, can't be looked into."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        raise RuntimeError(
            f"torch {torch.__version__} lacks the names by which vmap and other torch.func transforms can be looked "
            "into: watch the model called plainly"
        ) from None
    return False


_can_look = _clear_stack is not None and all(hasattr(_functorch, name) for name in _NAMES)
_is_stand_in: Callable[[Tensor], bool] = _functorch.is_functorch_wrapped_tensor if _can_look else _refused
