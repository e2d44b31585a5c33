"""Which pairs a mask hides. A page tells them from weights of 0 by a sign: −0 stands where a mask hides the pair.

A cell of several pairs is hidden where every one of them is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from mirada.masks import Mask
from mirada.viewer.rows import Grouped
from mirada.viewer.scene import Layer, Matrix

_BAND = 1 << 22  # pairs at a time


def marked(weights: Tensor, hidden: Tensor | None) -> Tensor:
    """The weights, −0 where hidden."""
    return weights if hidden is None else weights.masked_fill(hidden.to(weights.device), -0.0)


class Hidden:
    """What a mask hides of one head, by the queries and keys of the matrix that is shown: tokens or groups of them."""

    def __init__(self, mask: Mask, matrix: Matrix) -> None:
        self.mask, self.device = mask, matrix.device
        self.queries, self.keys = matrix.shape[-2:]
        self._grouped = matrix if isinstance(matrix, Grouped) else None

    def at(self, queries: slice, keys: slice) -> Tensor:
        """Each pair of a rectangle for itself, (queries, keys)."""
        rows, columns = range(self.queries)[queries], range(self.keys)[keys]
        return self.cells([*rows, rows.stop], [*columns, columns.stop])

    def cells(self, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
        """Whether each cell is hidden, (r, s); the edges of the cells are given, r + 1 and s + 1."""
        if self._grouped is None and self.mask.exact_ranges:
            return self._by_ranges(rows, columns)
        row_of, tokens = self._cell_of("queries", rows)
        column_of, shown = self._cell_of("keys", columns)
        r, s = len(rows) - 1, len(columns) - 1
        seen = torch.zeros(r, s, dtype=torch.bool, device=self.device)
        if self.mask.same_for_all_queries:
            row_of, tokens = row_of[:1], tokens[:1]
        whole = slice(int(shown[0]), int(shown[-1]) + 1)
        height = max(1, _BAND // (whole.stop - whole.start))
        for start in range(0, len(tokens), height):
            some = tokens[start : start + height]
            visible, _ = self.mask.block(slice(int(some[0]), int(some[-1]) + 1), whole, self.device)
            visible = visible.expand(*visible.shape[:-2], int(some[-1] - some[0]) + 1, whole.stop - whole.start)
            visible = visible.reshape(-1, visible.shape[-1])[some - some[0]][:, shown - whole.start]
            across = torch.zeros(len(some), s, device=self.device).index_add_(-1, column_of, visible.float())
            along = torch.zeros(r, s, device=self.device)
            seen |= along.index_add_(0, row_of[start : start + height], across) > 0
        return ~(seen.any(0).expand(r, s) if self.mask.same_for_all_queries else seen)

    def _by_ranges(self, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
        edges = torch.tensor(columns, device=self.device)
        ranges = [self.mask.keys_seen(a, b, self.keys) for a, b in itertools.pairwise(rows)]
        first, after = torch.tensor(ranges, device=self.device).T[..., None]
        return (edges[1:] <= first) | (edges[:-1] >= after) | (first >= after)

    def _cell_of(self, side: str, edges: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The cell of each token of a side that is in one, and these tokens."""
        bounds = torch.tensor(edges, device=self.device)
        first, after = edges[0], edges[-1]
        if self._grouped is None:
            tokens = torch.arange(first, after, device=self.device)
            return torch.bucketize(tokens, bounds[1:], right=True), tokens
        members, tokens = self._grouped.members(side, slice(first, after))
        return torch.bucketize(members + first, bounds[1:], right=True), tokens


class ByAll:
    """What the masks of all of several heads hide."""

    def __init__(self, heads: Sequence[Hidden | ByAll]) -> None:
        self.heads = heads

    def at(self, queries: slice, keys: slice) -> Tensor:
        """Each pair of a rectangle for itself, (queries, keys)."""
        return torch.stack([head.at(queries, keys) for head in self.heads]).all(0)

    def cells(self, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
        """Whether each cell is hidden, (r, s)."""
        return torch.stack([head.cells(rows, columns) for head in self.heads]).all(0)


def of_head(layer: Layer, head: int) -> Hidden | None:
    """What is hidden of one head; None without a mask."""
    return None if layer.mask is None else Hidden(layer.mask.pick((layer.heads,), head), layer.matrix)


def of_bins(layer: Layer, bins: tuple[int, int]) -> Tensor | None:
    """Which cells of a small map of each head are hidden, (H, r, s); None without a mask."""
    if layer.mask is None:
        return None
    edges = [[n * size // count for n in range(count + 1)] for size, count in zip(layer.size, bins, strict=True)]
    return torch.stack(
        [Hidden(layer.mask.pick((layer.heads,), head), layer.matrix).cells(*edges) for head in range(layer.heads)]
    )
