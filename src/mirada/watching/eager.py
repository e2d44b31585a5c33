"""Attention written by hand: a product, a softmax, a product, followed from one to the next.

Each tensor that is scores or weights so far carries a note of what it was made of. A step that isn't understood loses
the note, and the weights that come of it are known to be an attention that can't be given back: it is named instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, Protocol

from torch import Tensor
from torch.nn import functional

from mirada.kernels.autocast import computed_in
from mirada.watching.call import Call
from mirada.watching.provenance import (
    Notes,
    ScoresNote,
    WeightsNote,
    arranged,
    factor_of,
    folded,
    hides,
    letters_of,
    scaled,
    scores_of_einsum,
    with_sink,
    with_term,
)

_SAME = ("to", "float", "double", "half", "bfloat16", "type", "type_as", "contiguous", "clone", "detach")
Step = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


class Witness(Protocol):
    """Who is told of an attention."""

    def attend(self, call: Call, compute: Callable[[], Tensor]) -> Tensor:
        """Takes note of a call and gives its context."""
        ...

    def attended(self, call: Call, compute: Callable[[], Tensor]) -> tuple[Call, Tensor]:
        """The same, with the call as it was computed: another one where it was edited."""
        ...

    def pass_by(self, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Takes note of a call of `F.scaled_dot_product_attention` and gives its context."""
        ...

    def cannot_follow(self, why: str) -> None:
        """Takes note of an attention that can't be given back."""
        ...

    def heads_here(self) -> int | None:
        """How many heads the running module has folded into its batch."""
        ...


