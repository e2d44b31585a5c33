"""Masks that follow from numbers: where a query and a key stand, how long a sequence is, what document it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from mirada.masks.mask import Mask
from mirada.masks.ranges import clamp, where_any

Align = Literal["start", "end"]


def causal(queries: int, keys: int | None = None, align: Align | None = None) -> Mask:
    """No query may look at a later key (the causal mask of Vaswani et al. 2017, section 3.2.3).

    Args:
        queries: number of queries L.
        keys: number of keys S; as many as queries if left out.
        align: needed where L ≠ S. ``"start"``: query i sees keys 0 … i. ``"end"``: the last query sees all keys, as
            with a cache of earlier keys.

    >>> causal(2, 4, align="end").materialise((), 2, 4)[0].int().tolist()
    [[1, 1, 1, 0], [1, 1, 1, 1]]
    """
    keys = queries if keys is None else keys
    _natural("queries", queries)
    _natural("keys", keys)
    return _NoPeek(queries, keys, _offset(align, queries, keys, "causal"))


def is_causal(mask: Mask | None) -> bool:
    """Whether a mask is exactly what fused kernels call causal: query i sees keys 0 … i."""
    return isinstance(mask, _NoPeek) and mask.offset == 0


@dataclass(frozen=True)
class _NoPeek(Mask):
    queries: int
    keys: int
    offset: int  # query i sees keys up to i + offset

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

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return clamp(start - self.offset, queries), queries


def sliding_window(before: int, after: int, align: Align | None = None) -> Mask:
    """Each query sees ``before`` keys before its own, its own, and ``after`` keys after it (Beltagy et al. 2020).

    ``align`` is needed where L ≠ S, and says which key is a query's own: ``"start"``: key i for query i; ``"end"``:
    the last key for the last query.

    >>> sliding_window(1, 0).materialise((), 3, 3)[0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    _natural("before", before)
    _natural("after", after)
    return _Window(before, after, align)


@dataclass(frozen=True)
class _Window(Mask):
    before: int
    after: int
    align: Align | None
    offset: int = 0  # query i's own key is i + offset

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        return replace(self, offset=_offset(self.align, queries, keys, "sliding_window"))

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        own = i + self.offset
        return (j >= own - self.before) & (j <= own + self.after)

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        own = (start + self.offset, stop + self.offset)
        return clamp(own[0] - self.before, keys), clamp(own[1] + self.after, keys)

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        own = (start - self.offset, stop - self.offset)
        return clamp(own[0] - self.after, queries), clamp(own[1] + self.before, queries)


def padding(lengths: Tensor | Sequence[int], keys: int) -> Mask:
    """Each sequence of a batch has ``lengths[n]`` real keys; the rest, up to ``keys``, is padding that nobody sees.

    Args:
        lengths: (N,) integers from 0 to ``keys``. N is the query's first dimension, whatever its rank.
        keys: number of keys S, padding included.

    >>> padding([1, 3], keys=3).materialise((2,), 1, 3)[0].int().tolist()
    [[[1, 0, 0]], [[1, 1, 1]]]
    """
    _natural("keys", keys)
    lengths = _integers("lengths", lengths)
    if lengths.ndim != 1:
        raise ValueError(f"lengths must have one dimension (N,), got shape {tuple(lengths.shape)}")
    longest, shortest = (int(lengths.max()), int(lengths.min())) if len(lengths) else (0, 0)
    if shortest < 0 or longest > keys:
        raise ValueError(f"lengths must lie between 0 and keys = {keys}, got {shortest} to {longest}")
    return _Padding(lengths, keys, longest)


@dataclass(frozen=True, eq=False)
class _Padding(Mask):
    lengths: Tensor  # (N,), once fitted (*leading) or what broadcasts to it
    keys: int
    longest: int
    same_for_all_queries = True

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        if keys != self.keys:
            raise ValueError(f"mask padding is for {self.keys} keys, the matrix has {keys}")
        return replace(self, lengths=_batch_first(self.lengths, leading, 0, "padding", device))

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        return replace(self, lengths=self.lengths.expand(tuple(leading))[index])

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return j < self.lengths[(..., *[None] * max(i.ndim, j.ndim))]

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return 0, self.longest

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return (0, queries) if start < self.longest else (0, 0)


def documents(ids: Tensor | Sequence[Any], key_ids: Tensor | Sequence[Any] | None = None) -> Mask:
    """Several documents packed in one sequence: a query sees the keys of its own document only.

    Args:
        ids: (L,) or (N, L) integers, one a query; N is the query's first dimension, whatever its rank.
        key_ids: (S,) or (N, S) integers, one a key; the queries' own if left out.

    >>> documents([7, 7, 8]).materialise((), 3, 3)[0].int().tolist()
    [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    """
    both = [_integers(*named) for named in (("ids", ids), ("key_ids", ids if key_ids is None else key_ids))]
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
            ids.to(device) if ids.ndim == 1 else _batch_first(ids, leading, 1, "documents", device)
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


def _offset(align: Align | None, queries: int, keys: int, name: str) -> int:
    if align not in (None, "start", "end"):
        raise ValueError(f"align must be 'start' or 'end', got {align!r}")
    if align is None and queries != keys:
        raise ValueError(
            f"{name} over {queries} queries and {keys} keys needs align='start' (query 0 stands at key 0) or "
            "align='end' (the last query stands at the last key, as with a cache of earlier keys)"
        )
    return keys - queries if align == "end" else 0


def _natural(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be a whole number from 0 up, got {value!r}")


def _integers(name: str, values: Tensor | Sequence[Any]) -> Tensor:
    tensor = torch.as_tensor(values)
    if tensor.numel() == 0:
        tensor = tensor.long()  # torch takes an empty list for floats
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must be integers, got {tensor.dtype}")
    return tensor


def _batch_first(
    tensor: Tensor, leading: Sequence[int], trailing: int, name: str, device: torch.device | None
) -> Tensor:
    """(N, …) as (N, 1, …, 1, …), so that N stands at the matrix's first dimension."""
    batch = tensor.shape[0]
    if not leading or batch not in (1, leading[0]):
        raise ValueError(f"mask {name} is for a batch of {batch}, the matrix's leading dimensions are {tuple(leading)}")
    return tensor.to(device).reshape(batch, *[1] * (len(leading) - 1), *tensor.shape[tensor.ndim - trailing :])
