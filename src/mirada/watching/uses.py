"""Which functions use weights: products and sums with them, told from gates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mirada.watching.layouts import arranged, letters_of, ranked
from mirada.watching.provenance import Noted, Notes
from mirada.watching.use import Use

if TYPE_CHECKING:
    from mirada.watching.session import Watch


class Uses:
    """Finds the uses of weights that are noted; says of those that can't be followed why."""

    def __init__(self, watch: Watch, notes: Notes) -> None:
        self._watch = watch
        self._notes = notes

    def of(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Use | None:
        """How a function uses weights; None where it uses none, or they are gates and not an attention."""
        if name == "sum":
            return self._pooled(args, kwargs)
        if name == "einsum":
            return self._used_in_einsum(args)
        if name in ("baddbmm", "addmm"):
            names = ("input", "left", "right")
            given = dict(zip(names, args, strict=False)) | kwargs
            left = given.get("left", given.get("batch1", given.get("mat1")))
            right = given.get("right", given.get("batch2", given.get("mat2")))
        else:
            left, right = pair_of(args, kwargs)
            if name == "__rmatmul__":
                left, right = right, left
        if not isinstance(left, Tensor) or not isinstance(right, Tensor):
            return None
        note, second = self._notes.noted(left), self._notes.noted(right)
        if note is not None and note.kind != "scores":
            value = right.mT if name == "linear" and right.ndim > 1 else right
            if not self._attends(note, value, learned=isinstance(right, nn.Parameter) and name == "linear"):
                return None
            return self._used_left(note, left, value, summed=name in ("baddbmm", "addmm"))
        if second is not None and second.kind != "scores" and name != "linear":
            if not self._attends(second, left, learned=False):
                return None
            return self._used_right(second, left, right)
        return None

    def _attends(self, note: Noted, value: Tensor, *, learned: bool) -> bool:
        """Not gates: a softmax that comes of no product, for one matrix that serves all examples."""
        if note.kind in ("sum", "log", "weighted", "none"):
            return False
        if note.kind in ("exp", "changed"):
            if note.scores.product or (value.ndim > 2 and note.kind == "changed"):
                words = "its softmax is written as exp / sum in a way that is not followed"
                if note.kind == "changed":
                    words = f"its weights are changed after the softmax, by {note.why}"
                self._watch.cannot_follow(words)
            return False
        return note.scores.product or (value.ndim > 2 and not learned)

    def _used_left(self, note: Noted, weights: Tensor, value: Tensor, *, summed: bool) -> Use | None:
        key = note.layout[-1]
        if key != (note.key,):
            return self._along_queries()
        rows = note.layout[-2] if weights.ndim > 1 else ()
        value = value[:, None] if value.ndim == 1 else value
        fits = value.ndim <= max(weights.ndim, 2)
        laid = ranked(value, max(weights.ndim, 2)).unsqueeze(-3) if fits and weights.ndim > 1 else None
        behind = value.ndim > 1
        return Use(
            note,
            rows,
            laid,
            None if summed or not behind or not fits else lambda out: out.unsqueeze(-2),
            lambda out: out.squeeze(-2),
        )

    def _used_right(self, note: Noted, value: Tensor, weights: Tensor) -> Use | None:
        at = -2 if weights.ndim > 1 else -1
        if note.layout[at] != (note.key,):
            return self._along_queries()
        rows = note.layout[-1] if weights.ndim > 1 else ()
        value = value[None] if value.ndim == 1 else value
        fits = value.ndim <= weights.ndim
        laid = ranked(value, weights.ndim).mT.unsqueeze(-2) if fits and weights.ndim > 1 else None
        whole = fits and weights.ndim > 1
        return Use(
            note,
            rows,
            laid,
            (lambda out: out.mT.unsqueeze(-3)) if whole else None,
            (lambda out: out.squeeze(-3).mT) if whole else None,
        )

    def _used_in_einsum(self, args: tuple[Any, ...]) -> Use | None:
        letters, operands = einsum_of(args)
        noted = [(n, note) for n, tensor in enumerate(operands) if (note := self._notes.noted(tensor)) is not None]
        noted = [(n, note) for n, note in noted if note.kind != "scores"]
        if not noted:
            return None
        n, note = noted[0]
        other = operands[1 - n] if len(operands) == 2 else operands[0]
        if not self._attends(note, other, learned=False):
            return None
        if letters is None:
            self._watch.cannot_follow("its weights are used in an einsum that is not followed")
            return None
        one, two, result = letters
        weights, value = (one, two) if n == 0 else (two, one)
        key = weights[note.layout.index((note.key,))] if (note.key,) in note.layout else ""
        rest = weights.replace(key, "")
        if not key or key in result or key not in value or not set(rest) <= set(result):
            return self._along_queries()
        width = "".join(letter for letter in value if letter not in weights)
        rows = self._rows(note, [m for m, letter in enumerate(weights) if letter not in value])
        row_letters = {weights[m] for m, bases in enumerate(note.layout) if bases and bases == rows}
        whole = not row_letters & set(value) and set(width) <= set(result)
        if not whole:
            return Use(note, rows, None, None, None)
        laid = arranged(operands[1 - n], value, weights + width).flatten(len(weights)) if width else None
        if laid is None:
            laid = arranged(operands[1 - n], value, weights).unsqueeze(-1)
        shape = [operands[1 - n].shape[value.index(letter)] for letter in width]

        def there(out: Tensor) -> Tensor:
            found = arranged(out, result, weights + width)
            return found.flatten(len(weights)) if width else found.unsqueeze(-1)

        def back(out: Tensor) -> Tensor:
            found = out.unflatten(-1, shape) if width else out.squeeze(-1)
            return arranged(found.squeeze(weights.index(key)), rest_of(weights, key) + width, result)

        return Use(note, rows, laid, there, back)

    def _pooled(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Use | None:
        given = dict(zip(("input", "dim", "keepdim"), args, strict=False)) | kwargs
        note, dim = self._notes.noted(given.get("input")), given.get("dim")
        dim = dim[0] if isinstance(dim, (list, tuple)) and len(dim) == 1 else dim
        if note is None or note.kind != "weighted" or not isinstance(dim, int):
            return None
        if note.why:
            if note.scores.product or (note.kind == "weighted" and note.shown is not None and note.shown.ndim > 2):
                self._watch.cannot_follow(f"its weights are changed after the softmax, by {note.why}")
            return None
        dim = dim % len(note.layout)
        # A softmax over experts for each token, (tokens, experts), is a gate.
        shown = note.shown
        gates = not note.scores.product and shown is not None and shown.ndim < 3
        if note.layout[dim] != (note.key,) or gates:
            return None
        assert note.value is not None
        shape = note.value.shape
        rows = self._rows(note, [m for m in range(len(note.layout) - 1) if shape[m] == 1])
        note = replace(note, layout=note.layout[:-1], kind="weights")
        keep = bool(given.get("keepdim"))
        at = [m for m, bases in enumerate(note.layout) if bases == rows] if rows else []
        value = note.value if not at or shape[at[0]] == 1 else None
        return Use(
            note,
            rows,
            value,
            lambda out: out if keep else out.unsqueeze(dim),
            lambda out: out if keep else out.squeeze(dim),
        )

    def _rows(self, note: Noted, free: list[int]) -> tuple[int, ...]:
        """The base dimension of the queries: where the query varies and the key doesn't, else one of these."""
        query, key = note.scores.query, note.scores.key
        candidates = [bases for m, bases in enumerate(note.layout) if m in free and bases and bases != (note.key,)]
        if query is not None and key is not None:
            one, other = (query, key) if query.shape[note.key] == 1 else (key, query)
            apart = [
                bases
                for bases in note.layout
                if bases != (note.key,) and any(one.shape[b] > 1 and other.shape[b] == 1 for b in bases)
            ]
            both = [bases for bases in apart if bases in candidates]
            if both:
                return both[-1]
            # Scores that are mixed over heads are a product too, of which the queries are no part.
            mixed = any(other.shape[b] > 1 and one.shape[b] == 1 for bases in candidates for b in bases)
            return apart[-1] if apart and not mixed else candidates[-1] if candidates else ()
        at = note.layout.index((note.key,))
        beside = note.layout[at - 1] if at else ()
        return beside if beside in candidates else candidates[-1] if candidates else ()

    def _along_queries(self) -> None:
        self._watch.cannot_follow("its weights are multiplied along another dimension than the softmax's")


def rest_of(letters: str, letter: str) -> str:
    """The letters without one."""
    return letters.replace(letter, "")


def pair_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The two arguments of a product or a sum, however they were given."""
    named = {"input": 0, "self": 0, "other": 1, "mat2": 1, "tensor2": 1, "weight": 1, "vec": 1}
    both: list[Any] = [*args[:2], None, None][:2]
    for name in named.keys() & kwargs.keys():
        both[named[name]] = kwargs[name]
    return both[0], both[1]


def einsum_of(args: tuple[Any, ...]) -> tuple[tuple[str, str, str] | None, Any]:
    """The letters of an einsum of two tensors, None where it is another, and its tensors."""
    operands = args[1] if len(args) == 2 and isinstance(args[1], (list, tuple)) else args[1:]
    if not args or not isinstance(args[0], str) or len(operands) != 2:
        return None, [tensor for tensor in operands if isinstance(tensor, Tensor)]
    return letters_of(args[0], operands), operands
