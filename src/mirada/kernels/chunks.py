"""The one way in which kernels cut a matrix: several heads while they are small, else rows of one head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mirada.kernels.scores import Scores
from mirada.kernels.tuning import tuning


class Chunk(NamedTuple):
    """Some queries of some heads, with the keys that they may attend to."""

    at: tuple[Any, ...]  # the index of these heads among the leading dimensions
    part: Scores  # their scores: (*some leading, L, S)
    rows: slice
    keys: slice  # what lies outside, a mask hides

    def block(self, into: Tensor | None = None) -> Tensor:
        """The scores, (*some leading, rows, keys)."""
        return self.part.block(self.rows, self.keys, into)

    @property
    def queries(self) -> int:
        """How many queries there are, over all of these heads."""
        return self.part.query.shape[:-2].numel() * (self.rows.stop - self.rows.start)


def chunks(scores: Scores, elements: int, rows: int = 1, *, together: bool = False) -> Iterator[Chunk]:
    """Chunks of at most about ``elements`` entries, but of ``rows`` queries at the least.

    What no chunk holds, a mask hides. With ``together`` each holds rows of all heads.
    """
    if together:
        yield from _rows((), scores, max(rows, elements // max(1, scores.query.shape[:-2].numel() * scores.keys)))
        return
    # Under a mask that differs from query to query, a taller chunk holds more that is hidden.
    masked = scores.mask is not None and not scores.mask.same_for_all_queries
    height = min(scores.queries, tuning.masked_rows) if masked else scores.queries
    each = height * scores.keys * scores.query.shape[1:-2].numel()  # entries of one example
    if scores.leading and each <= elements:
        count = max(1, elements // max(1, each))
        for start in range(0, scores.leading[0], count):
            at = (slice(start, start + count),)
            yield from _rows(at, scores.part(at), height)
    elif scores.leading:
        for n in range(scores.leading[0]):
            for chunk in chunks(scores.part((n,)), elements, rows):
                yield chunk._replace(at=(n, *chunk.at))
    else:
        yield from _rows((), scores, max(rows, elements // max(1, scores.keys)))


def _rows(at: tuple[Any, ...], part: Scores, height: int) -> Iterator[Chunk]:
    for start in range(0, part.queries, max(1, height)):
        stop = min(start + height, part.queries)
        keys = slice(0, part.keys) if part.mask is None else slice(*part.mask.keys_seen(start, stop, part.keys))
        if keys.start < keys.stop:
            yield Chunk(at, part, slice(start, stop), keys)


def cached(device: torch.device) -> int:
    """Entries of a chunk that should stay in a processor's cache; an accelerator takes larger ones."""
    return tuning.cached if device.type == "cpu" else tuning.chunk


class Memory:
    """Memory for the numbers of one chunk after another: new memory for each would cost as much again as the chunk."""

    def __init__(self, like: Tensor, count: int = 1) -> None:
        self._buffers = [like.new_empty(0) for _ in range(count)]

    def buffers(self, chunk: Chunk, keys: int) -> list[Tensor]:
        """Memory for the chunk's queries by that many keys, as often as was said."""
        size = chunk.queries * min(keys, chunk.part.keys)
        if self._buffers[0].numel() < size:
            self._buffers = [torch.empty(size, dtype=buffer.dtype, device=buffer.device) for buffer in self._buffers]
        return self._buffers
