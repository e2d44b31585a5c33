"""What a tensor of an attention by hand was made of, and which of its dimensions is which.

Scores are Σ_e query · key + masks over some *base* dimensions: examples, heads, queries, keys, in whatever order the
product gave them. A tensor's *layout* names for each of its dimensions the base dimensions that it holds: one, several
where heads were folded into the batch, none for an inserted 1. So views, transposes and reshapes change a layout only,
and query, key and masks stay the tensors that the model has.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

#: For each dimension of a tensor, the base dimensions that it holds.
Layout = tuple[tuple[int, ...], ...]


def one_each(count: int) -> Layout:
    """The layout of a tensor whose dimensions are the base dimensions themselves."""
    return tuple((n,) for n in range(count))


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores over base dimensions. Query and key are None where a step was not understood."""

    shape: tuple[int, ...]  # of the base dimensions
    query: Tensor | None = None  # (*base or 1, E)
    key: Tensor | None = None  # (*base or 1, E)
    scale: float = 1.0
    masks: tuple[Tensor, ...] = ()  # each (*base or 1), bool or floating
    fill: float = -math.inf
    """The number that stands at hidden places: the one that hides least."""
    sink: tuple[int, int] | None = None
    """A base dimension and the place in it of a score that no key has."""
    product: bool = False
    """Whether they come of a product, understood or not."""
    stamps: tuple[tuple[Tensor, int | None], ...] = ()
    """The tensors that they were made of, and how often each had been written to."""

    @property
    def known(self) -> bool:
        """Whether they are those of a query and a key."""
        return self.query is not None

    @property
    def counted(self) -> bool:
        """Whether torch counts the writes to all that they were made of."""
        return all(version is not None for _, version in self.stamps)

    def lost(self) -> Scores:
        """The scores after a step that isn't understood."""
        return Scores(self.shape, product=self.product)

    def each(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """Query, key and masks, changed."""
        if self.query is None or self.key is None:
            return {"masks": tuple(map(change, self.masks))}
        masks = tuple(map(change, self.masks))
        return {"query": change(self.query), "key": change(self.key), "masks": masks}

    def split(self, base: int, sizes: Sequence[int]) -> Scores:
        """One base dimension as several."""

        def unflatten(tensor: Tensor) -> Tensor:
            return tensor.unflatten(base, sizes if tensor.shape[base] > 1 else [1] * len(sizes))

        shape = (*self.shape[:base], *sizes, *self.shape[base + 1 :])
        more = len(sizes) - 1
        sink = self.sink if self.sink is None or self.sink[0] < base else (self.sink[0] + more, self.sink[1])
        return replace(self, shape=shape, sink=sink, **self.each(unflatten))

    def narrow(self, base: int, start: int, size: int) -> Scores:
        """Some places of one base dimension."""

        def part(tensor: Tensor) -> Tensor:
            return tensor if tensor.shape[base] == 1 else tensor.narrow(base, start, size)

        shape = (*self.shape[:base], size, *self.shape[base + 1 :])
        return replace(self, shape=shape, **self.each(part))

    def untouched(self) -> bool:
        """Whether nothing was written to what they were made of."""
        return all(version_of(tensor) == version for tensor, version in self.stamps)


@dataclass(frozen=True, eq=False)
class Noted:
    """A tensor of scores, of their exponentials, or of weights."""

    scores: Scores
    layout: Layout
    #: What the tensor holds: scores; exp: their exponentials; sum: sums of these; weights; changed: weights that are
    #: no longer those of a softmax; none: nothing that matters; weighted: weights times values, before they are summed.
    kind: str = "scores"
    softmax: object = None
    """Which softmax (or exponential) it comes of: an object of its own."""
    key: int = -1
    """Weights: the base dimension that sums to 1."""
    shown: Tensor | None = None
    """Weights: the tensor that holds them, before dropout."""
    shown_layout: Layout = ()
    dropout_p: float = 0.0
    cut: bool = False
    """Weights: the sink was left out."""
    why: str = ""
    """Changed: by what."""
    value: Tensor | None = None
    """Weighted: what the weights were multiplied with."""
    path: tuple[Callable[[Tensor], Tensor], ...] = ()
    """Weights: what was done to the shown tensor since: views and dropout, to be done to edited weights too."""

    def lost(self, why: str) -> Noted:
        """After a step that isn't understood."""
        if self.kind == "scores":
            return replace(self, scores=self.scores.lost())
        if self.kind in ("none", "exp") and not self.scores.product:
            return replace(self, kind="none")  # an exponential of anything, which no sum has made weights
        return replace(self, kind="changed", why=self.why or why, value=None)

    def changed(self, shape: Sequence[int], why: str) -> Noted:
        """Weights after a step that isn't understood, which may have given them other dimensions."""
        scores = Scores(tuple(shape), product=self.scores.product)
        return replace(self.lost(why), scores=scores, layout=one_each(len(shape)), shown_layout=(), path=())

    def split(self, base: int, sizes: Sequence[int]) -> Noted:
        """One base dimension as several."""
        more = len(sizes) - 1

        def renumber(layout: Layout) -> Layout:
            parts = {base: tuple(range(base, base + more + 1))}
            return tuple(tuple(n for b in dim for n in parts.get(b, (b + more * (b > base),))) for dim in layout)

        key = self.key + more * (self.key > base)
        shown = renumber(self.shown_layout)
        return replace(
            self, scores=self.scores.split(base, sizes), layout=renumber(self.layout), key=key, shown_layout=shown
        )


class Notes:
    """What tensors are made of, for as long as they live and until they are written to."""

    def __init__(self) -> None:
        self.of: dict[int, tuple[weakref.ref[Tensor], Any, int | None]] = {}

    def __setitem__(self, tensor: Tensor, note: Any) -> None:
        number = id(tensor)
        self.of[number] = weakref.ref(tensor, lambda _: self.of.pop(number, None)), note, version_of(tensor)

    def get(self, tensor: object, writes: int = 0) -> Any:
        """The note of a tensor, if it has one; as lost where the tensor was written to since, but for ``writes``."""
        found = self.of.get(id(tensor))
        if found is None or found[0]() is not tensor:
            return None
        _, note, version = found
        now = version_of(found[0]())  # type: ignore[arg-type]
        if version is not None and now is not None and now - version > writes:
            return note.lost("writes to them") if isinstance(note, Noted) else None
        return note

    def noted(self, tensor: object, writes: int = 0) -> Noted | None:
        """The same, where it says what scores or weights are made of."""
        found = self.get(tensor, writes)
        return found if isinstance(found, Noted) else None


def version_of(tensor: Tensor) -> int | None:
    """How often a tensor's memory was written to; None where torch doesn't count."""
    try:
        return None if tensor.is_inference() else tensor._version
    except RuntimeError:
        return None
