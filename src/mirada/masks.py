"""Who may look at whom.

A mask is a rule, not a matrix: it answers for any block of queries and keys, so that it costs nothing to hold at any
length. True means "may look", everywhere. Rules combine with ``&``, ``|`` and ``~``:

>>> from mirada import masks
>>> rule = masks.no_peek(4) & ~masks.window(0, 0)  # the past, without oneself
>>> visible, _ = rule.materialise((), queries=4, keys=4)
>>> visible.int().tolist()
[[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]

A floating mask is added to the scaled scores instead; −inf in it hides. It combines with ``&`` only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = ["Mask", "as_mask", "dense", "documents", "no_peek", "padding", "window"]

Align = Literal["start", "end"]


class Mask(ABC):
    """A rule that says which query may look at which key.

    Made by the functions of this module. A matrix first *fits* a mask: sizes are checked, and the mask's own tensors
    get the matrix's leading dimensions, so that they broadcast and can be indexed together with it. Only a fitted mask
    answers ``visible`` and ``bias``.
    """

    #: Whether the mask adds numbers to the scores (a floating mask, or a combination that holds one).
    additive: bool = False
    #: Whether all queries see the same keys, so that one row says it all.
    same_for_all_queries: bool = False
    #: Whether gradients flow into the mask: a learned bias.
    requires_grad: bool = False
    #: Whether the mask, or a part of it, is held as a tensor of queries × keys.
    is_tensor: bool = False

    @abstractmethod
    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        """This mask for a matrix of shape (*leading, queries, keys); ValueError where the sizes disagree."""

    @abstractmethod
    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        """Whether query ``i`` may look at key ``j``: bool, broadcastable to (*leading, *broadcast(i, j))."""

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        """What is added to the scaled score of query ``i`` and key ``j``; None where the mask adds nothing."""
        return None

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        """The fitted mask for ``matrix[index]``, where ``leading`` are the matrix's leading dimensions."""
        return self

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        """A range of keys outside of which queries start … stop − 1 see nothing. May be too wide, never too narrow."""
        return 0, keys

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        """A range of queries outside of which nobody sees keys start … stop − 1."""
        return 0, queries

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """``visible`` and ``bias`` of a rectangle, each broadcastable to (*leading, rows, columns)."""
        i = torch.arange(rows.start, rows.stop, device=device)[:, None]
        j = torch.arange(columns.start, columns.stop, device=device)
        return self.visible(i, j), self.bias(i, j)

    def materialise(
        self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The whole mask as tensors: ``visible`` (bool) and ``bias`` (floating, or None).

        Both broadcast to (*leading, queries, keys). For pictures and small matrices; costs queries × keys.
        """
        fitted = self.fit(leading, queries, keys, device)
        return fitted.block(slice(0, queries), slice(0, keys), device or torch.device("cpu"))

    def __and__(self, other: Mask | Tensor) -> Mask:
        return _And(self, _operand(other))

    def __or__(self, other: Mask | Tensor) -> Mask:
        return _Or(_boolean(self, "|"), _boolean(_operand(other), "|"))

    def __invert__(self) -> Mask:
        return _Not(_boolean(self, "~"))

    __rand__ = __and__
    __ror__ = __or__


def no_peek(queries: int, keys: int | None = None, align: Align | None = None) -> Mask:
    """No query may look at a later key (the causal mask of Vaswani et al. 2017, section 3.2.3).

    Args:
        queries: number of queries L.
        keys: number of keys S; as many as queries if left out.
        align: needed where L ≠ S. ``"start"``: query i sees keys 0 … i. ``"end"``: the last query sees all keys, as
            with a cache of earlier keys.

    >>> no_peek(2, 4, align="end").materialise((), 2, 4)[0].int().tolist()
    [[1, 1, 1, 0], [1, 1, 1, 1]]
    """
    keys = queries if keys is None else keys
    _natural("queries", queries)
    _natural("keys", keys)
    return _NoPeek(queries, keys, _offset(align, queries, keys, "no_peek"))


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


def window(before: int, after: int, align: Align | None = None) -> Mask:
    """Each query sees ``before`` keys before its own, its own, and ``after`` keys after it (Beltagy et al. 2020).

    ``align`` is needed where L ≠ S, and says which key is a query's own: ``"start"``: key i for query i; ``"end"``:
    the last key for the last query.

    >>> window(1, 0).materialise((), 3, 3)[0].int().tolist()
    [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    """
    _natural("before", before)
    _natural("after", after)
    return _Window(before, after, align)


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


def dense(tensor: Tensor) -> Mask:
    """A mask written out: bool (True = may look) or floating (added to the scaled scores).

    It broadcasts against (..., L, S) from the right, as tensors do.

    >>> dense(torch.tensor([[True, False]])).materialise((), 2, 2)[0].int().tolist()
    [[1, 0], [1, 0]]
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"a mask must be a bool or floating tensor or a mirada.masks mask, got {type(tensor).__name__}")
    if tensor.dtype != torch.bool and not tensor.is_floating_point():
        raise TypeError(
            f"a mask must be bool (True = may look) or floating (added to the scores), got {tensor.dtype}: "
            "convert it with mask.bool()"
        )
    return _Dense(tensor)


def as_mask(mask: Mask | Tensor | None) -> Mask | None:
    """A mask as this module knows it: tensors are taken as ``dense``; None, "everybody sees all", stays None."""
    return mask if mask is None or isinstance(mask, Mask) else dense(mask)


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
                f"mask no_peek({self.queries}, {self.keys}) is for {self.queries} queries and {self.keys} keys, "
                f"the matrix has {queries} and {keys}"
            )
        return self

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return j <= i + self.offset

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return 0, _clamp(stop + self.offset, keys)

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return _clamp(start - self.offset, queries), queries


