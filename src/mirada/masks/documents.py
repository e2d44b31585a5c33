"""Several documents in one sequence, none of which attends to another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mirada.masks.mask import Mask
from mirada.masks.ranges import where_any
from mirada.masks.sizes import batch_first, integers


def documents(ids: Tensor | Sequence[Any], key_ids: Tensor | Sequence[Any] | None = None) -> Mask:
    """Several documents packed in one sequence: a query sees the keys of its own document only.

    Args:
        ids: (L,) or (N, L) integers, one a query; N is the query's first dimension, whatever its rank.
        key_ids: (S,) or (N, S) integers, one a key; the queries' own if left out.

    >>> documents([7, 7, 8]).materialise((), 3, 3)[0].int().tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    both = [integers(*named) for named in (("ids", ids), ("key_ids", ids if key_ids is None else key_ids))]
    for name, tensor in zip(("ids", "key_ids"), both, strict=True):
        if tensor.ndim not in (1, 2):
            raise ValueError(f"{name} must have shape (length,) or (N, length), got {tuple(tensor.shape)}")
    return _Documents(*both)


@dataclass(frozen=True, eq=False)
class _Documents(Mask):
    ids: Tensor  # (L,) or (N, L), once fitted (*leading, L) or what broadcasts to it
    key_ids: Tensor  # likewise, S

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        if (queries, keys) != (self.ids.shape[-1], self.key_ids.shape[-1]):
            raise ValueError(
                f"mask documents has ids for {self.ids.shape[-1]} queries and {self.key_ids.shape[-1]} keys, "
                f"the matrix has {queries} and {keys}"
            )
        ids, key_ids = (
            ids.to(device) if ids.ndim == 1 else batch_first(ids, leading, 1, "documents", device)
            for ids in (self.ids, self.key_ids)
        )
        return _Documents(ids, key_ids)

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        ids, key_ids = (ids.expand(*leading, ids.shape[-1])[index] for ids in (self.ids, self.key_ids))
        return _Documents(ids, key_ids)

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        rank = max(i.ndim, j.ndim)  # of one rank, so that the batch before them lines up
        return self.ids[..., i[(None,) * (rank - i.ndim)]] == self.key_ids[..., j[(None,) * (rank - j.ndim)]]

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return where_any(self.key_ids, self.ids[..., start:stop])

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return where_any(self.ids, self.key_ids[..., start:stop])
