"""What scale, bias, mask and sink make of the scores of a product, before their softmax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mirada.watching.layouts import aligned, arranged, ranked
from mirada.watching.masks import HIDDEN
from mirada.watching.provenance import Noted, Scores, one_each, version_of


def scores_of(query: Tensor, key: Tensor, shape: Sequence[int], *made_of: Tensor) -> Noted:
    """The scores of a query and a key, each (*base or 1, E)."""
    stamps = tuple((tensor, version_of(tensor)) for tensor in made_of)
    return Noted(Scores(tuple(shape), query, key, product=True, stamps=stamps), one_each(len(shape)))


def product(left: Tensor, right: Tensor, out: Tensor) -> Noted | None:
    """The scores left @ right."""
    if min(left.ndim, right.ndim) < 1 or out.ndim < 1:
        return None
    query = left.unsqueeze(-2) if left.ndim > 1 else left  # (..., rows, 1, E)
    key = right.mT.unsqueeze(-3) if right.ndim > 1 else right  # (..., 1, columns, E)
    if left.ndim == 1 and right.ndim > 1:
        key = right.mT
    if right.ndim == 1 and left.ndim > 1:
        query = left
    return scores_of(ranked(query, out.ndim + 1), ranked(key, out.ndim + 1), out.shape, left, right)


def einsum_scores(letters: tuple[str, str, str], operands: Sequence[Tensor], out: Tensor) -> Noted | None:
    """The scores that an einsum of two tensors makes; None where it makes something else."""
    one, other, result = letters
    summed = "".join(letter for letter in one if letter in other and letter not in result)
    if not summed or not result or (set(one) | set(other)) - set(result) != set(summed):
        return None
    query, key = (
        arranged(tensor, part, result + summed).flatten(len(result))
        for tensor, part in zip(operands, (one, other), strict=True)
    )
    return scores_of(query, key, out.shape, *operands)


def scaled(note: Noted, factor: Tensor | float) -> Noted:
    """Scores times a number, or times one for each query or each key."""
    scores = note.scores
    if scores.query is None or scores.key is None:
        return note
    if not isinstance(factor, Tensor):
        if factor == 0 or (factor < 0 and scores.masks) or not math.isfinite(factor):
            return note.lost("a factor")
        masks = tuple(mask if mask.dtype == torch.bool else mask * factor for mask in scores.masks)
        return replace(
            note, scores=replace(scores, scale=scores.scale * factor, masks=masks, fill=scores.fill * factor)
        )
    if not factor.ndim and not factor.requires_grad:
        return scaled(note, float(factor))
    based = aligned(note, factor)
    if based is None or not bool((based > 0 if scores.masks else based != 0).all()):
        return note.lost("a factor")
    masks = tuple(mask if mask.dtype == torch.bool else mask * based for mask in scores.masks)
    fill = scores.fill * float(based.min()) if scores.masks else scores.fill
    for name in ("query", "key"):
        operand = getattr(scores, name)
        if all(own > 1 or size == 1 or other == 1 for own, size, other in _sizes(operand, based, scores)):
            changed: Any = {name: operand * based[..., None]}
            return replace(note, scores=replace(scores, masks=masks, fill=fill, **changed))
    return note.lost("a factor for each pair")


def _sizes(operand: Tensor, factor: Tensor, scores: Scores) -> list[tuple[int, int, int]]:
    """Of each base dimension: what the operand, the factor and the other operand have."""
    other = scores.key if operand is scores.query else scores.query
    assert other is not None
    return list(zip(operand.shape[:-1], factor.shape, other.shape[:-1], strict=True))


def with_term(note: Noted, term: Tensor | float) -> Noted:
    """Scores plus a bias or an added mask. One number for all changes no weight."""
    if not note.scores.known or not isinstance(term, Tensor) or not term.ndim:
        return note
    based = aligned(note, term)
    if based is None or based.is_complex():
        return note.lost("a term")
    masks = note.scores.masks
    based = based if based.is_floating_point() else based.to(note.scores.query.dtype)  # type: ignore[union-attr]
    if based.requires_grad:
        based = based.detach()
    # A number a query or less is dropped once it is known which dimension the keys are.
    scores = replace(note.scores, masks=(*masks, based), stamps=(*note.scores.stamps, (term, version_of(term))))
    return replace(note, scores=scores)


def with_hidden(note: Noted, visible: Tensor, value: object) -> Noted:
    """Scores with a number filled in where ``visible`` is False."""
    if not note.scores.known:
        return note
    number = hiding(value)
    based = None if number is None else aligned(note, visible)
    if based is None or number is None:
        return note.lost("numbers that are filled in")
    scores = note.scores
    stamps = (*scores.stamps, (visible, version_of(visible)))
    return replace(
        note, scores=replace(scores, masks=(*scores.masks, based), fill=max(scores.fill, number), stamps=stamps)
    )


def with_sink(note: Noted, sink: Tensor, *, first: bool) -> Noted:
    """A score (..., 1) that no key has and that takes its share: a key of zeros, with the score as bias."""
    scores = note.scores
    if not scores.known or scores.key is None or scores.query is None or len(note.layout[-1]) != 1 or scores.sink:
        return note.lost("more scores, joined")
    (base,) = note.layout[-1]
    if scores.key.shape[base] == 1 or scores.query.shape[base] > 1:
        return note.lost("more scores, joined")
    based = aligned(note, sink.detach())
    if based is None:
        return note.lost("more scores, joined")
    size = scores.shape[base]
    width = (1, 0) if first else (0, 1)

    def longer(tensor: Tensor, value: float) -> Tensor:
        tensor = tensor.expand(*tensor.shape[:base], size, *tensor.shape[base + 1 :])
        return pad(tensor, (0, 0) * (tensor.ndim - base - 1) + width, value=value)

    masks = tuple(longer(mask, float(mask.dtype == torch.bool)) for mask in scores.masks)
    around = (size, 0) if not first else (0, size)
    bias = pad(without_repeats(based), (0, 0) * (based.ndim - base - 1) + around)
    shape = (*scores.shape[:base], size + 1, *scores.shape[base + 1 :])
    return replace(
        note,
        scores=replace(
            scores,
            shape=shape,
            key=longer(scores.key, 0.0),
            masks=(*masks, bias),
            sink=(base, 0 if first else size),
        ),
    )


def hiding(value: object) -> float | None:
    """The number that is filled in, if it hides what it stands for."""
    if isinstance(value, Tensor):
        value = float(value) if value.numel() == 1 else float(value.max()) if value.numel() else 0.0
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    return float(value) if value <= HIDDEN else None


def without_repeats(tensor: Tensor) -> Tensor:
    """A view with size 1 where the tensor was broadcast."""
    single = tensor
    for dim in range(tensor.ndim):
        if tensor.stride(dim) == 0 and tensor.shape[dim] > 1:
            single = single.narrow(dim, 0, 1)
    return single
