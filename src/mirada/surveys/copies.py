"""Where the tokens of a text occur again: which earlier keys hold the query's own token."""

from __future__ import annotations

import torch
from torch import Tensor

_KNOWN = 1 << 16  # pairs of a piece of the matrix: so many are kept for the next layer


class Copies:
    """Earlier copies of each token in a batch of texts.

    Tokens are sorted once, in O(n log n); pairs are made for the queries that are asked about, so that a text of one
    token, repeated, costs no more memory than what is asked at once.

    >>> copies = Copies(torch.tensor([[7, 8, 7, 7]]), torch.ones(1, 4, dtype=torch.bool))
    >>> query, key = copies.pairs(slice(0, 1), slice(0, 4))
    >>> list(zip(query.tolist(), key.tolist()))
    [(2, 0), (3, 0), (3, 2)]
    """

    def __init__(self, ids: Tensor, real: Tensor) -> None:
        texts, self.length = ids.shape
        position = torch.arange(ids.numel(), device=ids.device)
        text = position // max(1, self.length)
        tokens = ids.flatten().long()
        tokens = (tokens - tokens.min() + 1) * texts + text if len(tokens) else tokens
        tokens = tokens.where(real.flatten(), -1 - position)  # padding is no copy of anything
        tokens, self._order = tokens.sort(stable=True)
        begins = torch.ones_like(tokens, dtype=torch.bool)
        begins[1:] = tokens[1:] != tokens[:-1]
        first = position.where(begins, 0).cummax(0).values
        self._known: dict[object, tuple[Tensor, Tensor, Tensor, Tensor]] = {}  # all layers ask for the same
        self._first = torch.empty_like(first).scatter_(0, self._order, first)
        self.count = torch.empty_like(first).scatter_(0, self._order, position - first).view(texts, self.length)
        """(texts, L): how many earlier copies each token has."""

    def within(self, texts: slice, rows: slice, columns: slice, shift: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pairs of a query and the key ``shift`` places after a copy, as places within a piece of the matrix.

        Returns:
            text, query and key (n,) each, counted from the piece's first; and the query's place among all of the piece.
        """
        asked = tuple(part.indices(size)[:2] for part, size in zip((texts, rows), self.count.shape, strict=True))
        known = (*asked, columns.start, columns.stop, shift)
        if known in self._known:
            return self._known[known]
        row, key = self.pairs(texts, rows)
        key = key + (shift - columns.start)
        kept = (key >= 0) & (key < columns.stop - columns.start)
        row, key = row[kept], key[kept]
        height = rows.stop - rows.start
        found = row // height, row % height, key, row
        if len(row) <= _KNOWN:
            self._known[known] = found
        return found

    def pairs(self, texts: slice, rows: slice) -> tuple[Tensor, Tensor]:
        """The queries and keys (n,) each of all pairs of a token and an earlier copy.

        A query is numbered among those asked about, text after text; a key by its position in its text.
        """
        count = self.count[texts, rows].flatten()
        query = torch.repeat_interleave(count)
        ends = count.cumsum(0)
        within = torch.arange(len(query), device=query.device) - (ends - count)[query]
        first = self._first.view(self.count.shape)[texts, rows].flatten()
        return query, self._order[first[query] + within] % self.length
