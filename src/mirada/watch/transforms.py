"""Tensors under `torch.func` transforms: what they stand for, which outlives the transform."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

_functorch: Any = torch._C._functorch  # type: ignore[attr-defined] - the stubs lack it


def transformed(tensors: Sequence[Tensor]) -> bool:
    """Whether any of these is a stand-in that some transform (vmap, grad) made."""
    return any(map(_functorch.is_functorch_wrapped_tensor, tensors))


def outside() -> AbstractContextManager[object]:
    """Work done in here is no part of the transforms that are going on."""
    return temporarily_clear_interpreter_stack()


def unseen() -> AbstractContextManager[object]:
    """Work done in here is seen by no watch further out."""
    return torch._C.DisableTorchFunction()


def plain(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors themselves, with a leading dimension for each vmap that they are in.

    All have one rank before, or fewer dimensions that broadcast from the right; so they have after.
    """
    rank = max(tensor.ndim for tensor in tensors)
    while transformed(tensors):
        level = max(map(_functorch.maybe_get_level, filter(_functorch.is_functorch_wrapped_tensor, tensors)))
        ranked = [tensor[(None,) * (rank - tensor.ndim)] for tensor in tensors]
        tensors, batched = zip(*(_peeled(tensor, level) for tensor in ranked), strict=True)
        if any(batched):
            tensors = [t if was else t[None] for t, was in zip(tensors, batched, strict=True)]
            rank += 1
    return list(tensors)


def _peeled(tensor: Tensor, level: int) -> tuple[Tensor, bool]:
    """The tensor without one transform, and whether that was a vmap: its dimension then comes first."""
    if not _functorch.is_functorch_wrapped_tensor(tensor) or _functorch.maybe_get_level(tensor) != level:
        return tensor, False
    inner = _functorch.get_unwrapped(tensor)
    if not _functorch.is_batchedtensor(tensor):
        return inner, False
    return inner.movedim(_functorch.maybe_get_bdim(tensor), 0), True
