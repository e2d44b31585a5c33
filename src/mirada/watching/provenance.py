"""What a tensor of an attention by hand was made of, and which of its dimensions is which.

Scores are Σ_e query · key + masks over some *base* dimensions: examples, heads, queries, keys, in whatever order the
product gave them. A tensor's *layout* names for each of its dimensions the base dimensions that it holds: one, several
where heads were folded into the batch, none for an inserted 1. So views, transposes and reshapes change a layout only,
and query, key and masks stay the tensors that the model has.
"""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from string import ascii_letters
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mirada.watching.masks import HIDDEN

#: For each dimension of a tensor, the base dimensions that it holds.
Layout = tuple[tuple[int, ...], ...]


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


def version_of(tensor: Tensor) -> int | None:
    """How often a tensor's memory was written to; None where torch doesn't count."""
    try:
        return None if tensor.is_inference() else tensor._version
    except RuntimeError:
        return None


def one_each(count: int) -> Layout:
    """The layout of a tensor whose dimensions are the base dimensions themselves."""
    return tuple((n,) for n in range(count))


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


def ranked(tensor: Tensor, rank: int) -> Tensor:
    """The tensor with dimensions of 1 in front."""
    return tensor[(None,) * (rank - tensor.ndim)]


def letters_of(equation: str, operands: Sequence[Tensor]) -> tuple[str, str, str] | None:
    """ "b i d, b j d -> b i j" as its three parts, with letters for an ellipsis too."""
    equation = equation.replace(" ", "")
    parts = re.split(",|->", equation)
    if "->" not in equation or len(parts) != 3:
        return None
    unnamed = max(tensor.ndim - len(part.replace("...", "")) for tensor, part in zip(operands, parts, strict=False))
    dimensions = "".join(letter for letter in ascii_letters if letter not in equation)[: max(unnamed, 0)]
    one, other, result = (part.replace("...", dimensions) for part in parts)
    fits = all(len(part) == tensor.ndim for tensor, part in zip(operands, (one, other), strict=True))
    single = all(len(set(part)) == len(part) for part in (one, other, result))
    return (one, other, result) if fits and single else None


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


def arranged(tensor: Tensor, letters: str, wanted: str) -> Tensor:
    """The dimensions in the wanted order, with 1 for one that the tensor lacks."""
    present = [letter for letter in wanted if letter in letters]
    tensor = tensor.permute([letters.index(letter) for letter in present])
    return tensor[tuple(slice(None) if letter in letters else None for letter in wanted)]


def to_base(tensor: Tensor, layout: Layout, shape: Sequence[int]) -> Tensor | None:
    """A tensor whose first dimensions lie as the layout says, with the base dimensions first; None: no fit."""
    sizes: list[int] = []
    order: list[int] = []
    for size, bases in zip(tensor.shape, layout, strict=False):
        wanted = [shape[base] for base in bases]
        if size not in (1, math.prod(wanted)):
            return None
        sizes += wanted if size == math.prod(wanted) else [1] * len(bases)
        order += bases
    behind = tensor.shape[len(layout) :]
    tensor = tensor.reshape(*sizes, *behind)
    present = [base for base in range(len(shape)) if base in order]
    rest = range(len(order), len(order) + len(behind))
    tensor = tensor.permute(*(order.index(base) for base in present), *rest)
    return tensor[tuple(slice(None) if base in order else None for base in range(len(shape)))]


def from_base(tensor: Tensor, layout: Layout, count: int) -> Tensor:
    """The reverse: (*base, ...) laid out as the layout says. Base dimensions that it lacks have size 1."""
    order = [base for bases in layout for base in bases]
    absent = [base for base in range(count) if base not in order]
    behind = list(range(count, tensor.ndim))
    tensor = tensor.permute(*order, *absent, *behind)
    sizes, at = [], 0
    for bases in layout:
        sizes.append(math.prod(tensor.shape[at : at + len(bases)]))
        at += len(bases)
    return tensor.reshape(*sizes, *tensor.shape[len(order) + len(absent) :])


def aligned(note: Noted, tensor: Tensor) -> Tensor | None:
    """A mask or factor that broadcasts against a noted tensor, over the base dimensions."""
    if tensor.ndim > len(note.layout):
        return None
    return to_base(ranked(tensor, len(note.layout)), note.layout, note.scores.shape)


def widened(note: Noted, before: Sequence[int], after: Sequence[int]) -> Noted | None:
    """The note of a tensor that a larger one has broadcast."""
    if tuple(before) == tuple(after):
        return note
    layout: Layout = ((),) * (len(after) - len(before)) + note.layout
    sizes = [1] * (len(after) - len(before)) + list(before)
    scores = note.scores
    for dim, (had, has) in enumerate(zip(sizes, after, strict=True)):
        if had != has:
            if had != 1:
                return None
            new = len(scores.shape)

            def one_more(tensor: Tensor, rank: int = new) -> Tensor:
                return tensor.unsqueeze(rank)

            scores = replace(scores, shape=(*scores.shape, has), **scores.each(one_more))
            layout = (*layout[:dim], (new,), *layout[dim + 1 :])
    return replace(note, scores=scores, layout=layout)


