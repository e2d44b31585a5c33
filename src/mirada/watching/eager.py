"""Attention written by hand: a product, a softmax, a product, followed from one to the next.

Each tensor that is scores or weights so far carries a note of what it was made of (`provenance`). Where every step was
understood, and the weights that the model has are those of this query, key and mask, the record holds these; where a
step was not, it holds the weights themselves. Weights that something has changed after their softmax are named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from mirada.watching import functorch
from mirada.watching.layouts import from_base, to_base
from mirada.watching.provenance import Notes
from mirada.watching.steps import PRODUCTS, SOFTMAX, Steps
from mirada.watching.use import Softmax, Use
from mirada.watching.uses import Uses

if TYPE_CHECKING:
    from mirada.watching.session import Watch


class Eager:
    """Follows products, softmaxes and products; tells a watch of what they come to."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._notes = Notes()
        self._steps = Steps(watch, self._notes)
        self._uses = Uses(watch, self._notes)
        #: Empty while nothing is followed, so that no step need be followed.
        self.notes = self._notes.of
        self.beginnings = frozenset((*PRODUCTS, *SOFTMAX, "exp", "mul", "view", "reshape", "flatten"))

    def run(self, name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs a function of the model. Nothing that fails in following it reaches the model."""
        if not self.notes and _begins_nothing(name, args):
            return func(*args, **kwargs)
        use = None
        if name in PRODUCTS or name == "sum":
            with functorch.unseen():
                use = self._safely(self._uses.of, name, args, kwargs)
        if use is not None:
            edited = self._edited_weights(use, name, args, kwargs)
            if edited is not None:
                args, kwargs = edited
            out = func(*args, **kwargs)
            return self._safely(self._finish, use, out, otherwise=out)
        out = func(*args, **kwargs)
        with functorch.unseen():
            self._safely(self._steps.observe, name, func, args, kwargs, out)
        return out

    def _safely(self, function: Callable[..., Any], *args: Any, otherwise: Any = None) -> Any:
        try:
            return function(*args)
        except Exception as error:  # whatever it is, the model goes on
            words = str(error).splitlines()
            self._watch.cannot_follow(f"not followed: {type(error).__name__}: {words[0][:120] if words else ''}")
            return otherwise

    def _edited_weights(
        self, use: Use, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments with the edited weights in place of the model's; an edit that doesn't fit is an error."""
        softmax = use.note.softmax
        assert isinstance(softmax, Softmax)
        if softmax.edited is None and (softmax.recorded or not self._watch.edits_here()):
            return None
        with functorch.unseen():
            call = use.call()
            if softmax.edited is None:
                edited = self._watch.edited(call, use.weights())
                if edited is None:
                    return None
                softmax.recorded = True
                self._watch.by_hand(edited[0], None)
                softmax.edited = use.laid_out(edited[1])
            weights: Tensor = softmax.edited
            shown = use.note.shown
            for step in use.note.path:
                weights = step(weights)
        assert shown is not None
        if name == "sum":
            assert use.note.value is not None
            return (weights * use.note.value, *args[1:]), kwargs
        old = next(
            tensor
            for tensor in (*args, *kwargs.values(), *(args[1] if name == "einsum" and len(args) == 2 else ()))
            if (note := self._notes.noted(tensor)) is not None and note.softmax is softmax
        )
        weights = weights.to(old.dtype)

        def swap(given: Any) -> Any:
            if isinstance(given, (list, tuple)):
                return [swap(part) for part in given]
            return weights if given is old else given

        return tuple(map(swap, args)), {key: swap(value) for key, value in kwargs.items()}

    def _finish(self, use: Use, out: Tensor) -> Tensor:
        softmax = use.note.softmax
        assert isinstance(softmax, Softmax)
        if softmax.recorded:
            return out
        softmax.recorded = True
        with functorch.unseen():
            call = use.call()
        context = None
        if use.context is not None and use.back is not None and out.requires_grad and use.value is not None:
            with functorch.unseen():
                count = len(use.note.scores.shape)
                base = to_base(use.context(out), use.note.layout, use.note.scores.shape)
                if base is not None:
                    context, order = use.canonical(base, "queries")
                    back = context[use.inserted()].permute(*order) if order is not None else None
                    if back is not None:
                        out = use.back(from_base(back, use.note.layout, count))
        self._watch.by_hand(call, context)
        return out


def _begins_nothing(name: str, args: tuple[Any, ...]) -> bool:
    """Whether a function can't be the first step of an attention: nearly all that a fused model calls can't."""
    if name == "linear":
        return len(args) > 1 and isinstance(args[1], nn.Parameter)
    if name == "mul":
        both = args[:2]
        return (
            len(both) < 2
            or not all(isinstance(t, Tensor) and t.ndim > 2 for t in both)
            or (both[0].shape == both[1].shape)
        )
    return name in ("view", "reshape", "flatten") and (not args or args[0].ndim != 4)
