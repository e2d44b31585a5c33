"""What each key receives, in one pass: the weights of a few queries at a time are formed, added up, and forgotten.

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
    scores = scores.precise()
    on_cpu = scores.query.device.type == "cpu"
    elements = _ELEMENTS * torch.get_num_threads() if on_cpu else normalisers.ELEMENTS
    sums = scores.query.new_zeros(*scores.leading, scores.keys)
    with torch.no_grad():
        for at, _, columns, piece in scores.pieces(elements):
            if not piece.empty:
                sums[at][..., columns] += plain.weights(piece).sum(-2)
    return sums
