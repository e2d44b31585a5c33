"""Attention written by hand: a product, a softmax, a product, followed from one to the next.

Each tensor that is scores or weights so far carries a note of what it was made of. A step that isn't understood loses
the note, and the weights that come of it are known to be an attention that can't be given back: it is named instead.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any, Protocol

import torch
from torch import Tensor

from mirada.watch.calls import Call
from mirada.watch.sdpa import computed_in

_HIDDEN = -1e4  # what is filled in to hide: half precision can't hold much less
_SAME = ("to", "float", "double", "half", "bfloat16", "type", "type_as", "contiguous", "clone", "detach")
Step = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class Witness(Protocol):
    """Who is told of an attention."""

    def attend(self, call: Call, compute: Callable[[], Tensor]) -> Tensor:
        """Takes note of a call and gives its context."""
        ...

    def cannot_follow(self, why: str) -> None:
        """Takes note of an attention that can't be given back."""
        ...

    def heads_here(self) -> int | None:
        """How many heads the running module has folded into its batch."""
        ...


@dataclass(frozen=True, eq=False)
class _Scores:
    query: Tensor  # (..., L, E)
    key: Tensor  # (..., S, E)
    scale: float = 1.0
    masks: tuple[Tensor, ...] = ()


@dataclass(frozen=True, eq=False)
class _Weights:
    scores: _Scores | None  # None: made in a way that isn't understood
    dropout_p: float = 0.0
    folded: bool = False  # heads into the batch, after the softmax: the scores still have them apart


class _Notes:
    """What tensors are made of, for as long as they live."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[weakref.ref[Tensor], _Scores | _Weights]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __setitem__(self, tensor: Tensor, note: _Scores | _Weights) -> None:
        number = id(tensor)
        self._of[number] = weakref.ref(tensor, lambda _: self._of.pop(number, None)), note

    def get(self, tensor: Tensor) -> _Scores | _Weights | None:
        """The note of a tensor, if it has one."""
        alive, note = self._of.get(id(tensor), (None, None))
        return note if alive is not None and alive() is tensor else None

    def forget(self, tensor: Tensor) -> None:
        """Loses a tensor's note."""
        self._of.pop(id(tensor), None)


