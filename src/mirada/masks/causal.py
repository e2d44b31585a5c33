"""No query attends to a later key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mirada.masks.mask import Mask
from mirada.masks.ranges import clamp
from mirada.masks.sizes import Align, natural, offset_of


def causal(queries: int, keys: int | None = None, align: Align | None = None) -> Mask:
    """No query may attend at a later key (the causal mask of Vaswani et al. 2017, section 3.2.3).

    Args:
        queries: number of queries L.
        keys: number of keys S; as many as queries if left out.
        align: needed where L ≠ S. ``"start"``: query i sees keys 0 … i. ``"end"``: the last query sees all keys, as
            with a cache of earlier keys.

    >>> causal(2, 4, align="end").materialise((), 2, 4)[0].int().tolist()
    [[1, 1, 1, 0], [1, 1, 1, 1]]
    """
    keys = queries if keys is None else keys
    natural("queries", queries)
    natural("keys", keys)
    return _Causal(queries, keys, offset_of(align, queries, keys, "causal"))


def is_causal(mask: Mask | None) -> bool:
    """Whether a mask is exactly what fused kernels call causal: query i sees keys 0 … i."""
    return isinstance(mask, _Causal) and mask.offset == 0


@dataclass(frozen=True)
class _Causal(Mask):
    queries: int
    keys: int
    offset: int  # query i sees keys up to i + offset

    @property
    def exact_ranges(self) -> bool:
        return True

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        if (queries, keys) != (self.queries, self.keys):
            raise ValueError(
                f"mask causal({self.queries}, {self.keys}) is for {self.queries} queries and {self.keys} keys, "
                f"the matrix has {queries} and {keys}"
            )
        return self

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return j <= i + self.offset

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        all_seen = torch.ones(rows.stop - rows.start, columns.stop - columns.start, dtype=torch.bool, device=device)
        return all_seen.tril_(self.offset + rows.start - columns.start), None

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return 0, clamp(stop + self.offset, keys)

    def keys_seen_by_all(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return 0, clamp(start + 1 + self.offset, keys)

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return clamp(start - self.offset, queries), queries
