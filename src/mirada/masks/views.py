"""A fitted mask in other coordinates: with queries and keys in each other's place, or a rectangle of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from mirada.masks.mask import Mask
from mirada.masks.ranges import overlap

__all__: list[str] = []  # for kernels and views; what the methods promise stands with `Mask`


@dataclass(frozen=True, eq=False)
class MaskView(Mask):
    """A mask that answers as another one does, but for what a subclass says. Every view derives from it.

    All that `Mask` can be asked is forwarded here, once, so that no view forgets a question: a learned bias whose view
    did not say that it is learned lost its gradient.
    """

    mask: Mask

    @property
    def additive(self) -> bool:
        return self.mask.additive

    @property
    def same_for_all_queries(self) -> bool:
        return self.mask.same_for_all_queries

    @property
    def requires_grad(self) -> bool:
        return self.mask.requires_grad

    @property
    def is_tensor(self) -> bool:
        return self.mask.is_tensor

    @property
    def exact_ranges(self) -> bool:
        return self.mask.exact_ranges

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Self:
        return replace(self, mask=self.mask.fit(leading, queries, keys, device))

    def pick(self, leading: Sequence[int], index: Any) -> Self:
        return replace(self, mask=self.mask.pick(leading, index))

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return self.mask.visible(i, j)

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        return self.mask.bias(i, j)

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        return self.mask.block(rows, columns, device)

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return self.mask.keys_seen(start, stop, keys)

    def keys_seen_by_all(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return self.mask.keys_seen_by_all(start, stop, keys)

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return self.mask.queries_seeing(start, stop, queries)


@dataclass(frozen=True, eq=False)
class Transposed(MaskView):
    """A fitted mask with queries and keys in each other's place: which queries attend to each key."""

    @property
    def same_for_all_queries(self) -> bool:
        return False  # its queries are the mask's keys

    @property
    def exact_ranges(self) -> bool:
        return False

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Self:
        return replace(self, mask=self.mask.fit(leading, keys, queries, device))

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

    def keys_seen_by_all(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return 0, 0  # the mask knows such ranges of its keys only

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return self.mask.keys_seen(start, stop, queries)


@dataclass(frozen=True, eq=False)
class Part(MaskView):
    """A fitted mask's rectangle that begins at query ``row`` and key ``column``."""

    row: int
    column: int

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Self:
        return self  # its mask is fitted to the whole

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return self.mask.visible(i + self.row, j + self.column)

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        return self.mask.bias(i + self.row, j + self.column)

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        return self.mask.block(_shifted(rows, self.row), _shifted(columns, self.column), device)

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        seen = self.mask.keys_seen(start + self.row, stop + self.row, keys + self.column)
        return overlap((seen[0] - self.column, seen[1] - self.column), (0, keys))

    def keys_seen_by_all(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        seen = self.mask.keys_seen_by_all(start + self.row, stop + self.row, keys + self.column)
        return overlap((seen[0] - self.column, seen[1] - self.column), (0, keys))

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        seen = self.mask.queries_seeing(start + self.column, stop + self.column, queries + self.row)
        return overlap((seen[0] - self.row, seen[1] - self.row), (0, queries))


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
