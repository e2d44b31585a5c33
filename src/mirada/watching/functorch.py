"""Tensors under `torch.func` transforms: what they stand for, which outlives the transform.

Torch has only private names for this. Where one is gone, transforms are refused by name and all else is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from mirada.watching.call import Call

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


def transforming() -> bool:
    """Whether some transform is: where torch doesn't tell, none is."""
    return _level is not None and _level() is not None


def outside() -> AbstractContextManager[object]:
    """Work done in here is no part of the transforms that are going on."""
    return nullcontext() if _clear_stack is None or not going_on() else _clear_stack()


def unseen() -> AbstractContextManager[object]:
    """Work done in here is seen by no watch further out."""
    return torch._C.DisableTorchFunction()


def outer(call: Call) -> Call:
    """The call outside of all transforms: the tensors themselves, with a leading dimension for each vmap.

    All have one rank before, or fewer dimensions that broadcast from the right; so they have after. Nothing is
    computed with a stand-in: under a gradient, each view of one would be wrapped again.
    """
    tensors = [call.query, call.key, *call.masks, *(t for t in (call.value, call.weights) if t is not None)]
    if not transformed(tensors):
        return call
    unwrapped = {id(tensor): _unwrapped(tensor) for tensor in tensors}
    levels = sorted({level for _, batch, _ in unwrapped.values() for level in batch})
    rank = max(len(own) for _, _, own in unwrapped.values())
    with outside():

        def whole(tensor: Tensor) -> Tensor:
            inner, batch, own = unwrapped[id(tensor)]
            inner = inner.permute(*(batch[level] for level in levels if level in batch), *own)
            index = [slice(None) if level in batch else None for level in levels]
            return inner[(*index, *[None] * (rank - len(own)), ...)]

        return call.each(whole)


def _unwrapped(tensor: Tensor) -> tuple[Tensor, dict[int, int], list[int]]:
    """The tensor without its transforms; which dimension each vmap's level has in it, and which are its own."""
    if not _is_stand_in(tensor):
        return tensor, {}, list(range(tensor.ndim))
    inner, batch, own = _unwrapped(_functorch.get_unwrapped(tensor))
    if _functorch.is_batchedtensor(tensor):
        at = own.pop(_functorch.maybe_get_bdim(tensor))
        batch = {**batch, _functorch.maybe_get_level(tensor): at}
    return inner, batch, own


def _refused(tensor: Tensor) -> bool:
    """False for a plain tensor; a stand-in, known by having no memory of its own, can't be read."""
    try:
        tensor.data_ptr()
    except RuntimeError:
        raise RuntimeError(
            f"torch {torch.__version__} lacks the names by which vmap and other torch.func transforms are "
            "followed: watch the model called plainly"
        ) from None
    return False


_can_look = _clear_stack is not None and all(hasattr(_functorch, name) for name in _NAMES)
_is_stand_in: Callable[[Tensor], bool] = _functorch.is_functorch_wrapped_tensor if _can_look else _refused
