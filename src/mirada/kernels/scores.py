"""The scaled, masked scores of one attention, held as what they are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from mirada.kernels.tuning import tuning
from mirada.masks import Mask
from mirada.masks.views import Part

HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Scores:
    """scale · Q Kᵀ, masked: every kernel's input. Query and key have the same leading dimensions."""

    query: Tensor  # (*leading, L, E)
    key: Tensor  # (*leading, S, E)
    mask: Mask | None  # fitted to (*leading, L, S)
    scale: float
    softcap: float | None = None  # c: scores become c · tanh(scores / c) before the mask (Gemma Team 2024, section 2)

    @property
    def unchanged(self) -> bool:
        """Whether the scores are scale · Q Kᵀ and nothing else: no mask, no softcap."""
        return self.mask is None and self.softcap is None

    @property
    def leading(self) -> tuple[int, ...]:
        """What stands before (L, S): batch, heads."""
        return tuple(self.query.shape[:-2])

    @property
    def queries(self) -> int:
        """Number of queries L."""
        return self.query.shape[-2]

    @property
    def keys(self) -> int:
        """Number of keys S."""
        return self.key.shape[-2]

    @property
    def width(self) -> int:
        """Width E of queries and keys."""
        return self.query.shape[-1]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to attend with, or to."""
        return 0 in self.query.shape or 0 in self.key.shape

    def upcast(self) -> Scores:
        """The same in float32 at least: half precision is too coarse for log-normalisers and entropies."""
        if self.query.dtype not in HALF:
            return self
        return replace(self, query=self.query.float(), key=self.key.float())

    def block(self, rows: slice, columns: slice, into: Tensor | None = None) -> Tensor:
        """The scores of a rectangle, −inf where the query may not attend: (*leading, rows, columns).

        Without gradients they may be written into memory that is there: as many numbers in a row, or more.
        """
        query, key = self.query, self.key
        if (rows.stop - rows.start, columns.stop - columns.start) != (self.queries, self.keys):
            query, key = query[..., rows, :], key[..., columns, :]
        if into is not None:
            shape = (*query.shape[:-1], key.shape[-2])
            into = into[: math.prod(shape)].view(shape)
        scores = self._capped(self._products(query, key, into))
        if self.mask is None:
            return scores
        sides = [columns] if scores.requires_grad else self.masked(rows, columns)
        if sides == [columns]:
            return hide(scores, *self.mask.block(rows, columns, query.device))
        for side in sides:
            visible, _ = self.mask.block(rows, side, query.device)
            scores[..., side.start - columns.start : side.stop - columns.start].masked_fill_(~visible, -torch.inf)
        return scores

    def masked(self, rows: slice, columns: slice) -> list[slice]:
        """The keys, in one or two ranges, of which the mask hides some or to which it adds."""
        if self.mask is None:
            return []
        start, stop = self.mask.keys_seen_by_all(rows.start, rows.stop, self.keys)
        start, stop = max(start, columns.start), min(stop, columns.stop)
        if start >= stop:
            return [columns]
        return [side for side in (slice(columns.start, start), slice(stop, columns.stop)) if side.start < side.stop]

    def slopes(self, rows: slice, columns: slice) -> Tensor | float:
        """By how much a capped score changes with the score: 1 − tanh², (*leading, rows, columns); 1 without a cap."""
        if self.softcap is None:
            return 1.0
        products = self._products(self.query[..., rows, :], self.key[..., columns, :])
        return 1 - torch.tanh(torch.nan_to_num(products) / self.softcap).square()

    def whole(self) -> Tensor:
        """All of them: (*leading, L, S)."""
        return self.block(slice(0, self.queries), slice(0, self.keys))

    def rows(self, index: Tensor) -> Tensor:
        """The scores of chosen queries: (*leading, len(index), S)."""
        scores = self._capped(self._products(self.query[..., index, :], self.key))
        if self.mask is None:
            return scores
        i, j = index[:, None], torch.arange(self.keys, device=index.device)
        return hide(scores, self.mask.visible(i, j), self.mask.bias(i, j))

    def pairs(self, i: Tensor, j: Tensor) -> Tensor:
        """The scores of the pairs (i[n], j[n]): (*leading, n)."""
        scores = (self.query[..., i, :] * self.key[..., j, :]).sum(-1) * self.scale
        scores = self._capped(scores)
        if self.mask is None:
            return scores
        return hide(scores, self.mask.visible(i, j), self.mask.bias(i, j))

    def _capped(self, scores: Tensor) -> Tensor:
        return scores if self.softcap is None else self.softcap * torch.tanh(scores / self.softcap)

    def fine(self) -> Scores:
        """The same in float32 at least, or in float64 where scores may be so large that float32 has no digits left.

        No score is larger than the longest query times the longest key.
        """
        fine = self.upcast()
        if fine.query.dtype == torch.float64 or self.empty or (self.softcap or math.inf) <= tuning.large_score:
            return fine
        with torch.no_grad():
            longest = (torch.linalg.vector_norm(t, dim=-1) for t in (fine.query, fine.key))
            query, key = (torch.where(torch.isfinite(norm), norm, 0.0).amax() for norm in longest)
            small = float(query * key) * abs(self.scale) <= tuning.large_score
        return fine if small else fine.double()

    def double(self) -> Scores:
        """The same in float64."""
        return replace(self, query=self.query.double(), key=self.key.double())

    def _products(self, query: Tensor, key: Tensor, into: Tensor | None = None) -> Tensor:
        """scale · q·k, (..., r, c), whose gradient stays finite where a non-finite key is hidden afterwards."""
        # Queries or keys are fewer numbers than scores; but half precision has no digits to spare for scaling early.
        late = query.dtype in HALF
        if not late and query.shape[-2] < key.shape[-2]:
            query = query * self.scale
        elif not late:
            key = key * self.scale
        if self.mask is None or not (torch.is_grad_enabled() and query.requires_grad) or finite(key):
            products = query @ key.mT if into is None else torch.matmul(query, key.mT, out=into)
        else:
            # The query's gradient is 0 × key there, and 0 × NaN is NaN: such a key is taken out, its scores put back.
            bad = ~torch.isfinite(key)
            products = (query @ key.masked_fill(bad, 0.0).mT).masked_fill(bad.any(-1)[..., None, :], torch.nan)
        return products * self.scale if late else products

    def part(self, index: tuple[Any, ...]) -> Scores:
        """The scores of one example, one head, …: leading dimensions are indexed."""
        mask = None if self.mask is None else self.mask.pick(self.leading, index)
        return replace(self, query=self.query[index], key=self.key[index], mask=mask)

    def rectangle(self, rows: slice, columns: slice) -> Scores:
        """Some queries and some keys, as scores of their own."""
        query, key = self.query[..., rows, :], self.key[..., columns, :]
        whole = query.shape == self.query.shape and key.shape == self.key.shape
        mask = self.mask if self.mask is None or whole else Part(self.mask, rows.start, columns.start)
        return replace(self, query=query, key=key, mask=mask)


def hide(scores: Tensor, visible: Tensor, bias: Tensor | None) -> Tensor:
    """Scores with the bias added and −inf where nothing may be seen, whatever stood there. Writes into the scores."""
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    return scores.masked_fill_(~visible, -torch.inf)


def finite(*tensors: Tensor | None) -> bool:
    """Whether none of them holds NaN or inf. A sum is finite only if all its terms are.

    A sum that overflows may say no to finite numbers: the careful way that it leads to is right for them too.
    """
    totals = [
        tensor.detach().sum(dtype=torch.float64 if tensor.dtype == torch.float64 else torch.float32)
        for tensor in tensors
        if tensor is not None
    ]
    return not totals or math.isfinite(reduce(add, totals))  # one test, for which an accelerator waits once
