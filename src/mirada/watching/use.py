"""Weights that a model multiplies with something: where they lie in its layout, and the call that they come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mirada.kernels.autocast import computed_in
from mirada.watching import functorch
from mirada.watching.call import Call
from mirada.watching.layouts import from_base, to_base
from mirada.watching.provenance import Noted

_COMPARED = 1 << 20  # weights: up to so many are compared whole, and more where torch doesn't count the writes
_ROWS = 16  # of more, so many queries


class Softmax:
    """One softmax: recorded once, however often its weights are used."""

    recorded = False
    edited: Tensor | None = None  # its weights after an edit, as the model laid them out


@dataclass(frozen=True)
class Use:
    """Weights that are multiplied with something, or summed with it: where they and it lie."""

    note: Noted
    rows: tuple[int, ...]  # the base dimensions of the queries; empty where there is one
    value: Tensor | None  # laid out as the weights are, and its width behind
    context: Callable[[Tensor], Tensor] | None  # the result likewise
    back: Callable[[Tensor], Tensor] | None

    def inserted(self) -> tuple[Any, ...]:
        """Where dimensions of 1 stand that the base dimensions lack: they are taken away again."""
        leading, rows, _ = self.order()
        index: list[Any] = [slice(None) if base is not None else 0 for base in leading]
        index.append(slice(None) if rows is not None else 0)
        return (*index, slice(None))

    def order(self) -> tuple[list[int | None], int | None, int]:
        """The base dimensions of examples and heads, of queries and of keys; None for a 1 that no base has."""
        note = self.note
        rows = self.rows[-1] if self.rows else None
        leading: list[int | None] = []
        for bases in note.shown_layout:
            leading += bases or (None,)
        leading = [base for base in leading if base is None or base not in (note.key, rows)]
        if rows is None and None in leading:
            leading.reverse()
            leading.remove(None)
            leading.reverse()
        return leading, rows, note.key

    def canonical(self, base: Tensor, which: str) -> tuple[Tensor, list[int] | None]:
        """(..., L, S), (..., L, E) or (..., S, E) of a tensor over the base dimensions; and how to permute it back."""
        leading, rows, key = self.order()
        behind = list(range(len(self.note.scores.shape), base.ndim))
        order = [b for b in leading if b is not None]
        ends = {"both": [rows, key], "queries": [rows], "keys": [key]}[which]
        order += [b for b in ends if b is not None]
        dropped = [b for b in range(len(self.note.scores.shape)) if b not in order]
        tensor = base.permute(*order, *dropped, *behind)
        for _ in dropped:
            tensor = tensor.select(len(order), 0)
        index = [None if b is None else slice(None) for b in (*leading, *ends)]
        found = tensor[(*index, ...)]
        if len(dropped) > 1:
            return found, None
        # Back: the base dimensions in their order, the dropped one (size 1) at its place.
        place = {b: n for n, b in enumerate(order)}
        count = len(self.note.scores.shape)
        if dropped:
            return found, [place[b] for b in range(count) if b in place] + [len(order)]
        return found, [place[b] for b in range(count)] + [len(order)]

    def laid_out(self, weights: Tensor) -> Tensor:
        """Weights (..., L, S) as the model's softmax had them."""
        note = self.note
        leading, rows, key = self.order()
        ends = (rows, key)
        index = tuple(0 if b is None else slice(None) for b in (*leading, *ends))
        weights = weights[index]
        order = [b for b in (*leading, *ends) if b is not None]
        count = len(note.scores.shape)
        absent = [b for b in range(count) if b not in order]
        weights = weights[(..., *[None] * len(absent))]
        place = {b: n for n, b in enumerate((*order, *absent))}
        base = weights.permute(*(place[b] for b in range(count)))
        assert note.shown is not None
        return from_base(base, note.shown_layout, count).to(note.shown.dtype)

    def call(self) -> Call:
        """The attention: of query and key where they give these weights, else the weights themselves."""
        weights = self.weights().detach()
        call = Call.of_weights(weights, self._value(weights), dropout_p=self.note.dropout_p)
        return self._of_query_and_key(call) or call

    def weights(self) -> Tensor:
        """The weights (..., L, S), as the model has them."""
        note = self.note
        assert note.shown is not None
        based = to_base(note.shown, note.shown_layout, note.scores.shape)
        assert based is not None
        return self.canonical(based, "both")[0]

    def _value(self, weights: Tensor) -> Tensor | None:
        if self.value is None:
            return None
        value, note = self.value, self.note
        if note.cut and note.scores.sink is not None:
            at = note.layout.index((note.key,))
            first = note.scores.sink[1] == 0
            value = pad(value, (0, 0) * (value.ndim - at - 1) + ((1, 0) if first else (0, 1)))
        base = to_base(value, note.layout, note.scores.shape)
        if base is None:
            return None
        value = self.canonical(base, "keys")[0]
        return value.expand(*weights.shape[:-2], *value.shape[-2:])

    def _of_query_and_key(self, dense: Call) -> Call | None:
        scores, key = self.note.scores, self.note.key
        if scores.query is None or scores.key is None or not scores.known:
            return None
        rows = self.rows[-1] if self.rows else None
        query, keys = scores.query, scores.key
        if query.shape[key] > 1 or (rows is not None and keys.shape[rows] > 1):
            query, keys = keys, query
        # What belongs to a query lies along the queries, and what to a key along the keys.
        if query.shape[key] > 1 or (rows is not None and keys.shape[rows] > 1):
            return None
        if keys.shape[key] < scores.shape[key] or (rows is not None and query.shape[rows] < scores.shape[rows]):
            return None
        masks = [m for m in scores.masks if m.dtype == torch.bool or m.shape[key] > 1 or scores.shape[key] == 1]
        # Autocast multiplies in its own dtype.
        dtype = computed_in(query) if query.dtype != torch.float64 else query.dtype
        assert dense.weights is not None
        call = Call(
            self.canonical(query, "queries")[0],
            self.canonical(keys, "keys")[0],
            dense.value,
            masks=tuple(self.canonical(mask, "both")[0] for mask in masks),
            scale=scores.scale,
            dropout_p=self.note.dropout_p,
            how="by hand",
            kernel="softmax",
            dtype=dtype,
            sink=None if scores.sink is None else scores.sink[1],
        )
        whole = not scores.counted or dense.weights.numel() <= _COMPARED or scores.fill > -torch.inf
        return call if _agrees(call, dense.weights, whole=whole) else None


