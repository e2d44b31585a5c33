"""Sums over queries, in one pass: the weights of a few queries at a time are formed, added up, and forgotten.

A product with the transpose needs every query's normaliser first, which is a pass of its own. A band of weights that
fits into the cache brings its normalisers along, and needs no values: together less work than attention itself.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mirada.kernels import normalisers, plain
from mirada.kernels.scores import Scores

_ELEMENTS = 1 << 19  # of a band, for each thread: 2 MB in float32


def received(scores: Scores) -> Tensor:
    """The sums of the columns, Aᵀ 1: (*leading, S), in float32 at least; without gradients."""
    return binned(scores, torch.zeros(scores.queries, dtype=torch.long), 1)[..., 0, :]


@torch.no_grad()
def binned(scores: Scores, bin_of_each: Tensor, bins: int) -> Tensor:
    """The same for each bin of queries: (*leading, bins, S). ``bin_of_each`` is (L,) on the CPU."""
    scores, bin_of_each = scores.precise(), bin_of_each.to(scores.query.device)
    on_cpu = scores.query.device.type == "cpu"
    elements = _ELEMENTS * torch.get_num_threads() if on_cpu else normalisers.ELEMENTS
    sums = scores.query.new_zeros(*scores.leading, bins, scores.keys)
    for at, rows, columns, piece in scores.pieces(elements):
        if not piece.empty:
            sums[at][..., columns].index_add_(-2, bin_of_each[rows], plain.weights(piece))
    return sums
