"""Changing an attention while it is watched: the causal test of what a head does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from mirada.masks import Mask, as_mask
from mirada.matrix import attention
from mirada.watching.call import Call
from mirada.watching.functorch import unseen
from mirada.watching.masks import OnHeads, OnlyHides
from mirada.watching.select import check_heads, check_layers, in_layers, resolve_heads

Layers = int | str | Iterable[int | str] | None
Heads = int | Iterable[int] | None


@dataclass(frozen=True, eq=False)
class Edit:
    """What is done to which heads of which layers. Made by ``ablate``, ``knock_out_edges`` and ``uniform``."""

    kind: Literal["ablate", "knock out edges", "uniform"]
    layers: tuple[int | str, ...] | None
    heads: tuple[int, ...] | None
    mask: Mask | None = None

    def for_model(self, names: Collection[str]) -> Edit:
        """The edit, if its layers are the model's."""
        return replace(self, layers=check_layers(self.layers, names))

    def concerns(self, name: str) -> bool:
        """Whether it changes the attention of this module."""
        return in_layers(self.layers, name)


def ablate(*, layers: Layers = None, heads: Heads = None) -> Edit:
    """Silences heads: their context is 0 (Michel et al. 2019).

    Args:
        layers: names or patterns of modules, or numbers of blocks; None means all.
        heads: numbers of heads; None means all.

    >>> import mirada
    >>> model = torch.nn.MultiheadAttention(8, 2, bias=False)
    >>> with mirada.watch(model, edit=ablate()):
    ...     output, _ = model(*[torch.randn(3, 1, 8)] * 3)
    >>> output.abs().max().item()
    0.0
    """
    return Edit("ablate", _as_given(layers), check_heads(heads))


def knock_out_edges(mask: Mask | Tensor, *, layers: Layers = None, heads: Heads = None) -> Edit:
    """Cuts edges: queries look only where both the model and this mask allow it (Geva et al. 2023).

    Args:
        mask: a ``mirada.masks`` mask, or a tensor that broadcasts to (..., L, S): bool (True = may look) or floating.
        layers: names or patterns of modules, or numbers of blocks; None means all.
        heads: numbers of heads; None means all.

    Raises:
        TypeError: a mask that is neither bool nor floating. One that doesn't fit is a ValueError at the call.

    >>> import mirada
    >>> model = torch.nn.MultiheadAttention(8, 2)
    >>> with mirada.watch(model, edit=knock_out_edges(mirada.masks.sliding_window(0, 0))) as records:
    ...     output, _ = model(*[torch.randn(2, 1, 8)] * 3)
    >>> records[0].matrix.to_dense()[0, 0].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    rule = as_mask(mask)
    if rule is None:
        raise TypeError("mask must be a mask or a tensor, got None: an edit that cuts nothing")
    return Edit("knock out edges", _as_given(layers), check_heads(heads), rule)


def uniform(*, layers: Layers = None, heads: Heads = None) -> Edit:
    """Makes each query look at all keys that it may see alike.

    Args:
        layers: names or patterns of modules, or numbers of blocks; None means all.
        heads: numbers of heads; None means all.

    >>> import mirada
    >>> model = torch.nn.MultiheadAttention(8, 2)
    >>> with mirada.watch(model, edit=uniform(heads=1)) as records:
    ...     output, _ = model(*[torch.randn(2, 1, 8)] * 3)
    >>> records[0].matrix.to_dense()[0, 1].tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    return Edit("uniform", _as_given(layers), check_heads(heads))


def apply(edits: Iterable[Edit], call: Call, name: str, compute: Callable[[], Tensor]) -> tuple[Call, Tensor]:
    """The call as edited, one edit upon the other, and its context. Heads not concerned keep theirs to the bit."""
    context = compute()
    with unseen():
        for edit in edits:
            heads = None if edit.heads is None else resolve_heads(edit.heads, call.heads, name)
            edited = _edited(edit, call, name)
            context = _replaced(context, None if edit.kind == "ablate" else edited, heads)
            call = edited if heads is None else _mixed(edited, call, heads)
    return call, context


def _edited(edit: Edit, call: Call, name: str) -> Call:
    """The call as if the edit concerned all heads."""
    if edit.kind == "ablate":
        return call
    if edit.kind == "uniform":
        mask = call.mask
        rule = None if mask is None else OnlyHides(mask)
        return replace(call, query=torch.zeros_like(call.query), masks=(), rule=rule)
    assert edit.mask is not None
    try:
        edit.mask.fit(call.query.shape[:-2], call.queries, call.keys, call.query.device)
    except ValueError as error:
        raise ValueError(f"edit does not fit the attention of {name!r}: {error}") from None
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
        new = attention(matrix.query, matrix.key, value, matrix.mask, scale=matrix.scale, dropout_p=edited.dropout_p)
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


def _as_given(layers: Layers) -> tuple[int | str, ...] | None:
    if layers is None:
        return None
    return (layers,) if isinstance(layers, (int, str)) else tuple(layers)
