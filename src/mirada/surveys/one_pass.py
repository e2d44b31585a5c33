"""Many summaries of an attention in one pass over its weights, formed a piece at a time.

A summary by itself costs as much as attention: its weights are formed again. A piece of weights that fits into the
processor's cache answers all summaries before the next one takes its place. What each number means, and its source, is
said in `mirada.summaries`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mirada.kernels import Scores
from mirada.kernels.chunks import Chunk, Memory, cached, chunks
from mirada.kernels.statistics import of_block
from mirada.kernels.tuning import tuning
from mirada.masks import is_causal
from mirada.surveys.bins import OCTAVES, octave
from mirada.surveys.copies import Copies

#: What a query has: one number each.
PER_QUERY = (
    "entropy",
    "effective_keys",
    "sink",
    "previous_token",
    "duplicate_token",
    "induction",
    "distance",
    "padding_share",
)
#: What a text has: shares of its attention that sum to 1, a curve each.
CURVES = ("attention_by_distance", "attention_by_token_class", "received_by_position")


@dataclass(frozen=True, eq=False)
class Sides:
    """What is known of the queries and keys of an attention, for a batch of texts."""

    real_queries: Tensor
    """(texts, L) bool: not padding."""
    real_keys: Tensor
    """(texts, S) bool."""
    same: bool
    """Whether queries and keys are the same tokens."""
    copies: Copies | None = None
    """Earlier copies of each token; None where the tokens are not known, or are not the same on both sides."""
    classes: Tensor | None = None
    """(texts, S), integers: the class of each key's token."""
    class_count: int = 0

    @cached_property
    def first(self) -> Tensor:
        """(texts,): the first real key."""
        return self.real_keys.int().argmax(-1)

    def answers(self, name: str) -> bool:
        """Whether a summary can be had of this attention."""
        if name in ("previous_token", "distance", "attention_by_distance"):
            return self.same
        if name in ("duplicate_token", "induction"):
            return self.copies is not None
        return name != "attention_by_token_class" or self.classes is not None


@dataclass(frozen=True, eq=False)
class Answers:
    """The summaries of one attention."""

    counted: Tensor
    """(texts, heads, L) bool: real queries that may attend to something."""
    values: dict[str, Tensor]
    """(texts, heads, L) by name; what stands where nothing is counted means nothing."""
    curves: dict[str, Tensor]
    """(texts, heads, bins) by name: the mean over the counted queries."""

    def weights(self, name: str) -> Tensor:
        """Which queries a summary counts: (texts, heads, L) bool. The first token has none before it."""
        if name != "previous_token":
            return self.counted
        earlier = self.counted.any(1, keepdim=True).int().cumsum(-1) > 1  # not the first real query
        return self.counted & earlier


@torch.no_grad()
def in_one_pass(scores: Scores, sides: Sides, names: Collection[str]) -> Answers:
    """The summaries of an attention.

    Args:
        scores: (texts, heads, L, S).
        sides: what its queries and keys are.
        names: out of `PER_QUERY` and `CURVES`; those that this attention can't answer are left out.
    """
    asked = _Asked(scores, sides, [name for name in names if sides.answers(name)])
    for chunk in chunks(scores, cached(scores.query.device), tuning.cached_rows):
        asked.see(*_boxed(chunk.at), chunk)
    return asked.answers()


def _boxed(at: tuple[int | slice, ...]) -> tuple[slice, slice]:
    """The texts and heads of a piece, as slices."""
    whole = (*at, *[slice(None)] * (2 - len(at)))
    texts, heads = (slice(one, one + 1) if isinstance(one, int) else one for one in whole)
    return texts, heads


