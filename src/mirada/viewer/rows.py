"""Matrices that are known by their rows: single tokens merged into groups, several heads in one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mirada import binning
from mirada.dense import DenseAttention
from mirada.matrix import AttentionMatrix

Known = AttentionMatrix | DenseAttention
_BAND = 1 << 22  # weights at a time


class ByRows(ABC):
    """The questions of a view, asked of the rows of a matrix (..., L, S), band by band: in O(L + S) memory."""

    mask = None
    shape: torch.Size
    device: torch.device

    @abstractmethod
    def __getitem__(self, index: Any) -> ByRows:
        """One head, one example, …."""

    @abstractmethod
    def rows(self, index: Any) -> Tensor:
        """The weights of chosen queries: (..., len(index), S)."""

    def entries(self, i: Tensor, j: Tensor) -> Tensor:
        """The weights of the pairs (i[n], j[n]): (..., n)."""
        found = self.rows(i)
        return found.gather(-1, j.to(found.device)[:, None].expand(*found.shape[:-1], 1))[..., 0]

    def tile(self, rows: tuple[int, int], cols: tuple[int, int], bins: tuple[int, int]) -> Tensor:
        """A rectangle at any resolution, (..., r, s): the mean over each bin's queries, the sum over its keys."""
        r, s = binning.check(rows, cols, bins, *self.shape[-2:])
        of_each = binning.of_positions(rows[1] - rows[0], r).to(self.device)
        found = torch.zeros(*self.shape[:-2], r, s, device=self.device)
        for start, band in self._bands(*rows):
            part = binning.sum_columns(band[..., slice(*cols)].float(), s)
            found.index_add_(-2, of_each[start - rows[0] : start - rows[0] + part.shape[-2]], part)
        return found / torch.bincount(of_each, minlength=r)[:, None]

    def entropy(self) -> Tensor:
        """Shannon entropy of each row in nats: (..., L)."""
        return torch.cat([torch.special.entr(band.float()).sum(-1) for _, band in self._bands(0, self.shape[-2])], -1)

    def logsumexp(self) -> Tensor:
        """log of each row's sum, (..., L): −inf for a query that attends to nothing, as of ``DenseAttention``."""
        return torch.cat([band.float().sum(-1).log() for _, band in self._bands(0, self.shape[-2])], -1)

    def received(self) -> Tensor:
        """The sum of each key's column: (..., S)."""
        return sum(
            (band.float().sum(-2) for _, band in self._bands(0, self.shape[-2])),
            torch.zeros(*self.shape[:-2], self.shape[-1], device=self.device),
        )

    def _bands(self, first: int, after: int) -> Iterator[tuple[int, Tensor]]:
        height = max(1, _BAND // max(1, self.shape[:-2].numel() * self._width()))
        for start in range(first, after, height):
            yield start, self.rows(torch.arange(start, min(start + height, after), device=self.device))

    def _width(self) -> int:
        """How many weights are formed for a row."""
        return self.shape[-1]


class Grouped(ByRows):
    """Groups of neighbouring tokens in place of single ones: A summed over a group's keys, its mean over the queries.

    Tokens in no group are left out. Of groups that cover all tokens, the same matrix as ``A.merge``.

    Args:
        matrix: (..., L, S).
        queries: (n, 2) integers, the first query of each group and the one after its last.
        keys: (m, 2) integers, the same of keys.
    """

    def __init__(self, matrix: Known, queries: Tensor, keys: Tensor) -> None:
        self.base, self.device = matrix, matrix.device
        self.queries, self.keys = queries.to(self.device), keys.to(self.device)
        self.shape = torch.Size((*matrix.shape[:-2], len(queries), len(keys)))
        self._groups = torch.full((matrix.shape[-1],), len(keys), device=self.device)
        of_each, tokens = _members(self.keys)
        self._groups[tokens] = of_each

    def __getitem__(self, index: Any) -> Grouped:
        return Grouped(self.base[index], self.queries, self.keys)

    def rows(self, index: Any) -> Tensor:
        """The weights of chosen groups of queries: (..., len(index), m)."""
        spans = self.queries[torch.as_tensor(index, device=self.device)]
        of_each, tokens = _members(spans)
        weights = self.base.rows(tokens).float()
        # What is in no group is summed up in a column of its own, which is cut off.
        sums = weights.new_zeros(*weights.shape[:-1], self.shape[-1] + 1).index_add(-1, self._groups, weights)
        rows = sums.new_zeros(*sums.shape[:-2], len(spans), sums.shape[-1]).index_add(-2, of_each, sums)
        return (rows / (spans[:, 1] - spans[:, 0])[:, None])[..., :-1]

    def entries(self, i: Tensor, j: Tensor) -> Tensor:
        """The weights of the pairs (i[n], j[n]): (..., n), from the pairs of their tokens alone."""
        rows, columns = self.queries[i.to(self.device)], self.keys[j.to(self.device)]
        pair, query = _members(rows)
        of_pair, key = _members(columns[pair])
        weights = self.base.entries(query[of_pair], key).float()
        sums = weights.new_zeros(*weights.shape[:-1], len(i)).index_add(-1, pair[of_pair], weights)
        return sums / (rows[:, 1] - rows[:, 0])

    def members(self, side: str, part: slice) -> tuple[Tensor, Tensor]:
        """The tokens of some groups of a side: the number of each one's group among these, and the token."""
        return _members((self.queries if side == "queries" else self.keys)[part])

    def _width(self) -> int:
        most = int((self.queries[:, 1] - self.queries[:, 0]).max())
        return self.base.shape[-1] * most


class Mixed(ByRows):
    """Several heads of one size in one: the mean or the largest of their weights, entry by entry.

    Args:
        heads: each (..., L, S).
        how: "mean" or "max".
    """

    def __init__(self, heads: Sequence[Known | ByRows], how: str) -> None:
        self.heads, self.how = heads, how
        self.shape, self.device = heads[0].shape, heads[0].device

    def __getitem__(self, index: Any) -> Mixed:
        return Mixed([head[index] for head in self.heads], self.how)

    def rows(self, index: Any) -> Tensor:
        """The weights of chosen queries: (..., len(index), S)."""
        return self._mixed(head.rows(index) for head in self.heads)

    def entries(self, i: Tensor, j: Tensor) -> Tensor:
        """The weights of the pairs (i[n], j[n]): (..., n)."""
        return self._mixed(head.entries(i, j) for head in self.heads)

    def tile(self, rows: tuple[int, int], cols: tuple[int, int], bins: tuple[int, int]) -> Tensor:
        """A rectangle at any resolution, (..., r, s)."""
        if self.how == "mean":  # a mean of sums is the sum of means
            return self._mixed(head.tile(rows, cols, bins) for head in self.heads)
        return super().tile(rows, cols, bins)

    def _mixed(self, parts: Iterator[Tensor]) -> Tensor:
        whole = next(parts).float()
        for part in parts:
            whole = whole + part.float() if self.how == "mean" else torch.maximum(whole, part.float())
        return whole / len(self.heads) if self.how == "mean" else whole


def _members(spans: Tensor) -> tuple[Tensor, Tensor]:
    """The members of each span (n, 2), one after the other: the number of the span, and the position.

    >>> _members(torch.tensor([[0, 2], [5, 6]]))
    (tensor([0, 0, 1]), tensor([0, 1, 5]))
    """
    sizes = spans[:, 1] - spans[:, 0]
    of_each = torch.arange(len(spans), device=spans.device).repeat_interleave(sizes)
    within = torch.arange(len(of_each), device=spans.device) - (sizes.cumsum(0) - sizes)[of_each]
    return of_each, spans[of_each, 0] + within