@torch.no_grad()
def _agrees(call: Call, weights: Tensor, *, whole: bool) -> bool:
    """Whether a query and a key give the weights that the model has; so no step that went unseen goes unnoticed."""
    if weights.is_meta or not weights.numel():
        return True
    # Under vmap, what the transform stands for.
    call = functorch.outer(replace(call, weights=weights, value=None))
    assert call.weights is not None
    weights, call = call.weights, replace(call, weights=None)
    with functorch.outside():
        return _equal(call, weights, whole=whole)


def _equal(call: Call, weights: Tensor, *, whole: bool) -> bool:
    try:
        matrix = call.matrix()
    except (ValueError, TypeError):
        return False
    queries = weights.shape[-2]
    tolerance = {torch.bfloat16: 4e-3, torch.float16: 1e-3}.get(weights.dtype, 5e-6)
    index = torch.arange(queries) if whole else torch.linspace(0, queries - 1, _ROWS).long().unique()
    for some in index.split(max(1, _COMPARED // max(1, weights[..., :1, :].numel()))):
        found, given = matrix.rows(some.to(weights.device)).double(), weights[..., some, :].double()
        empty = (found == 0).all(-1, keepdim=True) & given.isnan()  # a row of −inf is NaN in torch, and 0 here
        same = ((found - given).abs() <= tolerance) | empty | (found.isnan() & given.isnan())
        if not bool(same.all()):
            return False
    return True
