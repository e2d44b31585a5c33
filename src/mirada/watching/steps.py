"""What each function of torch makes of the notes of its arguments: one method a kind of step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mirada.watching.layouts import moved, probe_of, widened
from mirada.watching.provenance import Noted, Notes, Scores, one_each
from mirada.watching.scoring import einsum_scores, product, scaled, scores_of, with_hidden, with_sink, with_term
from mirada.watching.use import Softmax
from mirada.watching.uses import einsum_of, pair_of

if TYPE_CHECKING:
    from mirada.watching.session import Watch

_SAME = ("to", "float", "double", "half", "bfloat16", "type", "type_as", "contiguous", "clone", "detach", "alias")
_MOVES = (
    *("transpose", "permute", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint", "unsqueeze", "squeeze"),
    *("view", "reshape", "flatten", "unflatten", "ravel", "expand", "narrow", "select", "view_as", "reshape_as"),
    *("chunk", "split", "split_with_sizes", "tensor_split", "unbind", "__getitem__"),
)
# What a function mode is handed where a property of a tensor is read; the stubs call these properties tensors.
_VIEWS = {vars(torch._C.TensorBase)[name].__get__: name for name in ("mT", "T", "H", "mH")}
_EXPOSED = vars(torch._C.TensorBase)["data"].__get__
PRODUCTS = ("matmul", "bmm", "mm", "mv", "__matmul__", "__rmatmul__", "linear", "einsum", "baddbmm", "addmm")
SOFTMAX = ("softmax", "_softmax", "special_softmax", "softmin", "gumbel_softmax", "log_softmax")


@dataclass(frozen=True)
class _Outer:
    """A product of each query with each key, before it is summed over channels: (*base or 1, E) each."""

    left: Tensor
    right: Tensor


class Steps:
    """Notes what became of scores and weights."""

    def __init__(self, watch: Watch, notes: Notes) -> None:
        self._watch = watch
        self._notes = notes

    def observe(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Takes note of a function that has run: its arguments as they are now, and its result."""
        if name == "__get__":
            name = _VIEWS.get(func, "")
            if not name:
                if func == _EXPOSED:
                    self._exposed(args[0])
                return
        if name in ("numpy", "untyped_storage", "storage"):
            self._exposed(args[0])
            return
        step = self._handlers.get(name)
        if step is not None:
            step(name, func, args, kwargs, out)
        elif self._notes.of:
            self._other(name, args, kwargs, out)

    @cached_property
    def _handlers(self) -> dict[str, Callable[..., None]]:
        return {
            **dict.fromkeys(PRODUCTS, self._product),
            **dict.fromkeys(SOFTMAX, self._softmax),
            **dict.fromkeys(_MOVES, self._move),
            **dict.fromkeys(_VIEWS.values(), self._move),
            **dict.fromkeys(_SAME, self._same),
            **dict.fromkeys(("mul", "mul_", "multiply", "__mul__", "__rmul__"), self._times),
            **dict.fromkeys(("div", "div_", "true_divide", "divide"), self._over),
            **dict.fromkeys(("add", "add_", "__radd__"), self._plus),
            **dict.fromkeys(("sub", "sub_", "subtract"), self._minus),
            **dict.fromkeys(("masked_fill", "masked_fill_"), self._fill),
            **dict.fromkeys(("dropout", "dropout_", "native_dropout"), self._dropout),
            "where": self._where,
            **dict.fromkeys(("cat", "concat", "concatenate"), self._join),
            "__setitem__": self._set_item,
            "exp": self._exp,
            "sum": self._sum,
        }

    def _exposed(self, tensor: object) -> None:
        """Its memory can be written to in a way that torch doesn't count."""
        note = self._notes.noted(tensor)
        if note is not None and isinstance(tensor, Tensor):
            stamps = (*note.scores.stamps, (tensor, None))
            self._notes[tensor] = replace(note, scores=replace(note.scores, stamps=stamps))

    def _other(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """A step that isn't known: if it changes no number the note holds, else it is lost."""
        if not isinstance(out, Tensor) or not out.is_floating_point() or name.endswith("_like") or "new_" in name:
            return
        for given in (*args[:3], *kwargs.values()):
            note = self._notes.noted(given)
            if note is None or out is given:
                continue
            if out.shape == given.shape:
                self._notes[out] = self._if_equal(note, given, out, name)
            elif out.ndim > 1 and out.shape[-1] == given.shape[-1] and note.kind != "weighted":
                self._notes[out] = self._unclear(note, out, name)
            return

    @staticmethod
    def _unclear(note: Noted, out: Tensor, name: str) -> Noted:
        """The note after a step of which it isn't known where the dimensions went."""
        if note.kind == "scores":
            return Noted(Scores(tuple(out.shape), product=note.scores.product), one_each(out.ndim))
        return note.changed(out.shape, name)

    def _if_equal(self, note: Noted, before: Tensor, after: Tensor, name: str) -> Noted:
        """The note of a tensor after a step that may change some numbers."""
        if note.kind not in ("scores", "weights") or before.is_meta:
            return note.lost(name)
        same = (before == after) | (before.isnan() & after.isnan())
        if note.kind == "weights":
            if note.dropout_p or note.cut:
                return note if same.all() else note.lost(name)
            # Rows that are emptied attend to nothing: so does a query that sees no key.
            at = note.layout.index((note.key,))
            same = same.all(at) | (after == 0).all(at)
        if not bool(same.all()):
            return note.lost(name)
        return note if note.kind == "scores" else replace(note, shown=after, shown_layout=note.layout, path=())

    def _product(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        if not isinstance(out, Tensor):
            return
        if name == "einsum":
            letters, operands = einsum_of(args)
            note = None if letters is None else einsum_scores(letters, operands, out)
            activations = [tensor for tensor in operands if not isinstance(tensor, nn.Parameter)]
            if len(activations) > 1:
                self._watch.multiplied()
        elif name in ("baddbmm", "addmm"):
            note = self._product_and_sum(args, kwargs, out)
        else:
            left, right = pair_of(args, kwargs)
            if name == "__rmatmul__":
                left, right = right, left
            if isinstance(right, nn.Parameter) and name == "linear":
                return
            if not isinstance(right, nn.Parameter) and not isinstance(left, nn.Parameter):
                self._watch.multiplied()
            note = product(left, right.mT if name == "linear" else right, out)
            note = None if note is None else self._unfolded(note, left, right, out)
        if note is not None:
            self._notes[out] = note

    def _product_and_sum(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Noted | None:
        names = ("input", "batch1", "batch2", "mat1", "mat2")
        given = dict(zip(names, args, strict=False)) | kwargs
        left, right = given.get("batch1", given.get("mat1")), given.get("batch2", given.get("mat2"))
        if isinstance(left, nn.Parameter) or isinstance(right, nn.Parameter) or left is None or right is None:
            return None
        self._watch.multiplied()
        note = product(left, right, out)
        beta, alpha = given.get("beta", 1), given.get("alpha", 1)
        if note is None:
            return None
        note = self._unfolded(note, left, right, out)
        note = scaled(note, float(alpha)) if alpha != 1 else note
        return note if beta == 0 else with_term(note, given["input"] * beta)

    def _unfolded(self, note: Noted, left: Tensor, right: Tensor, out: Tensor) -> Noted:
        """Scores (batch · heads, L, S) with heads apart, where it is known how they were folded."""
        fold = next((f for f in map(self._notes.get, (left, right)) if isinstance(f, tuple)), None)
        heads = self._watch.folded_here() if fold is None and out.ndim == 3 else None
        if heads and not out.shape[0] % heads:
            fold = (out.shape[0] // heads, heads)
        return note if fold is None or out.ndim != 3 or out.shape[0] != fold[0] * fold[1] else note.split(0, fold)

    def _noted_and_other(self, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> tuple[Any, Any, Any]:
        """The noted one of two arguments, its note, and the other; as they were before a write of this step."""
        left, right = pair_of(args, kwargs)
        written = 1 if out is left else 0
        note = self._notes.noted(left, written)
        if note is not None:
            return left, note, right
        return right, self._notes.noted(right), left

    def _changed(
        self, tensor: Tensor, note: Noted, out: Tensor, name: str, change: Callable[[Noted], Noted], other: object
    ) -> None:
        """Notes what became of scores; weights that are changed are none that can be given back."""
        if note.kind != "scores":
            if out is tensor:
                self._notes[out] = note.lost(name)
            else:
                self._other(name, (tensor,), {}, out)
            return
        shape = tensor.shape if out is not tensor else out.shape
        wide = widened(note, shape, out.shape) if isinstance(other, Tensor) else note
        self._notes[out] = note.lost(name) if wide is None else change(wide)
        if wide is None:
            self._notes[out] = Noted(Scores(tuple(out.shape), product=note.scores.product), one_each(out.ndim))

    def _times(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        tensor, note, factor = self._noted_and_other(args, kwargs, out)
        if note is None:
            self._outer(*pair_of(args, kwargs), out)
            return
        if isinstance(factor, Tensor) and self._pools(note, tensor, factor):
            self._notes[out] = replace(note, kind="weighted", value=factor, why=self._changed_by(note))
            return
        self._changed(tensor, note, out, name, lambda scores: scaled(scores, factor), factor)

    def _outer(self, left: object, right: object, out: object) -> None:
        """Each query times each key, channel by channel: scores once they are summed over the last dimension."""
        if not isinstance(left, Tensor) or not isinstance(right, Tensor) or not isinstance(out, Tensor):
            return
        if not 2 < left.ndim == right.ndim == out.ndim or out.shape[-1] not in (left.shape[-1], right.shape[-1]):
            return
        pairs = list(zip(left.shape[:-1], right.shape[:-1], strict=True))
        if any(a > b == 1 for a, b in pairs) and any(b > a == 1 for a, b in pairs):
            self._notes[out] = _Outer(left, right)

    @staticmethod
    def _changed_by(note: Noted) -> str:
        return note.why or ("" if note.kind == "weights" else "an exponential without its sum")

    @staticmethod
    def _pools(note: Noted, weights: Tensor, value: Tensor) -> bool:
        """Whether weights (..., 1) are multiplied with values (..., Ev), each with each."""
        return (
            note.kind in ("weights", "changed", "exp")
            and note.layout[-1] == ()
            and value.ndim == weights.ndim
            and all(v in (1, w) for v, w in zip(value.shape[:-1], weights.shape[:-1], strict=True))
        )

    def _over(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        tensor, divisor = pair_of(args, kwargs)
        note, below = self._notes.noted(tensor, 1 if out is tensor else 0), self._notes.noted(divisor)
        if note is None:
            return
        if note.kind == "exp" and below is not None and below.kind == "sum" and below.softmax is note.softmax:
            if out.shape == tensor.shape and out is not tensor:
                self._begin_weights(note, below.key, out)
            return
        if note.kind == "exp" and not note.scores.product:
            if below is not None and below.softmax is note.softmax:
                self._notes[out] = replace(note, kind="changed", why="another sum than its exponentials'")
            return
        if kwargs.get("rounding_mode") or (not isinstance(divisor, Tensor) and not divisor):
            self._notes[out] = note.lost(name)
            return
        self._changed(tensor, note, out, name, lambda scores: scaled(scores, 1.0 / divisor), divisor)

    def _plus(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        tensor, note, term = self._noted_and_other(args, kwargs, out)
        if note is None:
            return
        if "alpha" in kwargs or (isinstance(term, Tensor) and self._notes.noted(term) is not None):
            self._lose(tensor, note, out, name)
            return
        self._changed(tensor, note, out, name, lambda scores: with_term(scores, term), term)

    def _minus(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        tensor, term = pair_of(args, kwargs)
        note = self._notes.noted(tensor, 1 if out is tensor else 0)
        if note is None:
            if isinstance(term, Tensor):
                self._other(name, (term,), {}, out)
            return
        if "alpha" in kwargs or (isinstance(term, Tensor) and self._notes.noted(term) is not None):
            self._lose(tensor, note, out, name)
            return
        self._changed(tensor, note, out, name, lambda scores: with_term(scores, -term), term)

    def _lose(self, tensor: Tensor, note: Noted, out: Tensor, name: str) -> None:
        self._notes[out] = note.lost(name)
        if out.shape != tensor.shape:
            self._notes[out] = Noted(Scores(tuple(out.shape), product=note.scores.product), one_each(out.ndim))

    def _fill(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        given = dict(zip(("input", "mask", "value"), args, strict=False)) | kwargs
        tensor, mask, value = given.get("input", given.get("self")), given["mask"], given["value"]
        note = self._notes.noted(tensor, 1 if out is tensor else 0)
        if note is None or not isinstance(tensor, Tensor):
            return
        if note.kind != "scores" and out is not tensor:
            self._other(name, (tensor,), {}, out)
            return
        self._changed(tensor, note, out, name, lambda scores: with_hidden(scores, ~mask.bool(), value), mask)

    def _where(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        given = [*args, *kwargs.values()]
        if len(given) != 3:
            return
        # Tensor.where(self, condition, other), torch.where(condition, self, other)
        method = isinstance(given[1], Tensor) and given[1].dtype == torch.bool and given[0].dtype != torch.bool
        one, visible, other = given if method else (given[1], given[0], given[2])
        if kwargs:
            names = ("condition", "input", "other")
            visible, one, other = (kwargs.get(n, v) for n, v in zip(names, (visible, one, other), strict=True))
        for tensor, rest, shows in ((one, other, visible), (other, one, ~visible)):
            note = self._notes.noted(tensor)
            if note is None:
                continue
            if note.kind != "scores":
                self._other(name, (tensor,), {}, out)
            else:
                fits = out.shape == tensor.shape
                hidden = self._changed
                hidden(tensor, note, out, name, lambda s, m=shows, r=rest: with_hidden(s, m, r), shows if fits else out)
            return

    def _set_item(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        tensor, index, value = args
        note = self._notes.noted(tensor, 1)
        if note is None:
            return
        if note.kind != "scores":
            self._notes[tensor] = note.lost("writes to them")
            return
        hidden = torch.zeros(tensor.shape, dtype=torch.bool, device=tensor.device)
        hidden[index] = True
        self._notes[tensor] = with_hidden(note, ~hidden, value)

    def _join(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        given = dict(zip(("tensors", "dim"), args, strict=False)) | kwargs
        parts, dim = list(given["tensors"]), given.get("dim", given.get("axis", 0))
        notes = [self._notes.noted(part) for part in parts]
        if not any(notes):
            return
        kinds = {note.kind for note in notes if note is not None}
        if kinds == {"scores"} and len(parts) == 2 and dim in (-1, out.ndim - 1) and None in notes:
            first = notes[0] is None
            note, sink = notes[first], parts[not first]
            if note is not None and sink.shape[-1] == 1:
                self._notes[out] = longer = with_sink(note, sink, first=first)
                if longer.scores.shape[-1] == out.shape[-1]:
                    return
        if kinds == {"scores"}:
            self._notes[out] = Noted(Scores(tuple(out.shape), product=True), one_each(out.ndim))
        elif "weights" in kinds or "changed" in kinds:
            note = next(note for note in notes if note is not None)
            self._notes[out] = note.changed(out.shape, name)

    def _exp(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        note = self._notes.noted(args[0] if args else kwargs.get("input"))
        if not isinstance(out, Tensor) or out.ndim < 2:
            return
        if note is not None and note.kind == "log":
            self._begin_weights(replace(note, kind="scores"), note.key, out)
        elif note is None or note.kind != "scores":
            self._notes[out] = Noted(Scores(tuple(out.shape)), one_each(out.ndim), kind="exp", softmax=Softmax())
        else:
            self._notes[out] = replace(note, kind="exp", softmax=Softmax())

    def _sum(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        given = dict(zip(("input", "dim", "keepdim"), args, strict=False)) | kwargs
        outer = self._notes.get(given.get("input"))
        if isinstance(outer, _Outer) and given.get("dim") in (-1, outer.left.ndim - 1) and not given.get("keepdim"):
            self._watch.multiplied()
            self._notes[out] = scores_of(outer.left, outer.right, out.shape, outer.left, outer.right)
            return
        note = self._notes.noted(given.get("input"))
        if note is None:
            return
        if note.kind != "exp":
            self._other(name, args, kwargs, out)
            return
        dim = given.get("dim")
        dim = dim[0] if isinstance(dim, (list, tuple)) and len(dim) == 1 else dim
        if isinstance(dim, int) and given.get("keepdim") and len(note.layout[dim]) == 1:
            self._notes[out] = replace(note, kind="sum", key=note.layout[dim][0], layout=())

    def _softmax(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        given = dict(zip(("input", "dim"), args, strict=False)) | kwargs
        tensor, dim = given.get("input", given.get("logits")), given.get("dim")
        dim = kwargs.get("dim", -1) if name == "gumbel_softmax" else dim
        if not isinstance(out, Tensor) or not isinstance(dim, int) or not out.ndim:
            return
        note = self._notes.noted(tensor)
        if note is None or note.kind != "scores":
            note = Noted(Scores(tuple(out.shape)), one_each(out.ndim))
        if len(note.layout[dim]) != 1:
            note = Noted(Scores(tuple(out.shape), product=note.scores.product), one_each(out.ndim))
        if name in ("softmin", "gumbel_softmax"):
            note = note.lost(name)
        (key,) = note.layout[dim]
        if name == "log_softmax":
            self._notes[out] = replace(note, kind="log", key=key)
        else:
            self._begin_weights(note, key, out)

    def _begin_weights(self, note: Noted, key: int, out: Tensor) -> None:
        scores = note.scores if note.scores.untouched() or not note.scores.counted else note.scores.lost()
        self._notes[out] = replace(
            note,
            scores=scores,
            kind="weights",
            softmax=Softmax(),
            key=key,
            shown=out,
            shown_layout=note.layout,
            path=(),
        )

    def _dropout(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        given = dict(zip(("input", "p", "training"), args, strict=False)) | kwargs
        tensor = given["input"]
        note = self._notes.noted(tensor, 1 if name == "dropout_" or given.get("inplace") else 0)
        if note is None or not isinstance(out, Tensor):
            return
        chance = given.get("p", 0.5) if given.get("training", given.get("train", True)) else 0.0
        if note.kind != "weights":
            self._notes[out] = note if not chance else note.lost(name)
            return
        if out is tensor and note.shown is tensor and chance:
            self._notes[out] = note.lost("a dropout written into them")
            return
        path = note.path if not chance else (*note.path, _again(func, args, kwargs))
        self._notes[out] = replace(note, dropout_p=chance or note.dropout_p, path=path)

    def _same(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        tensor = args[0] if args else kwargs.get("input", kwargs.get("self"))
        note = self._notes.noted(tensor)
        if note is not None and isinstance(out, Tensor) and out.is_floating_point() and out is not tensor:
            self._notes[out] = replace(note, path=(*note.path, _again(func, args, kwargs)))

    def _move(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """Views, transposes and reshapes, of one tensor into one or several."""
        tensor = args[0] if args else kwargs.get("input", kwargs.get("self"))
        note = self._notes.noted(tensor)
        if note is None:
            if name in ("view", "reshape", "flatten"):
                self._fold(tensor, out)
            return
        assert isinstance(tensor, Tensor)  # nothing else is noted
        probe = probe_of(tensor.shape)
        try:
            after = func(probe, *args[1:], **kwargs) if args else func(**{**kwargs, next(iter(kwargs)): probe})
        except (RuntimeError, TypeError, NotImplementedError, IndexError):
            after = None  # a probe without memory can't be moved so: where the dimensions went is not known
        parts = list(out) if isinstance(out, (list, tuple)) else [out]
        probes = list(after) if isinstance(after, (list, tuple)) else [after] * len(parts)
        for n, (part, meta) in enumerate(zip(parts, probes, strict=True)):
            found = None if meta is None or meta.shape != part.shape else moved(note, tensor.shape, meta)
            if found is None:
                found = self._unclear(note, part, name)
            elif note.kind == "weights":
                if found.shown is not note.shown:  # some places of it: an attention of its own
                    found = replace(found, softmax=Softmax(), shown=part, shown_layout=found.layout, path=())
                else:
                    which = n if isinstance(out, (list, tuple)) else None
                    found = replace(found, path=(*note.path, _again(func, args, kwargs, which)))
            self._notes[part] = found

    def _fold(self, tensor: object, out: object) -> None:
        """(batch, heads, L, E) as (batch · heads, L, E): remembered, so that a product can be unfolded."""
        if not isinstance(tensor, Tensor) or not isinstance(out, Tensor) or (tensor.ndim, out.ndim) != (4, 3):
            return
        if out.shape[0] == tensor.shape[0] * tensor.shape[1] and out.shape[1:] == tensor.shape[2:]:
            self._notes[out] = (tensor.shape[0], tensor.shape[1])


def _again(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], which: int | None = None
) -> Callable[[Tensor], Tensor]:
    """The same step, of another tensor."""
    args = tuple(None if n == 0 else given for n, given in enumerate(args))

    def step(tensor: Tensor) -> Tensor:
        named = {**kwargs, next(iter(kwargs)): tensor} if not args else kwargs
        out = func(tensor, *args[1:], **named) if args else func(**named)
        return out if which is None else out[which]

    return step