def moved(note: Noted, before: Sequence[int], after: Tensor) -> Noted | None:
    """The note after a step that only moves: ``after`` is what it makes of ``probe_of(before)``.

    Strides tell which dimension went where, and the offset what was left out.
    """
    strides = [math.prod(before[n + 1 :]) for n in range(len(before))]
    offsets, rest = [], after.storage_offset()
    for size, stride in zip(before, strides, strict=True):
        offsets.append(rest // stride if stride and size > 1 else 0)
        rest -= offsets[-1] * stride if size > 1 else 0
    large = [n for n, size in enumerate(before) if size > 1]
    taken: dict[int, list[int]] = {n: [] for n in large}  # input dimension -> dimensions of the result
    layout: list[tuple[int, ...] | None] = [None] * after.ndim
    singles = {single_stride(n): n for n, size in enumerate(before) if size == 1}
    for dim, (size, stride) in reversed(list(enumerate(zip(after.shape, after.stride(), strict=True)))):
        if size == 1:  # one that is inserted before another has its stride, and comes first
            same = singles.pop(stride, None)
            layout[dim] = () if same is None else note.layout[same]
            continue
        own = next((n for n in large if strides[n] <= stride < strides[n] * before[n]), None)
        if own is None:
            return None
        taken[own].append(dim)
    for n in reversed(large):
        if n not in taken:
            continue  # merged into a later one
        dims = taken[n]
        if not dims:
            changed = _narrowed(note, n, offsets[n], 1)
            if changed is None:
                return None
            note = changed
        elif len(dims) == 1:
            done = _whole_or_merged(note, n, dims[0], after, before, strides, offsets, taken)
            if done is None:
                return None
            note, layout[dims[0]] = done
        else:
            dims.sort(key=lambda dim: -after.stride(dim))
            sizes = [after.shape[dim] for dim in dims]
            if math.prod(sizes) != before[n] or after.stride(dims[-1]) != strides[n]:
                return None
            parted = _parted(note, n, sizes)
            if parted is None:
                return None
            grown = len(parted[0].scores.shape) - len(note.scores.shape)
            if grown:  # dimensions that were placed already have new numbers
                base = note.layout[n][0]
                layout = [bases if bases is None else tuple(b + grown * (b > base) for b in bases) for bases in layout]
            note = parted[0]
            for dim, bases in zip(dims, parted[1], strict=True):
                layout[dim] = bases
    return replace(note, layout=tuple(bases or () for bases in layout))


def probe_of(shape: Sequence[int]) -> Tensor:
    """An empty tensor of which each dimension is known by its stride, also where it has size 1."""
    strides = [single_stride(n) if size == 1 else math.prod(shape[n + 1 :]) for n, size in enumerate(shape)]
    return torch.empty_strided(tuple(shape), strides, device="meta")


def single_stride(n: int) -> int:
    """A stride that no other dimension has, for a dimension of size 1: it reaches nowhere."""
    return (1 << 50) + 7 * n


def _whole_or_merged(
    note: Noted,
    n: int,
    dim: int,
    after: Tensor,
    before: Sequence[int],
    strides: list[int],
    offsets: list[int],
    taken: dict[int, list[int]],
) -> tuple[Noted, tuple[int, ...]] | None:
    size = after.shape[dim]
    if after.stride(dim) != strides[n]:
        return None
    if size <= before[n]:
        changed = note if size == before[n] else _narrowed(note, n, offsets[n], size)
        return None if changed is None else (changed, changed.layout[n])
    merged, first = before[n], n
    while merged < size and first > 0:
        first -= 1
        if before[first] == 1:
            continue
        if taken.pop(first, [0]):
            return None
        merged *= before[first]
    if merged != size:
        return None
    return note, tuple(base for bases in note.layout[first : n + 1] for base in bases)


def _narrowed(note: Noted, n: int, start: int, size: int) -> Noted | None:
    """Some places of a dimension; of a sum's keys only the sink may be left out."""
    if len(note.layout[n]) != 1:
        return None
    (base,) = note.layout[n]
    if note.kind != "scores" and base == note.key:
        sink = note.scores.sink
        whole = note.scores.shape[base]
        without = sink is not None and sink[0] == base and size == whole - 1 and start == (sink[1] == 0)
        return replace(note, cut=True) if without and not note.cut else None
    if note.scores.sink is not None and note.scores.sink[0] == base:
        return None
    if note.shown is not None:
        at = note.shown_layout.index((base,)) if (base,) in note.shown_layout else None
        if at is None:
            return None
        note = replace(note, shown=note.shown.narrow(at, start, size))
    return replace(note, scores=note.scores.narrow(base, start, size))


def _parted(note: Noted, n: int, sizes: list[int]) -> tuple[Noted, list[tuple[int, ...]]] | None:
    """One dimension as several: the base dimensions that it holds, or parts of the one that it holds."""
    bases = note.layout[n]
    if len(bases) == 1:
        if bases[0] == note.key or (note.scores.sink and note.scores.sink[0] == bases[0]):
            return None
        base = bases[0]
        return note.split(base, sizes), [(base + m,) for m in range(len(sizes))]
    parts: list[tuple[int, ...]] = []
    rest = list(bases)
    for size in sizes:
        part: list[int] = []
        while rest and math.prod(note.scores.shape[b] for b in part) < size:
            part.append(rest.pop(0))
        if math.prod(note.scores.shape[b] for b in part) != size:
            return None
        parts.append(tuple(part))
    if rest and math.prod(note.scores.shape[b] for b in rest) != 1:
        return None
    return note, parts


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
