"""What an edit does to an attention call; `mirada.interventions` makes them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from mirada.masks import Mask
from mirada.matrix import attention
from mirada.watching.call import Call
from mirada.watching.functorch import unseen
from mirada.watching.masks import OnHeads, OnlyHides
from mirada.watching.select import check_layers, in_layers, resolve_heads

_SURE = 1e-30  # a weight of 0 beside no smaller ones than this is that of a hidden key


@dataclass(frozen=True, eq=False)
class Edit:
    """What is done to which heads of which layers. Made by the functions of ``mirada.interventions``."""

    kind: Literal["ablate", "knock out edges", "uniform"]
    layers: tuple[int | str, ...] | None
    heads: tuple[int, ...] | None
    mask: Mask | None = None

    def for_model(self, modules: Mapping[str, nn.Module]) -> Edit:
        """The edit, if its layers are the model's."""
        return replace(self, layers=check_layers(self.layers, modules))

    def concerns(self, name: str) -> bool:
        """Whether it changes the attention of this module."""
        return in_layers(self.layers, name)


def apply(
    edits: Iterable[Edit], call: Call, name: str, compute: Callable[[], Tensor], at: int | None
) -> tuple[Call, Tensor]:
    """The call as edited, one edit upon the other, and its context. Heads not concerned keep theirs to the bit.

    ``at`` is the dimension that counts heads.
    """
    context = compute()
    with unseen():
        for edit in edits:
            heads = _chosen(edit, call, at, name)
            edited = _edited(edit, call, name)
            context = _replaced(context, None if edit.kind == "ablate" else edited, heads)
            call = edited if heads is None else _mixed(edited, call, heads)
    return call, context


def edited_weights(
    edits: Iterable[Edit], call: Call, weights: Tensor, name: str, at: int | None
) -> tuple[Call, Tensor]:
    """The same for weights (..., L, S) that the model forms: the call as edited, and the weights to go on with."""
    shown = weights
    for edit in edits:
        heads = _chosen(edit, call, at, name, last=False)
        if edit.kind == "ablate":
            new = torch.zeros_like(weights)
        else:
            edited = _edited(edit, call, name)
            new = edited.matrix().to_dense(limit=sys.maxsize).to(weights.dtype)
            mixed = heads is None or at == len(call.shape) - 3
            of_weights = Call.of_weights(_in_heads(shown, new, heads, at), call.value)
            call = edited if heads is None else _mixed(edited, call, heads) if mixed else of_weights
            shown = _in_heads(shown, new, heads, at)
        weights = _in_heads(weights, new, heads, at)
    return Call.of_weights(shown, call.value, dropout_p=call.dropout_p), weights


def _even(weights: Tensor, name: str) -> Tensor:
    """Each query's attention shared among the keys that it attends to: those whose weight is not 0."""
    attended = weights > 0
    if bool(attended.any()) and float(weights[attended].min()) < _SURE:
        raise ValueError(
            f"edit uniform can't reach {name!r}: a step between product and softmax is not followed, and its least "
            "weights are so small that hidden keys can't be told from keys with little weight"
        )
    return attended.to(weights.dtype) / attended.sum(-1, keepdim=True)


def _in_heads(weights: Tensor, new: Tensor, heads: list[int] | None, at: int | None) -> Tensor:
    if heads is None or at is None:
        return new
    index = torch.tensor(heads, device=weights.device)
    return weights.index_copy(at, index, new.index_select(at, index))


def _chosen(edit: Edit, call: Call, at: int | None, name: str, *, last: bool = True) -> list[int] | None:
    """The heads that are edited, by number."""
    if edit.heads is None:
        return None
    known = at if not last or at == len(call.shape) - 3 else None
    return resolve_heads(edit.heads, call.shape, known, name)


def _edited(edit: Edit, call: Call, name: str) -> Call:
    """The call as if the edit concerned all heads."""
    if edit.kind == "ablate":
        return call
    if edit.kind == "uniform" and call.weights is not None:
        return replace(call, weights=_even(call.weights, name))
    if edit.kind == "uniform":
        mask = call.mask
        rule = None if mask is None else OnlyHides(mask)
        return replace(call, query=torch.zeros_like(call.query), masks=(), rule=rule)
    assert edit.mask is not None
    try:
        edit.mask.fit(call.shape[:-2], call.queries, call.keys, call.query.device)
    except ValueError as error:
        raise ValueError(f"edit does not fit the attention of {name!r}: {error}") from None
    if call.weights is not None:
        fitted = edit.mask.fit(call.shape[:-2], call.queries, call.keys, call.query.device)
        visible, bias = fitted.block(slice(0, call.queries), slice(0, call.keys), call.query.device)
        kept = call.weights * visible if bias is None else call.weights * visible * bias.exp()
        return replace(call, weights=kept / kept.sum(-1, keepdim=True))
    return replace(call, masks=(), rule=edit.mask if call.mask is None else call.mask & edit.mask)


def _replaced(context: Tensor, edited: Call | None, heads: list[int] | None) -> Tensor:
    if edited is None:
        new = torch.zeros_like(context)
        return new if heads is None else context.index_fill(-3, torch.tensor(heads, device=context.device), 0)
    matrix, value = edited.matrix(), edited.values()
    if heads is not None:
        value = value.expand(*matrix.shape[:-2], *value.shape[-2:])[..., heads, :, :]
        matrix = matrix[..., heads]
    if edited.dropout_p:
        new = attention(
            matrix.query,
            matrix.key,
            value,
            matrix.mask,
            scale=matrix.scale,
            softcap=matrix.softcap,
            dropout_p=edited.dropout_p,
        )
        assert isinstance(new, Tensor)
    else:
        new = matrix @ value
    new = new.to(context.dtype)
    return new if heads is None else context.index_copy(-3, torch.tensor(heads, device=context.device), new)


def _mixed(edited: Call, call: Call, heads: list[int]) -> Call:
    """The edited call for these heads, the call as it was for the others."""
    query = call.query.index_copy(-3, torch.tensor(heads, device=call.query.device), edited.query[..., heads, :, :])
    inside, outside = edited.mask, call.mask
    rule = None if inside is None and outside is None else OnHeads(inside, outside, heads)
    return replace(call, query=query if edited.query is not call.query else call.query, masks=(), rule=rule)
