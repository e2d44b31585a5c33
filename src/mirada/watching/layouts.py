"""Where base dimensions lie in a tensor, and what views, moves and slices make of that."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from string import ascii_letters

import torch
from torch import Tensor

from mirada.watching.provenance import Layout, Noted


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
