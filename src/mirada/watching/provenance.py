"""What is known of a tensor that is scores or weights so far, and how each step of an attention by hand changes it."""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Number
from string import ascii_letters
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mirada.watching.keeping import without_repeats

_HIDDEN = -1e4  # what is filled in to hide: half precision can't hold much less


@dataclass(frozen=True, eq=False)
class ScoresNote:
    """Scores so far: of what query and key, scaled and masked how."""

    query: Tensor  # (..., L, E)
    key: Tensor  # (..., S, E)
    scale: float = 1.0
    masks: tuple[Tensor, ...] = ()


@dataclass(frozen=True, eq=False)
class WeightsNote:
    """Weights so far: of what scores."""

    scores: ScoresNote | None  # None: made in a way that isn't understood
    dropout_p: float = 0.0
    folded: bool = False  # heads into the batch, after the softmax: the scores still have them apart
    cut: bool = False  # the last key's weights were left out, after the softmax: it was a sink


class Notes:
    """What tensors are made of, for as long as they live."""

    def __init__(self) -> None:
        self.of: dict[int, tuple[weakref.ref[Tensor], ScoresNote | WeightsNote]] = {}

    def __setitem__(self, tensor: Tensor, note: ScoresNote | WeightsNote) -> None:
        number = id(tensor)
        self.of[number] = weakref.ref(tensor, lambda _: self.of.pop(number, None)), note

    def get(self, tensor: Tensor) -> ScoresNote | WeightsNote | None:
        """The note of a tensor, if it has one."""
        alive, note = self.of.get(id(tensor), (None, None))
        return note if alive is not None and alive() is tensor else None

    def forget(self, tensor: Tensor) -> None:
        """Loses a tensor's note."""
        self.of.pop(id(tensor), None)


def letters_of(equation: str, operands: Sequence[Tensor]) -> tuple[str, str, str] | None:
    """ "b i d, b j d -> b i j" as its three parts, with letters for an ellipsis too."""
    equation = equation.replace(" ", "")
    parts = re.split(",|->", equation)
    if "->" not in equation or len(parts) != 3:
        return None
    unnamed = max(tensor.ndim - len(part.replace("...", "")) for tensor, part in zip(operands, parts, strict=False))
    dimensions = "".join(letter for letter in ascii_letters if letter not in equation)[:unnamed]
    one, other, result = (part.replace("...", dimensions) for part in parts)
    fits = all(len(part) == tensor.ndim for tensor, part in zip(operands, (one, other), strict=True))
    return (one, other, result) if fits else None


def scores_of_einsum(letters: tuple[str, str, str], operands: Any) -> ScoresNote | None:
    """The scores that an einsum of a query and a key makes; None where it makes something else."""
    one, other, result = letters
    summed = [letter for letter in one if letter in other and letter not in result]
    if len(result) < 3 or len(summed) != 1 or result[-2] not in one or result[-1] not in other:
        return None
    query = arranged(operands[0], one, result[:-1] + summed[0])
    key = arranged(operands[1], other, result[:-2] + result[-1] + summed[0])
    return None if query is None or key is None else ScoresNote(query, key)


def arranged(tensor: Tensor, letters: str, wanted: str) -> Any:
    """The dimensions in the wanted order, with 1 for one that the tensor lacks; None where it has others."""
    if not set(letters) <= set(wanted):
        return None
    present = [letter for letter in wanted if letter in letters]
    tensor = tensor.permute([letters.index(letter) for letter in present])
    return tensor[tuple(slice(None) if letter in letters else None for letter in wanted)]


def folded(scores: ScoresNote, before: torch.Size, after: torch.Size) -> ScoresNote | None:
    """The scores with their leading dimensions reshaped; None where queries and keys are reshaped too."""
    if before == after:
        return scores
    if before[-2:] != after[-2:]:
        return None
    leading = math.prod(before[:-2])

    def fold(tensor: Tensor) -> Tensor:
        if tensor.ndim < 3 or math.prod(tensor.shape[:-2]) == 1:
            return tensor.reshape(tensor.shape[-2:]) if tensor.ndim > 2 else tensor
        full = tensor if math.prod(tensor.shape[:-2]) == leading else tensor.expand(*before[:-2], *tensor.shape[-2:])
        return full.reshape(*after[:-2], *tensor.shape[-2:])

    return replace(scores, query=fold(scores.query), key=fold(scores.key), masks=tuple(map(fold, scores.masks)))


def factor_of(given: object) -> float | Tensor | None:
    """A number, or one number a query (..., L or 1, 1); None for anything else."""
    if isinstance(given, Number) and not isinstance(given, complex):
        return float(given)  # type: ignore[arg-type] - any real Number converts
    if isinstance(given, Tensor) and given.is_floating_point() and given.shape[-1:] in ((), (1,)):
        return given if given.ndim or given.requires_grad else float(given)
    return None


def scaled(scores: ScoresNote, factor: float | Tensor | None) -> ScoresNote | None:
    """A factor for each query is as good as a longer query."""
    # By a negative one, what is hidden would come to light.
    if factor is None or not bool(torch.as_tensor(factor > 0 if scores.masks else factor != 0).all()):
        return None
    masks = tuple(mask if mask.dtype == torch.bool else mask * factor for mask in scores.masks)
    if isinstance(factor, Tensor):
        return replace(scores, query=scores.query * factor, masks=masks)
    return replace(scores, scale=scores.scale * factor, masks=masks)


def with_term(scores: ScoresNote, term: object) -> ScoresNote | None:
    """What is added to all scores of a query alike changes no weight."""
    if not isinstance(term, Tensor) or not term.ndim or (term.shape[-1] == 1 and scores.key.shape[-2] > 1):
        return scores
    return replace(scores, masks=(*scores.masks, term)) if term.is_floating_point() else None


def with_sink(scores: ScoresNote, sink: Tensor) -> ScoresNote:
    """A score (..., L, 1) that no key has and that takes its share: as a last key of zeros, with the score as bias."""
    keys = scores.key.shape[-2]
    masks = (pad(mask.expand(*mask.shape[:-1], keys), (0, 1), value=mask.dtype == torch.bool) for mask in scores.masks)
    bias = pad(without_repeats(sink), (keys, 0))
    return replace(scores, key=pad(scores.key, (0, 0, 0, 1)), masks=(*masks, bias))


def hides(value: object) -> bool:
    """Whether a number that is filled in hides what it stands for."""
    if isinstance(value, Tensor):
        return value.numel() == 1 and float(value) <= _HIDDEN
    return isinstance(value, (int, float)) and value <= _HIDDEN