class ByHand:
    """Follows products, softmaxes and products; tells a witness of what they come to."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._notes = _Notes()
        self.beginnings: dict[str, Step] = {
            **dict.fromkeys(("matmul", "bmm", "__matmul__"), self._product),
            "baddbmm": self._product_and_sum,
            "einsum": self._einsum,
            "softmax": self._softmax,
        }
        self._steps: dict[str, Step] = {
            **dict.fromkeys(("mul", "mul_", "multiply"), self._times),
            **dict.fromkeys(("div", "div_", "true_divide"), self._over),
            **dict.fromkeys(("add", "add_"), self._plus),
            **dict.fromkeys(("masked_fill", "masked_fill_"), self._fill),
            **dict.fromkeys(("view", "reshape", "unflatten"), self._reshape),
            **dict.fromkeys(("dropout", "dropout_"), self._dropout),
            **dict.fromkeys(_SAME, self._same),
            "where": self._where,
        }

    def step(self, name: str) -> Step | None:
        """How a step is followed; None while nothing is, so that it costs nothing."""
        if not self._notes:
            return None
        return self._steps.get(name) or (self._forget if name[-1:] == "_" and name != "__get__" else None)

    def _forget(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A tensor that is written to in a way that isn't followed loses its note."""
        out = func(*args, **kwargs)
        if args and (note := self._note(args[0])) is not None:
            self._set(args[0], None)
            if isinstance(note, _Weights):
                self._notes[args[0]] = _Weights(None)
        return out

    def _note(self, tensor: object) -> _Scores | _Weights | None:
        return self._notes.get(tensor) if isinstance(tensor, Tensor) else None

    def _product(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        left, right = [*args, *kwargs.values()][:2]
        note = self._note(left)
        if isinstance(note, _Weights):
            return self._finish(note, right, lambda: func(*args, **kwargs))
        out = func(*args, **kwargs)
        if min(left.ndim, right.ndim) > 2:
            self._notes[out] = _Scores(left, right.mT)
        return out

    def _product_and_sum(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        given = dict(zip(("input", "batch1", "batch2"), args, strict=False)) | kwargs
        beta, alpha = given.get("beta", 1), given.get("alpha", 1)
        masks = () if beta == 0 else (given["input"] * beta,) if beta != 1 else (given["input"],)
        self._notes[out] = _Scores(given["batch1"], given["batch2"].mT, float(alpha), masks)
        return out

    def _einsum(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operands = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
        letters = _letters(args[0]) if isinstance(args[0], str) and len(operands) == 2 else None
        if letters is None:
            return func(*args, **kwargs)
        note = self._note(operands[0])
        if isinstance(note, _Weights):
            return self._einsum_of_weights(note, letters, operands, lambda: func(*args, **kwargs))
        out = func(*args, **kwargs)
        scores = _scores_of_einsum(letters, operands)
        if scores is not None:
            self._notes[out] = scores
        return out

    def _einsum_of_weights(
        self, note: _Weights, letters: tuple[str, str, str], operands: Any, compute: Callable[[], Tensor]
    ) -> Tensor:
        weights, value, result = letters
        usual = weights[:-1] + "".join(letter for letter in result if letter not in weights)  # (..., L, Ev)
        if sorted(usual) != sorted(result) or weights[-1] not in value:
            self._witness.cannot_follow("its weights are used in an einsum that can't be followed")
            return compute()
        values = _arrange(operands[1], value, weights[:-2] + weights[-1] + usual[-1])
        context = self._finish(note, values, lambda: _arrange(compute(), result, usual))
        return _arrange(context, usual, result)

    def _times(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._scaled(func, args, kwargs, lambda factor: factor)

    def _over(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._scaled(func, args, kwargs, lambda factor: 1.0 / factor)

    def _scaled(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], by: Callable[[float], float]
    ) -> Any:
        note, factor = self._noted_and_other(args, kwargs)
        out = func(*args, **kwargs)
        if isinstance(note, _Weights):
            self._notes[out] = _Weights(None)
        elif note is not None:
            number = _number(factor)
            followed = number is not None and number != 0 and not note.masks
            self._set(out, replace(note, scale=note.scale * by(number)) if followed and number else None)
        return out

    def _plus(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        note, term = self._noted_and_other(args, kwargs)
        out = func(*args, **kwargs)
        if isinstance(note, _Scores):
            # A number added to all scores changes no weight.
            masks = (*note.masks, term) if isinstance(term, Tensor) else note.masks
            followed = "alpha" not in kwargs and (not isinstance(term, Tensor) or term.is_floating_point())
            self._set(out, replace(note, masks=masks) if followed else None)
        elif note is not None:
            self._notes[out] = _Weights(None)
        return out

    def _fill(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        note = self._note(args[0])
        _, mask, value = [*args, *kwargs.values()][:3]
        out = func(*args, **kwargs)
        if isinstance(note, _Scores):
            self._set(out, replace(note, masks=(*note.masks, ~mask)) if _hides(value) else None)
        elif note is not None:
            self._notes[out] = _Weights(None)
        return out

    def _where(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        if len(args) == 3 and isinstance(note := self._note(args[1]), _Scores) and _hides(args[2]):
            self._notes[out] = replace(note, masks=(*note.masks, args[0]))
        return out

    def _softmax(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if isinstance(out, Tensor) and out.ndim > 2 and dim in (-1, out.ndim - 1):
            note = self._note(args[0] if args else kwargs.get("input"))
            self._notes[out] = _Weights(note if isinstance(note, _Scores) else None)
        return out

    def _dropout(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        note = self._note(args[0])
        out = func(*args, **kwargs)
        if isinstance(note, _Weights):
            given = dict(zip(("input", "p", "training"), args, strict=False)) | kwargs
            chance = given.get("p", 0.5) if given.get("training", True) else 0.0
            self._notes[out] = replace(note, dropout_p=chance)
        return out

    def _same(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        if isinstance(out, Tensor) and (note := self._note(args[0])) is not None:
            self._notes[out] = note
        return out

    def _reshape(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Heads folded into the batch and out of it again, (batch · heads, L, S) ↔ (batch, heads, L, S)."""
        out = func(*args, **kwargs)
        note = self._note(args[0])
        if note is None or not isinstance(out, Tensor):
            return out
        if isinstance(note, _Scores):
            self._set(out, _folded(note, args[0].shape, out.shape))
        elif out.shape[-2:] == args[0].shape[-2:]:
            folds = args[0].ndim == 4 and out.ndim == 3
            known = folds or out.shape == args[0].shape
            self._notes[out] = replace(note, scores=note.scores if known else None, folded=folds or note.folded)
        return out

    def _noted_and_other(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[_Scores | _Weights | None, object]:
        left, right = [*args, *kwargs.values()][:2]
        note = self._note(left)
        return (note, right) if note is not None else (self._note(right), left)

    def _set(self, tensor: Tensor, note: _Scores | None) -> None:
        if note is None:
            self._notes.forget(tensor)
        else:
            self._notes[tensor] = note

    def _finish(self, weights: _Weights, value: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        scores = weights.scores
        if scores is None:
            self._witness.cannot_follow("its softmax is written by hand, with steps that can't be followed")
            return compute()
        call = Call(
            scores.query,
            scores.key,
            value,
            masks=scores.masks,
            scale=scores.scale,
            dropout_p=weights.dropout_p,
            how="by hand",
            kernel="softmax",
            dtype=computed_in(value),
        )
        if weights.folded:
            heads = scores.query.shape[-3]
            call = replace(call, value=value.unflatten(0, (-1, heads)))
        elif value.ndim == 3 and (folded := self._witness.heads_here()) is not None:
            heads = folded
            call = call.with_heads(heads)
        else:
            return self._witness.attend(call, compute)
        return self._witness.attend(call, lambda: compute().unflatten(0, (-1, heads))).flatten(0, 1)


def _letters(equation: str) -> tuple[str, str, str] | None:
    """ "b i d, b j d -> b i j" as its three parts."""
    operands, arrow, result = equation.replace(" ", "").partition("->")
    one, comma, other = operands.partition(",")
    return (one, other, result) if arrow and comma and "." not in equation else None


def _scores_of_einsum(letters: tuple[str, str, str], operands: Any) -> _Scores | None:
    one, other, result = letters
    summed = [letter for letter in one if letter in other and letter not in result]
    if len(result) < 3 or len(summed) != 1 or result[-2] not in one or result[-1] not in other:
        return None
    query = _arrange(operands[0], one, result[:-1] + summed[0])
    key = _arrange(operands[1], other, result[:-2] + result[-1] + summed[0])
    return None if query is None or key is None else _Scores(query, key)


def _arrange(tensor: Tensor, letters: str, wanted: str) -> Any:
    """The dimensions in the wanted order, with 1 for one that the tensor lacks; None where it has others."""
    if not set(letters) <= set(wanted):
        return None
    present = [letter for letter in wanted if letter in letters]
    tensor = tensor.permute([letters.index(letter) for letter in present])
    return tensor[tuple(slice(None) if letter in letters else None for letter in wanted)]


def _folded(scores: _Scores, before: torch.Size, after: torch.Size) -> _Scores | None:
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


def _number(factor: object) -> float | None:
    if isinstance(factor, Number) and not isinstance(factor, complex):
        return float(factor)  # type: ignore[arg-type]
    if isinstance(factor, Tensor) and factor.ndim == 0 and not factor.requires_grad:
        return float(factor)
    return None


def _hides(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and float(value) <= _HIDDEN
    return isinstance(value, (int, float)) and value <= _HIDDEN
