# ruff: noqa: D102 - the methods are those of Mask
"""Masks that only watching needs: a FlexAttention's functions, and rules that hold for some heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mirada.masks import Mask
from mirada.masks.views import MaskView

#: What is added or filled in to hide a key: this or less. Half precision can't hold much less than −1e4, which
#: bfloat16 rounds to −9,984.
HIDDEN = -5e3
#: A FlexAttention's mask_mod: (batch, head, query, key) as integers -> bool.
MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
#: A FlexAttention's score_mod: (score, batch, head, query, key) -> score.
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class FlexMask(Mask):
    """What a FlexAttention's functions hide and add, called for just the pairs that are wanted.

    Only a score_mod that adds to the score is a mask.
    """

    mask_mod: MaskMod | None
    score_mod: ScoreMod | None
    sizes: tuple[int, int] = (1, 1)
    """How many batches and heads the mask_mod tells apart."""
    held: tuple[tuple[Any, str, Any], ...] = ()
    """What the functions hold that can change, and what it was."""
    at: tuple[Tensor, Tensor] | None = None  # once fitted: the batch and the head of each leading index

    @property
    def additive(self) -> bool:
        return self.score_mod is not None

    def changed(self, scores: Tensor, rows: slice, columns: slice) -> Tensor:
        """What the score_mod makes of scores (batch, heads, rows, columns)."""
        assert self.score_mod is not None
        index = [torch.arange(size, device=scores.device) for size in scores.shape[:2]]
        index += [torch.arange(part.start, part.stop, device=scores.device) for part in (rows, columns)]
        places = torch.meshgrid(*index, indexing="ij")
        return _at_each(self.score_mod, scores, *places).detach()

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        if len(leading) != 2:
            raise ValueError(f"a FlexAttention has leading dimensions (batch, heads), got {tuple(leading)}")
        batch, head = (torch.arange(size, device=device) for size in leading)
        return replace(self, at=(batch[:, None], head))

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        assert self.at is not None
        batch, head = (at.expand(tuple(leading))[index] for at in self.at)
        return replace(self, at=(batch, head))

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        return self._unhidden(i, j, self.bias(i, j))

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        i = torch.arange(rows.start, rows.stop, device=device)[:, None]
        j = torch.arange(columns.start, columns.stop, device=device)
        bias = self.bias(i, j)
        return self._unhidden(i, j, bias), bias

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        if self.score_mod is None:
            return None
        batch, head = self._at(i, j, (2, 2))
        zero = torch.zeros((), device=i.device)
        return _at_each(self.score_mod, zero, batch, head, i, j).detach()

    def _unhidden(self, i: Tensor, j: Tensor, bias: Tensor | None) -> Tensor:
        if self.mask_mod is None:
            visible = torch.ones((), dtype=torch.bool, device=i.device)
        else:
            visible = _at_each(self.mask_mod, *self._at(i, j, self.sizes), i, j)
        return visible if bias is None else visible & (bias != -torch.inf)

    def _at(self, i: Tensor, j: Tensor, sizes: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Batch and head with dimensions of 1 for queries and keys; one for all where the function can't tell."""
        assert self.at is not None
        behind = (..., *[None] * max(i.ndim, j.ndim))
        batch, head = (
            at[behind] if size > 1 else at.new_zeros((1,) * at[behind].ndim)
            for at, size in zip(self.at, sizes, strict=True)
        )
        return batch, head


@dataclass(frozen=True, eq=False)
class OfHeads(Mask):
    """A rule for all heads, for a matrix that has only some of them."""

    rule: Mask
    heads: list[int]
    count: int

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        everyone = (*leading[:-1], self.count)
        index = (*[slice(None)] * (len(leading) - 1), self.heads)
        return self.rule.fit(everyone, queries, keys, device).pick(everyone, index)

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        raise AssertionError("a rule of heads is asked once it is fitted")


@dataclass(frozen=True, eq=False)
class OnHeads(Mask):
    """One rule for some heads, another for the rest."""

    inside: Mask | None
    outside: Mask | None
    heads: list[int]
    chosen: Tensor | None = None  # once fitted: bool, (*leading) or what broadcasts to it

    @property
    def additive(self) -> bool:
        return any(rule is not None and rule.additive for rule in (self.inside, self.outside))

    @property
    def requires_grad(self) -> bool:
        return any(rule is not None and rule.requires_grad for rule in (self.inside, self.outside))

    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        inside, outside = (
            None if rule is None else rule.fit(leading, queries, keys, device) for rule in (self.inside, self.outside)
        )
        chosen = torch.zeros(leading[-1], dtype=torch.bool, device=device)
        chosen[self.heads] = True
        chosen = chosen[(None,) * (len(leading) - 1)]  # of the matrix's rank
        return replace(self, inside=inside, outside=outside, chosen=chosen)

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        assert self.chosen is not None
        inside, outside = (None if rule is None else rule.pick(leading, index) for rule in (self.inside, self.outside))
        return replace(self, inside=inside, outside=outside, chosen=self.chosen.expand(tuple(leading))[index])

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        everything = torch.ones((), dtype=torch.bool, device=i.device)
        inside, outside = (everything if rule is None else rule.visible(i, j) for rule in (self.inside, self.outside))
        return torch.where(self._chosen(i, j), inside, outside)

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        biases = [None if rule is None else rule.bias(i, j) for rule in (self.inside, self.outside)]
        if all(bias is None for bias in biases):
            return None
        inside, outside = (torch.zeros((), device=i.device) if bias is None else bias for bias in biases)
        return torch.where(self._chosen(i, j), inside, outside)

    def _chosen(self, i: Tensor, j: Tensor) -> Tensor:
        assert self.chosen is not None
        return self.chosen[(..., *[None] * max(i.ndim, j.ndim))]


@dataclass(frozen=True, eq=False)
class OnlyHides(MaskView):
    """What a mask hides, without what it adds."""

    @property
    def additive(self) -> bool:
        return False

    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        visible, bias = self.mask.visible(i, j), self.mask.bias(i, j)
        # Many models hide with a finite number in place of −inf: the least that there is, −1e9, −1e4.
        return visible if bias is None else visible & (bias > HIDDEN)

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        return None

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        return Mask.block(self, rows, columns, device)  # by `visible`, not the mask's own block


def _at_each(function: Callable[..., Tensor], *indices: Tensor) -> Tensor:
    """A function of single numbers, of all of them: such functions are written for one pair at a time."""
    indices = torch.broadcast_tensors(*indices)
    if not indices[0].numel():
        return function(*(index.new_zeros(()) for index in indices)).expand(indices[0].shape)
    return torch.vmap(function)(*(index.reshape(-1) for index in indices)).reshape(indices[0].shape)
