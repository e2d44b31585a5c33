"""Masks of masks: `&`, `|` and `~`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mirada.masks.dense import dense
from mirada.masks.mask import Mask
from mirada.masks.ranges import hull, overlap
from mirada.masks.views import MaskView


def both(one: Mask, other: Mask | Tensor) -> Mask:
    """Sees what both let see, and adds what both add."""
    return _And(one, _operand(other))


def either(one: Mask, other: Mask | Tensor) -> Mask:
    """Sees what either lets see. TypeError for a mask that adds numbers."""
    return _Or(_boolean(one, "|"), _boolean(_operand(other), "|"))


def opposite(mask: Mask) -> Mask:
    """Sees what the mask hides. TypeError for a mask that adds numbers."""
    return _Not(_boolean(mask, "~"))


@dataclass(frozen=True, eq=False)
class _And(Mask):
    one: Mask
    other: Mask

    @property
    def additive(self) -> bool:
        return self.one.additive or self.other.additive

    @property
    def same_for_all_queries(self) -> bool:
        return self.one.same_for_all_queries and self.other.same_for_all_queries

    @property
    def requires_grad(self) -> bool:
        return self.one.requires_grad or self.other.requires_grad

    @property
    def is_tensor(self) -> bool:
        return self.one.is_tensor or self.other.is_tensor

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        sizes = (leading, queries, keys, device)
        return replace(self, one=self.one.fit(*sizes), other=self.other.fit(*sizes))

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        return replace(self, one=self.one.pick(leading, index), other=self.other.pick(leading, index))

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return self.one.visible(i, j) & self.other.visible(i, j)

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        return _sum(self.one.bias(i, j), self.other.bias(i, j))

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        seen, bias = self.one.block(rows, columns, device)
        also_seen, more_bias = self.other.block(rows, columns, device)
        return seen & also_seen, _sum(bias, more_bias)

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return overlap(self.one.keys_seen(start, stop, keys), self.other.keys_seen(start, stop, keys))

    def keys_seen_by_all(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return overlap(self.one.keys_seen_by_all(start, stop, keys), self.other.keys_seen_by_all(start, stop, keys))

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return overlap(self.one.queries_seeing(start, stop, queries), self.other.queries_seeing(start, stop, queries))


@dataclass(frozen=True, eq=False)
class _Or(_And):
    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return self.one.visible(i, j) | self.other.visible(i, j)

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        return self.one.block(rows, columns, device)[0] | self.other.block(rows, columns, device)[0], None

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return hull(self.one.keys_seen(start, stop, keys), self.other.keys_seen(start, stop, keys))

    def keys_seen_by_all(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        one, other = (mask.keys_seen_by_all(start, stop, keys) for mask in (self.one, self.other))
        return max(one, other, key=lambda seen: seen[1] - seen[0])

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return hull(self.one.queries_seeing(start, stop, queries), self.other.queries_seeing(start, stop, queries))


class _Not(MaskView):
    @property
    def exact_ranges(self) -> bool:
        return False

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return ~self.mask.visible(i, j)

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        return ~self.mask.block(rows, columns, device)[0], None

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return 0, keys  # what is outside of the mask's range is visible here

    def keys_seen_by_all(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return 0, 0

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return 0, queries


def _operand(mask: Mask | Tensor) -> Mask:
    return mask if isinstance(mask, Mask) else dense(mask)


def _boolean(mask: Mask, operator: str) -> Mask:
    if mask.additive:
        raise TypeError(
            f"{operator} needs masks that only hide; this one adds numbers to the scores: combine it with &"
        )
    return mask


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other