@dataclass(frozen=True)
class _Window(Mask):
    before: int
    after: int
    align: Align | None
    offset: int = 0  # query i's own key is i + offset

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        return replace(self, offset=_offset(self.align, queries, keys, "window"))

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        own = i + self.offset
        return (j >= own - self.before) & (j <= own + self.after)

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        own = (start + self.offset, stop + self.offset)
        return _clamp(own[0] - self.before, keys), _clamp(own[1] + self.after, keys)

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        own = (start - self.offset, stop - self.offset)
        return _clamp(own[0] - self.after, queries), _clamp(own[1] + self.before, queries)


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
        return _where_any(self.key_ids, self.ids[..., start:stop])

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return _where_any(self.ids, self.key_ids[..., start:stop])


@dataclass(frozen=True, eq=False)
class _Dense(Mask):
    tensor: Tensor  # once fitted (*leading or ones, L, S)
    is_tensor = True

    @property
    def additive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - follows from the tensor
        return self.tensor.is_floating_point()

    @property
    def same_for_all_queries(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - likewise
        return self.tensor.ndim < 2 or self.tensor.stride(-2) == 0 or self.tensor.shape[-2] == 1

    @property
    def requires_grad(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - likewise
        return self.tensor.requires_grad

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        wanted = (*leading, queries, keys)
        shape = (1,) * (len(wanted) - self.tensor.ndim) + tuple(self.tensor.shape)
        if len(shape) != len(wanted) or any(have not in (1, want) for have, want in zip(shape, wanted, strict=True)):
            raise ValueError(
                f"mask of shape {tuple(self.tensor.shape)} does not broadcast to the matrix's shape {wanted}"
            )
        return _Dense(self.tensor.to(device).reshape(shape).expand(*shape[:-2], queries, keys))

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        return replace(self, tensor=self.tensor.expand(*leading, *self.tensor.shape[-2:])[index])

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return self._may_look(self.tensor[..., i, j])

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        return self.tensor[..., i, j] if self.additive else None

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        whole = (rows.stop - rows.start, columns.stop - columns.start) == self.tensor.shape[-2:]
        block = self.tensor if whole else self.tensor[..., rows, columns]
        return self._may_look(block), block if self.additive else None

    def _may_look(self, entries: Tensor) -> Tensor:
        return entries != -torch.inf if self.additive else entries


@dataclass(frozen=True, eq=False)
class _And(Mask):
    one: Mask
    other: Mask

    @property
    def additive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - follows from the parts
        return self.one.additive or self.other.additive

    @property
    def same_for_all_queries(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - likewise
        return self.one.same_for_all_queries and self.other.same_for_all_queries

    @property
    def requires_grad(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - likewise
        return self.one.requires_grad or self.other.requires_grad

    @property
    def is_tensor(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - likewise
        return self.one.is_tensor or self.other.is_tensor

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        sizes = (leading, queries, keys, device)
        return replace(self, one=self.one.fit(*sizes), other=self.other.fit(*sizes))

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        return replace(self, one=self.one.pick(leading, index), other=self.other.pick(leading, index))

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return self.one.visible(i, j) & self.other.visible(i, j)

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        return _sum(self.one.bias(i, j), self.other.bias(i, j))

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        seen, bias = self.one.block(rows, columns, device)
        also_seen, more_bias = self.other.block(rows, columns, device)
        return seen & also_seen, _sum(bias, more_bias)

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return _overlap(self.one.keys_seen(start, stop, keys), self.other.keys_seen(start, stop, keys))

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return _overlap(self.one.queries_seeing(start, stop, queries), self.other.queries_seeing(start, stop, queries))


@dataclass(frozen=True, eq=False)
class _Or(_And):
    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return self.one.visible(i, j) | self.other.visible(i, j)

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        return self.one.block(rows, columns, device)[0] | self.other.block(rows, columns, device)[0], None

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return _hull(self.one.keys_seen(start, stop, keys), self.other.keys_seen(start, stop, keys))

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return _hull(self.one.queries_seeing(start, stop, queries), self.other.queries_seeing(start, stop, queries))


@dataclass(frozen=True, eq=False)
class _Not(Mask):
    mask: Mask

    @property
    def same_for_all_queries(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - follows from it
        return self.mask.same_for_all_queries

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        return replace(self, mask=self.mask.fit(leading, queries, keys, device))

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        return replace(self, mask=self.mask.pick(leading, index))

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return ~self.mask.visible(i, j)


@dataclass(frozen=True, eq=False)
class Transposed(Mask):
    """A fitted mask with queries and keys in each other's place: who is seen by whom."""

    mask: Mask

    @property
    def additive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - follows from it
        return self.mask.additive

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        return replace(self, mask=self.mask.fit(leading, keys, queries, device))

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        i, j = torch.broadcast_tensors(i, j)
        return self.mask.visible(j, i)

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        i, j = torch.broadcast_tensors(i, j)
        return self.mask.bias(j, i)

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        visible, bias = self.mask.block(columns, rows, device)
        return visible.mT, None if bias is None else bias.mT

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        return self.mask.queries_seeing(start, stop, keys)

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        return self.mask.keys_seen(start, stop, queries)


@dataclass(frozen=True, eq=False)
class Part(Mask):
    """A fitted mask's rectangle that begins at query ``row`` and key ``column``."""

    mask: Mask
    row: int
    column: int

    @property
    def additive(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - follows from it
        return self.mask.additive

    @property
    def same_for_all_queries(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - likewise
        return self.mask.same_for_all_queries

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        return self

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return self.mask.visible(i + self.row, j + self.column)

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        return self.mask.bias(i + self.row, j + self.column)

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        return self.mask.block(_shifted(rows, self.row), _shifted(columns, self.column), device)

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        seen = self.mask.keys_seen(start + self.row, stop + self.row, keys + self.column)
        return _overlap((seen[0] - self.column, seen[1] - self.column), (0, keys))


def _shifted(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _operand(mask: Mask | Tensor) -> Mask:
    return mask if isinstance(mask, Mask) else dense(mask)


def _boolean(mask: Mask, operator: str) -> Mask:
    if mask.additive:
        raise TypeError(
            f"{operator} needs masks that only hide; this one adds numbers to the scores: combine it with &"
        )
    return mask


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


def _where_any(ids: Tensor, wanted: Tensor) -> tuple[int, int]:
    """The range of positions that hold every one of ``ids`` that is wanted, in any batch."""
    present = torch.isin(ids.contiguous(), wanted.contiguous()).reshape(-1, ids.shape[-1]).any(0).nonzero()
    return (int(present[0]), int(present[-1]) + 1) if len(present) else (0, 0)


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return other if one is None else one if other is None else one + other


def _clamp(position: int, size: int) -> int:
    return max(0, min(position, size))


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    start, stop = max(one[0], other[0]), min(one[1], other[1])
    return (start, stop) if start < stop else (0, 0)


def _hull(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    if one[0] >= one[1] or other[0] >= other[1]:
        return other if one[0] >= one[1] else one
    return min(one[0], other[0]), max(one[1], other[1])
