"""Sequences of different lengths in one batch: no query attends to what only fills them up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from mirada.masks.mask import Mask
from mirada.masks.sizes import batch_first, integers, natural

Side = Literal["left", "right"]


def padding(lengths: Tensor | Sequence[int], keys: int, side: Side = "right") -> Mask:
    """Each sequence of a batch has ``lengths[n]`` real keys; the rest, up to ``keys``, is padding that stays hidden.

    Args:
        lengths: (N,) integers from 0 to ``keys``. N is the query's first dimension, whatever its rank.
        keys: number of keys S, padding included.
        side: where the padding is: ``"right"``, behind the real keys, or ``"left"``, before them (as for generation).

    >>> padding([1, 3], keys=3).materialise((2,), 1, 3)[0].int().tolist()
    [[[1, 0, 0]], [[1, 1, 1]]]
    >>> padding([1, 3], keys=3, side="left").materialise((2,), 1, 3)[0].int().tolist()
    [[[0, 0, 1]], [[1, 1, 1]]]
    """
    natural("keys", keys)
    if side not in ("left", "right"):
        raise ValueError(f"side must be 'left' or 'right', the side of the padding, got {side!r}")
    lengths = integers("lengths", lengths)
    if lengths.ndim != 1:
        raise ValueError(f"lengths must have one dimension (N,), got shape {tuple(lengths.shape)}")
    longest, shortest = (int(lengths.max()), int(lengths.min())) if len(lengths) else (0, 0)
    if shortest < 0 or longest > keys:
        raise ValueError(f"lengths must lie between 0 and keys = {keys}, got {shortest} to {longest}")
    return _Padding(lengths, keys, longest, shortest, side)


@dataclass(frozen=True, eq=False)
class _Padding(Mask):
    lengths: Tensor  # (N,), once fitted (*leading) or what broadcasts to it
    keys: int
    longest: int
    shortest: int
    side: Side

    @property
    def same_for_all_queries(self) -> bool:
        return True

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        if keys != self.keys:
            raise ValueError(f"mask padding is for {self.keys} keys, the matrix has {keys}")
        return replace(self, lengths=batch_first(self.lengths, leading, 0, "padding", device))

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        return replace(self, lengths=self.lengths.expand(tuple(leading))[index])

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        lengths = self.lengths[(..., *[None] * max(i.ndim, j.ndim))]
        return j < lengths if self.side == "right" else j >= self.keys - lengths

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return (0, self.longest) if self.side == "right" else (self.keys - self.longest, self.keys)

    def keys_seen_by_all(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return (0, self.shortest) if self.side == "right" else (self.keys - self.shortest, self.keys)

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        first, last = self.keys_seen(0, queries, self.keys)
        return (0, queries) if start < last and stop > first else (0, 0)
