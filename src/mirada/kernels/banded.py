"""Sums over queries, in one pass: the weights of a few queries at a time are formed, added up, and forgotten.

A product with the transpose needs every query's normaliser first, which is a pass of its own. A band of weights that
fits into the cache brings its normalisers along, and needs no values: together less work than attention itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mirada.kernels import reference
from mirada.kernels.chunks import bands, capacity
from mirada.kernels.scores import Scores


def received(scores: Scores) -> Tensor:
    """The sums of the columns, Aᵀ 1: (*leading, S), in float32 at least; without gradients."""
    scores = scores.upcast()
    sums = scores.query.new_zeros(*scores.leading, scores.keys)
    for place, _, weights in _weights(scores, sums):
        place += weights.sum(-2)
    return sums


def binned(scores: Scores, bin_of_each: Tensor, bins: int) -> Tensor:
    """The same for each bin of queries: (*leading, bins, S). ``bin_of_each`` is (L,) on the CPU."""
    scores, bin_of_each = scores.upcast(), bin_of_each.to(scores.query.device)
    sums = scores.query.new_zeros(*scores.leading, bins, scores.keys)
    for place, rows, weights in _weights(scores, sums):
        place.index_add_(-2, bin_of_each[rows], weights)
    return sums


@torch.no_grad()
def _weights(scores: Scores, sums: Tensor) -> Iterator[tuple[Tensor, slice, Tensor]]:
    """The weights, a band at a time: where in ``sums`` they belong, whose queries they are, and they themselves."""
    elements = capacity(scores.query.device)
    if scores.unchanged and not scores.empty:
        laid_out = sums.view(-1, *sums.shape[len(scores.leading) :])
        for at, rows, weights in bands(scores, elements):
            yield laid_out[at], rows, weights
        return
    for at, rows, columns, piece in scores.pieces(elements):
        if not piece.empty:
            yield sums[at][..., columns], rows, reference.weights(piece)