class _Asked:
    """Fills in the answers, piece by piece."""

    def __init__(self, scores: Scores, sides: Sides, names: list[str]) -> None:
        self._sides, self._names = sides, names
        self._ahead = not is_causal(scores.mask)
        self._memory = Memory(scores.query, 2)
        texts, heads, queries, keys = (*scores.leading, scores.queries, scores.keys)
        self._seen = scores.query.new_zeros(texts, heads, queries, dtype=torch.bool)
        own = [name for name in names if name in PER_QUERY]
        self._values = {name: scores.query.new_zeros(texts, heads, queries) for name in own}
        if "effective_keys" in own:
            self._values.setdefault("entropy", scores.query.new_zeros(texts, heads, queries))
        self._received = scores.query.new_zeros(texts, heads, keys) if {*CURVES[1:]} & {*names} else None
        by_distance = CURVES[0] in names
        self._by_offset = scores.query.new_zeros(texts, heads, queries + keys) if by_distance else None

    def see(self, texts: slice, heads: slice, chunk: Chunk) -> None:
        rows, columns = chunk.rows, chunk.keys
        wanted = "entropy" in self._values
        largest, _, entropy, weights = of_block(chunk, wanted, self._memory.buffers(chunk, chunk.part.keys))
        sizes = (_size(texts, self._seen.shape[0]), _size(heads, self._seen.shape[1]))
        weights = weights.view(*sizes, *weights.shape[-2:])
        here = (texts, heads, rows)
        self._seen[here] = (largest != -torch.inf).view(*sizes, -1)
        if wanted:
            self._values["entropy"][here] = entropy.view(*sizes, -1).clamp_min(0.0)
        if "sink" in self._values:
            self._values["sink"][here] = self._sink(weights, texts, columns)
        if "previous_token" in self._values:
            self._values["previous_token"][here] = _previous(weights, rows, columns)
        if "distance" in self._values:
            self._values["distance"][here] = _distance(weights, rows, columns, self._ahead)
        if "padding_share" in self._values:
            padding = ~self._sides.real_keys[texts, None, columns, None]
            self._values["padding_share"][here] = (weights @ padding.to(weights))[..., 0]
        if "duplicate_token" in self._values or "induction" in self._values:
            self._copies(weights, texts, heads, rows, columns)
        self._columns(weights, texts, heads, rows, columns)

    def _sink(self, weights: Tensor, texts: slice, columns: slice) -> Tensor:
        """The weight of the first real key."""
        first = self._sides.first[texts] - columns.start
        inside = (first >= 0) & (first < weights.shape[-1])
        index = first.clamp(0, weights.shape[-1] - 1)[:, None, None, None].expand(*weights.shape[:3], 1)
        return weights.gather(-1, index)[..., 0] * inside[:, None, None]

    def _copies(self, weights: Tensor, texts: slice, heads: slice, rows: slice, columns: slice) -> None:
        """Attention to earlier copies of the query's own token, and to what followed them."""
        copies = self._sides.copies
        assert copies is not None
        height = weights.shape[2]
        for name, shift in (("duplicate_token", 0), ("induction", 1)):
            if name in self._values:
                text, query, key, row = copies.within(texts, rows, columns, shift)
                found = weights[text, :, query, key].double()  # (pairs, heads)
                sums = found.new_zeros(weights.shape[0] * height, found.shape[-1]).index_add_(0, row, found)
                sums = sums.unflatten(0, (weights.shape[0], height)).transpose(1, 2)
                self._values[name][texts, heads, rows] = sums.to(weights.dtype)

    def _columns(self, weights: Tensor, texts: slice, heads: slice, rows: slice, columns: slice) -> None:
        """Sums over queries, for the curves: of real ones alone."""
        if self._received is None and self._by_offset is None:
            return
        real = self._sides.real_queries[texts, None, rows]
        if not bool(real.all()):
            weights = weights * real[..., None]
        if self._received is not None:
            self._received[texts, heads, columns] += weights.sum(-2)
        if self._by_offset is not None:
            diagonals = _diagonals(weights)
            start = self._seen.shape[-1] + columns.start - (rows.stop - 1)
            self._by_offset[texts, heads, start : start + diagonals.shape[-1]] += diagonals

    def answers(self) -> Answers:
        values, sides = dict(self._values), self._sides
        if "effective_keys" in self._names:
            values["effective_keys"] = values["entropy"].exp()
        counted = self._seen & sides.real_queries[:, None]
        count = counted.sum(-1, keepdim=True).clamp_min(1).double()
        curves = {}
        if self._by_offset is not None:
            curves[CURVES[0]] = self._distances() / count
        if self._received is not None and CURVES[1] in self._names:
            assert sides.classes is not None
            curves[CURVES[1]] = _grouped(self._received, sides.classes, sides.class_count) / count
        if self._received is not None and CURVES[2] in self._names:
            position = torch.arange(self._received.shape[-1], device=self._received.device) - sides.first[:, None]
            curves[CURVES[2]] = _grouped(self._received, octave(position.clamp_min(0)), OCTAVES) / count
        return Answers(counted, {name: values[name] for name in values if name in self._names}, curves)

    def _distances(self) -> Tensor:
        """Shares by signed distance: keys that lie ahead in the bins after those that lie behind."""
        assert self._by_offset is not None
        texts = self._by_offset.shape[0]
        offset = torch.arange(self._by_offset.shape[-1], device=self._by_offset.device) - self._seen.shape[-1]
        bins = octave(offset.abs()) + torch.where(offset > 0, OCTAVES - 1, 0)
        return _grouped(self._by_offset, bins.expand(texts, -1), 2 * OCTAVES - 1)


def _size(part: slice, whole: int) -> int:
    return len(range(*part.indices(whole)))


def _previous(weights: Tensor, rows: slice, columns: slice) -> Tensor:
    """The weight of the key before each query's own; 0 where the piece has none."""
    column = torch.arange(rows.start, rows.stop, device=weights.device) - 1 - columns.start
    inside = (column >= 0) & (column < weights.shape[-1])
    index = column.clamp(0, weights.shape[-1] - 1)[:, None].expand(*weights.shape[:-1], 1)
    return weights.gather(-1, index)[..., 0] * inside


def _distance(weights: Tensor, rows: slice, columns: slice, ahead: bool) -> Tensor:
    """Σ A |i − j| = i − Σ A j + 2 Σ_{j > i} A (j − i) of each query.

    i and j are counted from the piece's first row: of small numbers more digits are left. ``ahead`` says whether any
    weight lies ahead of its query.
    """
    i = torch.arange(rows.stop - rows.start, device=weights.device).to(weights)
    j = (torch.arange(columns.start, columns.stop, device=weights.device) - rows.start).to(weights)
    behind = i - weights @ j
    if not ahead:
        return behind
    start = max(0, rows.start + 1 - columns.start)
    return behind + 2 * torch.linalg.vecdot(weights[..., start:], (j[start:] - i[:, None]).clamp_min(0))


def _diagonals(weights: Tensor) -> Tensor:
    """Sums along the diagonals (..., r + c − 1): entry j − i + r − 1 of key j and query i.

    Each row is a little longer than it is read, so that it begins one place later than the row before.
    """
    height, width = weights.shape[-2:]
    flat = torch.nn.functional.pad(weights, (0, height)).flatten(-2)
    sheared = torch.nn.functional.pad(flat, (height - 1, 1)).unflatten(-1, (height, height + width + 1))
    return sheared.sum(-2)[..., : height + width - 1]


def _grouped(sums: Tensor, groups: Tensor, count: int) -> Tensor:
    """Sums (texts, heads, n) over groups (texts, n): (texts, heads, count) in float64."""
    found = sums.new_zeros(*sums.shape[:2], count, dtype=torch.float64)
    return found.scatter_add_(-1, groups[:, None].expand_as(sums), sums.double())
