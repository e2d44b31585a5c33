"""Log-normalisers, entropies and column sums in one pass over the weights, formed a chunk of rows at a time.

Computed one by one, each is as expensive as attention itself. A chunk of weights that is small enough for the
processor's cache answers all of them before the next one takes its place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mirada.kernels.logsumexp import ELEMENTS
from mirada.kernels.scores import Scores

_CACHED = 1 << 19  # weights of a chunk: 2 MB in float32
_HEIGHT = 64  # queries of a chunk at the least, where there are several heads: products of fewer rows are slow


@torch.no_grad()
def in_one_pass(scores: Scores, bin_of_each: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Log-normalisers and entropies (*leading, L), and the sums of the weights in each bin of queries (…, bins, S)."""
    heads, size = math.prod(scores.leading), _size(scores)
    if heads > 1 and heads * min(scores.queries, _HEIGHT) * scores.keys > size:
        each = (in_one_pass(scores.part((n,)), bin_of_each, bins) for n in range(scores.leading[0]))
        logsumexp, entropy, sums = (torch.stack(found) for found in zip(*each, strict=True))
        return logsumexp, entropy, sums
    entropy = scores.query.new_zeros(*scores.leading, scores.queries)
    sums = scores.query.new_zeros(*scores.leading, bins, scores.keys)
    logsumexp = entropy - torch.inf
    for rows, columns in scores.blocks(size):
        if columns.start == columns.stop:
            continue
        logsumexp[..., rows], entropy[..., rows], weights = _of_chunk(scores, rows, columns)
        first = int(bin_of_each[rows.start])
        reached = functional.one_hot(bin_of_each[rows] - first).to(weights)  # (rows, bins that they reach)
        sums[..., first : first + reached.shape[-1], columns] += reached.mT @ weights
    return logsumexp, entropy, sums


def _of_chunk(scores: Scores, rows: slice, columns: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Log-normalisers and entropies (..., rows), and weights (..., rows, columns), 0 for a query that sees nothing.

    With s relative to its row's maximum, the entropy is log Σ exp(s) − Σ A s, and the largest weight is 1 / Σ exp(s).
    """
    block = scores.block(rows, columns)
    largest = block.amax(-1, keepdim=True)
    nothing_seen = largest == -torch.inf
    block -= largest.masked_fill(nothing_seen, 0.0)
    if scores.mask is not None:
        block.clamp_(min=torch.finfo(block.dtype).min)  # 0 × −inf is NaN
    weights = torch.softmax(block, -1)
    total = -weights.amax(-1).log()
    logsumexp, entropy = largest[..., 0] + total, total - torch.linalg.vecdot(weights, block)
    if not nothing_seen.any():
        return logsumexp, entropy, weights
    hidden = nothing_seen[..., 0]
    return (
        logsumexp.masked_fill(hidden, -torch.inf),
        entropy.masked_fill(hidden, 0.0),
        weights.masked_fill(nothing_seen, 0.0),
    )


def _size(scores: Scores) -> int:
    return _CACHED if scores.query.device.type == "cpu" else ELEMENTS
