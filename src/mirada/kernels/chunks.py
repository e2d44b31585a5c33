"""The weights of a matrix that nothing hides, a band of queries at a time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mirada.kernels.logsumexp import ELEMENTS
from mirada.kernels.scores import Scores

_NEAR = 1 << 18  # entries of a band for each thread of a processor: 1 MB in float32, which caches hold


def capacity(device: torch.device) -> int:
    """How many weights to work on at a time."""
    return _NEAR * torch.get_num_threads() if device.type == "cpu" else ELEMENTS


def bands(scores: Scores, elements: int, into: Tensor | None = None) -> Iterator[tuple[slice, slice, Tensor]]:
    """Weights of at most about ``elements`` entries, each band as (which of M, which queries, the weights).

    M are all leading dimensions laid in a row. The weights are written into ``into``, (M, L, S), or all into the same
    memory, one after another: new memory for each band would cost as much again as the band.
    """
    query, key = (tensor.reshape(-1, *tensor.shape[-2:]) for tensor in (scores.query, scores.key))
    together = max(1, elements // (scores.queries * scores.keys))
    height = scores.queries if together > 1 else min(scores.queries, max(1, elements // scores.keys))
    memory = query.new_empty(min(together, len(query)) * height * scores.keys if into is None else 0)
    for start in range(0, len(query), together):
        at = slice(start, start + together)
        for row in range(0, scores.queries, height):
            rows = slice(row, row + height)
            some = query[at, rows]
            shape = (*some.shape[:2], scores.keys)
            band = memory[: some.shape[:2].numel() * scores.keys].view(shape) if into is None else into[at, rows]
            torch.baddbmm(band, some, key[at].mT, beta=0, alpha=scores.scale, out=band)
            yield at, rows, torch.softmax(band, -1, out=band)
