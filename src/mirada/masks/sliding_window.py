"""Each query attends to the keys near its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mirada.masks.mask import Mask
from mirada.masks.ranges import clamp, overlap
from mirada.masks.sizes import Align, natural, offset_of


def sliding_window(before: int, after: int, align: Align | None = None) -> Mask:
    """Each query sees ``before`` keys before its own, its own, and ``after`` keys after it (Beltagy et al. 2020).

    ``align`` is needed where L ≠ S, and says which key is a query's own: ``"start"``: key i for query i; ``"end"``:
    the last key for the last query.

    >>> sliding_window(1, 0).materialise((), 3, 3)[0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    natural("before", before)
    natural("after", after)
    return _Window(before, after, align)


@dataclass(frozen=True)
class _Window(Mask):
    before: int
    after: int
    align: Align | None
    offset: int = 0  # query i's own key is i + offset

    @property
    def exact_ranges(self) -> bool:
        return True

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        return replace(self, offset=offset_of(self.align, queries, keys, "sliding_window"))

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        own = i + self.offset
        return (j >= own - self.before) & (j <= own + self.after)

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        all_seen = torch.ones(rows.stop - rows.start, columns.stop - columns.start, dtype=torch.bool, device=device)
        own = self.offset + rows.start - columns.start
        return all_seen.tril_(own + self.after).triu_(own - self.before), None

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        own = (start + self.offset, stop + self.offset)
        return clamp(own[0] - self.before, keys), clamp(own[1] + self.after, keys)

    def keys_seen_by_all(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        last, first = stop - 1 + self.offset, start + self.offset
        return overlap((last - self.before, first + self.after + 1), (0, keys))

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        own = (start - self.offset, stop - self.offset)
        return clamp(own[0] - self.after, queries), clamp(own[1] + self.before, queries)
