"""A fitted mask looked at otherwise: with queries and keys in each other's place, or a rectangle of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mirada.masks.mask import Mask
from mirada.masks.ranges import overlap

__all__: list[str] = []  # for kernels and views; what the methods promise stands with `Mask`


@dataclass(frozen=True, eq=False)
class Transposed(Mask):
    """A fitted mask with queries and keys in each other's place: who is seen by whom."""

    mask: Mask

    @property
    def additive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - follows from it
        return self.mask.additive

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        return replace(self, mask=self.mask.fit(leading, keys, queries, device))

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        return replace(self, mask=self.mask.pick(leading, index))

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        i, j = torch.broadcast_tensors(i, j)
        return self.mask.visible(j, i)

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        i, j = torch.broadcast_tensors(i, j)
        return self.mask.bias(j, i)

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        visible, bias = self.mask.block(columns, rows, device)
        return visible.mT, None if bias is None else bias.mT

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return self.mask.queries_seeing(start, stop, keys)

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return self.mask.keys_seen(start, stop, queries)


@dataclass(frozen=True, eq=False)
class Part(Mask):
    """A fitted mask's rectangle that begins at query ``row`` and key ``column``."""

    mask: Mask
    row: int
    column: int

    @property
    def additive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - follows from it
        return self.mask.additive

    @property
    def same_for_all_queries(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - likewise
        return self.mask.same_for_all_queries

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        return self

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        return replace(self, mask=self.mask.pick(leading, index))

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return self.mask.visible(i + self.row, j + self.column)

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        return self.mask.bias(i + self.row, j + self.column)

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        return self.mask.block(_shifted(rows, self.row), _shifted(columns, self.column), device)

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        seen = self.mask.keys_seen(start + self.row, stop + self.row, keys + self.column)
        return overlap((seen[0] - self.column, seen[1] - self.column), (0, keys))


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