class ByHand:
    """Follows products, softmaxes and products; tells a witness of what they come to."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._notes = Notes()
        #: Empty while nothing is followed, so that no step need be looked at.
        self.notes = self._notes.of
        self.beginnings: dict[str, Step] = {
            **dict.fromkeys(("matmul", "bmm", "__matmul__"), self._product),
            "baddbmm": self._product_and_sum,
            "einsum": self._einsum,
            **dict.fromkeys(("softmax", "special_softmax"), self._softmax),
        }

    @cached_property  # most models write no attention by hand
    def _steps(self) -> dict[str, Step]:
        return {
            **dict.fromkeys(("mul", "mul_", "multiply"), self._times),
            **dict.fromkeys(("div", "div_", "true_divide"), self._over),
            **dict.fromkeys(("add", "add_"), self._plus),
            **dict.fromkeys(("sub", "sub_", "subtract"), self._minus),
            **dict.fromkeys(("masked_fill", "masked_fill_"), self._fill),
            **dict.fromkeys(("view", "reshape", "unflatten"), self._reshape),
            **dict.fromkeys(("dropout", "dropout_"), self._dropout),
            **dict.fromkeys(_SAME, self._same),
            "where": self._where,
            "cat": self._join,
            "__getitem__": self._cut,
        }

    def step(self, name: str) -> Step | None:
        """How a step is followed, if it matters."""
        return self._steps.get(name) or (self._forget if name[-1:] == "_" and name != "__get__" else None)

    def _forget(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A tensor that is written to in a way that isn't followed loses its note."""
        out = func(*args, **kwargs)
        if args and (note := self._note(args[0])) is not None:
            self._set(args[0], None)
            if isinstance(note, WeightsNote):
                self._notes[args[0]] = WeightsNote(None)
        return out

    def _note(self, tensor: object) -> ScoresNote | WeightsNote | None:
        return self._notes.get(tensor) if isinstance(tensor, Tensor) else None

    def _product(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        left, right = [*args, *kwargs.values()][:2]
        note = self._note(left)
        if isinstance(note, WeightsNote):
            return self._finish(note, right, lambda: func(*args, **kwargs))
        out = func(*args, **kwargs)
        if min(left.ndim, right.ndim) > 2:
            self._notes[out] = ScoresNote(left, right.mT)
        return out

    def _product_and_sum(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        given = dict(zip(("input", "batch1", "batch2"), args, strict=False)) | kwargs
        beta, alpha = given.get("beta", 1), given.get("alpha", 1)
        masks = () if beta == 0 else (given["input"] * beta,) if beta != 1 else (given["input"],)
        self._notes[out] = ScoresNote(given["batch1"], given["batch2"].mT, float(alpha), masks)
        return out

    def _einsum(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        operands = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
        letters = letters_of(args[0], operands) if isinstance(args[0], str) and len(operands) == 2 else None
        if letters is None:
            return func(*args, **kwargs)
        note = self._note(operands[0])
        if isinstance(note, WeightsNote):
            return self._einsum_of_weights(note, letters, operands, lambda: func(*args, **kwargs))
        out = func(*args, **kwargs)
        scores = scores_of_einsum(letters, operands)
        if scores is not None:
            self._notes[out] = scores
        return out

    def _einsum_of_weights(
        self, note: WeightsNote, letters: tuple[str, str, str], operands: Any, compute: Callable[[], Tensor]
    ) -> Tensor:
        weights, value, result = letters
        usual = weights[:-1] + "".join(letter for letter in result if letter not in weights)  # (..., L, Ev)
        if sorted(usual) != sorted(result) or weights[-1] not in value:
            self._witness.cannot_follow("its weights are used in an einsum that can't be followed")
            return compute()
        values = arranged(operands[1], value, weights[:-2] + weights[-1] + usual[-1])
        context = self._finish(note, values, lambda: arranged(compute(), result, usual))
        return arranged(context, usual, result)

    def _times(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        note, factor = self._noted_and_other(args, kwargs)
        return self._changed(note, func(*args, **kwargs), lambda scores: scaled(scores, factor_of(factor)))

    def _over(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        left, divisor = [*args, *kwargs.values()][:2]
        given = None if kwargs.get("rounding_mode") else factor_of(divisor)
        factor = None if given is None or (isinstance(given, float) and not given) else 1.0 / given
        return self._changed(self._note(left), func(*args, **kwargs), lambda scores: scaled(scores, factor))

    def _plus(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        note, term = self._noted_and_other(args, kwargs)
        followed = "alpha" not in kwargs
        return self._changed(note, func(*args, **kwargs), lambda scores: with_term(scores, term) if followed else None)

    def _minus(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        left, term = [*args, *kwargs.values()][:2]
        followed = "alpha" not in kwargs
        return self._changed(
            self._note(left), func(*args, **kwargs), lambda scores: with_term(scores, -term) if followed else None
        )

    def _changed(
        self, note: ScoresNote | WeightsNote | None, out: Any, change: Callable[[ScoresNote], ScoresNote | None]
    ) -> Any:
        """Notes what became of scores; weights that are changed are none that can be given back."""
        if isinstance(note, ScoresNote):
            self._set(out, change(note))
        elif note is not None:
            self._notes[out] = WeightsNote(None)
        return out

    def _fill(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        note = self._note(args[0])
        _, mask, value = [*args, *kwargs.values()][:3]
        out = func(*args, **kwargs)
        if isinstance(note, ScoresNote):
            self._set(out, replace(note, masks=(*note.masks, ~mask)) if hides(value) else None)
        elif note is not None:
            self._notes[out] = WeightsNote(None)
        return out

    def _where(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        if len(args) == 3:
            visible, one, other = args
            if isinstance(note := self._note(one), ScoresNote) and hides(other):
                self._notes[out] = replace(note, masks=(*note.masks, visible))
            elif isinstance(note := self._note(other), ScoresNote) and hides(one):
                self._notes[out] = replace(note, masks=(*note.masks, ~visible))
        return out

    def _join(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        parts, dim = [*args, *kwargs.values(), 0][:2]
        if dim in (-1, out.ndim - 1) and len(parts) == 2 and parts[1].shape[-1] == 1:
            note = self._note(parts[0])
            self._set(out, with_sink(note, parts[1]) if isinstance(note, ScoresNote) else None)
        return out

    def _cut(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        tensor, index = args
        but_the_last = isinstance(index, tuple) and len(index) == 2 and index[0] is Ellipsis
        if but_the_last and index[1] == slice(None, -1) and isinstance(note := self._note(tensor), WeightsNote):
            self._notes[out] = replace(note, cut=True)
        return out

    def _softmax(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if isinstance(out, Tensor) and out.ndim > 2 and dim in (-1, out.ndim - 1):
            note = self._note(args[0] if args else kwargs.get("input"))
            self._notes[out] = WeightsNote(note if isinstance(note, ScoresNote) else None)
        return out

    def _dropout(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        note = self._note(args[0])
        out = func(*args, **kwargs)
        if isinstance(note, WeightsNote):
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
        if isinstance(note, ScoresNote):
            self._set(out, folded(note, args[0].shape, out.shape))
        elif out.shape[-2:] == args[0].shape[-2:]:
            folds = args[0].ndim == 4 and out.ndim == 3
            known = folds or out.shape == args[0].shape
            self._notes[out] = replace(note, scores=note.scores if known else None, folded=folds or note.folded)
        return out

    def _noted_and_other(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[ScoresNote | WeightsNote | None, object]:
        left, right = [*args, *kwargs.values()][:2]
        note = self._note(left)
        return (note, right) if note is not None else (self._note(right), left)

    def _set(self, tensor: Tensor, note: ScoresNote | None) -> None:
        if note is None:
            self._notes.forget(tensor)
        else:
            self._notes[tensor] = note

    def _finish(self, weights: WeightsNote, value: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        scores = weights.scores
        if scores is None:
            # Weights for one matrix that serves all examples are gates, of experts or codes.
            if value.ndim > 2:
                self._witness.cannot_follow("its softmax is written by hand, with steps that can't be followed")
            return compute()
        if weights.cut:
            value = functional.pad(value, (0, 0, 0, 1))
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
