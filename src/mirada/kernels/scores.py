"""The scaled, masked scores of one attention, held as what they are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mirada.masks import Mask

_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Scores:
    """scale · Q Kᵀ, masked: every kernel's input. Query and key have the same leading dimensions."""

    query: Tensor  # (*leading, L, E)
    key: Tensor  # (*leading, S, E)
    mask: Mask | None  # fitted to (*leading, L, S)
    scale: float

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
        return 0 in (*self.query.shape, *self.key.shape)

    def precise(self) -> Scores:
        """The same in float32 at least: half precision is too coarse for normalisers and entropies."""
        if self.query.dtype not in _HALF:
            return self
        return replace(self, query=self.query.float(), key=self.key.float())

    def block(self, rows: slice, columns: slice) -> Tensor:
        """The scores of a rectangle, −inf where the query may not look: (*leading, rows, columns)."""
        scores = self._products(self.query[..., rows, :], self.key[..., columns, :])
        if self.mask is None:
            return scores
        return hide(scores, *self.mask.block(rows, columns, self.query.device))

    def rows(self, index: Tensor) -> Tensor:
        """The scores of chosen queries: (*leading, len(index), S)."""
        scores = self._products(self.query[..., index, :], self.key)
        if self.mask is None:
            return scores
        i, j = index[:, None], torch.arange(self.keys, device=index.device)
        return hide(scores, self.mask.visible(i, j), self.mask.bias(i, j))

    def pairs(self, i: Tensor, j: Tensor) -> Tensor:
        """The scores of the pairs (i[n], j[n]): (*leading, n)."""
        scores = (self.query[..., i, :] * self.key[..., j, :]).sum(-1) * self.scale
        if self.mask is None:
            return scores
        return hide(scores, self.mask.visible(i, j), self.mask.bias(i, j))

    def _products(self, query: Tensor, key: Tensor) -> Tensor:
        """scale · q·k, (..., r, c), whose gradient stays finite where a key that is no number is hidden afterwards."""
        if self.mask is None or not (torch.is_grad_enabled() and query.requires_grad):
            return query @ key.mT * self.scale
        # The query's gradient is 0 × key there, and 0 × NaN is NaN: such a key is taken out, its scores put back.
        bad = ~torch.isfinite(key)
        scores = query @ key.masked_fill(bad, 0.0).mT * self.scale
        return scores.masked_fill(bad.any(-1)[..., None, :], torch.nan)

    def blocks(self, elements: int) -> Iterator[tuple[slice, slice]]:
        """Cuts the matrix into bands of queries, each with the range of keys that they may see.

        A band holds at most about ``elements`` entries, all leading dimensions counted.
        """
        per_row = max(1, self.keys * self.query.shape[:-2].numel())
        height = max(1, min(self.queries, elements // per_row))
        for start in range(0, self.queries, height):
            stop = min(start + height, self.queries)
            seen = (0, self.keys) if self.mask is None else self.mask.keys_seen(start, stop, self.keys)
            yield slice(start, stop), slice(*seen)


def hide(scores: Tensor, visible: Tensor, bias: Tensor | None) -> Tensor:
    """Scores with the bias added and −inf where nothing may be seen, whatever stood there."""
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    return scores.masked_fill(~visible, -torch.inf)
