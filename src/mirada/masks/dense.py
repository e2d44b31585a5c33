"""Masks that are given as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mirada.masks.mask import Mask


def dense(tensor: Tensor) -> Mask:
    """A mask written out: bool (True = may attend) or floating (added to the scaled scores).

    It broadcasts against (..., L, S) from the right, as tensors do.

    >>> dense(torch.tensor([[True, False]])).materialise((), 2, 2)[0].int().tolist()
    [[1, 0], [1, 0]]
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"a mask must be a bool or floating tensor or a mirada.masks mask, got {type(tensor).__name__}")
    if tensor.dtype != torch.bool and not tensor.is_floating_point():
        raise TypeError(
            f"a mask must be bool (True = may attend) or floating (added to the scores), got {tensor.dtype}: "
            "convert it with mask.bool()"
        )
    return _Dense(tensor)


def as_mask(mask: Mask | Tensor | None) -> Mask | None:
    """A mask as mirada knows it: tensors are taken as ``dense``; None, "everybody sees all", stays None."""
    return mask if mask is None or isinstance(mask, Mask) else dense(mask)


@dataclass(frozen=True, eq=False)
class _Dense(Mask):
    tensor: Tensor  # once fitted (*leading or ones, L, S)

    @property
    def is_tensor(self) -> bool:
        return True

    @property
    def additive(self) -> bool:
        return self.tensor.is_floating_point()

    @property
    def same_for_all_queries(self) -> bool:
        return self.tensor.ndim < 2 or self.tensor.stride(-2) == 0 or self.tensor.shape[-2] == 1

    @property
    def requires_grad(self) -> bool:
        return self.tensor.requires_grad

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        wanted = (*leading, queries, keys)
        shape = (1,) * (len(wanted) - self.tensor.ndim) + tuple(self.tensor.shape)
        if len(shape) != len(wanted) or any(have not in (1, want) for have, want in zip(shape, wanted, strict=True)):
            raise ValueError(
                f"mask of shape {tuple(self.tensor.shape)} does not broadcast to the matrix's shape {wanted}"
            )
        return _Dense(self.tensor.to(device).reshape(shape).expand(*shape[:-2], queries, keys))

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        return replace(self, tensor=self.tensor.expand(*leading, *self.tensor.shape[-2:])[index])

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return self._visible(self.tensor[..., i, j])

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        return self.tensor[..., i, j] if self.additive else None

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        whole = (rows.stop - rows.start, columns.stop - columns.start) == self.tensor.shape[-2:]
        block = self.tensor if whole else self.tensor[..., rows, columns]
        return self._visible(block), block if self.additive else None

    def _visible(self, entries: Tensor) -> Tensor:
        return entries != -torch.inf if self.additive else entries
