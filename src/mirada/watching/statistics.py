"""Entropy, attention received and a coarse map in one pass over the weights, which are formed a band at a time.

Asked one by one, each is a product with the matrix and as dear as attention itself. But a band of weights that is small
enough for the processor's cache answers all three before the next one takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from mirada import binning
from mirada.kernels import Scores, normalisers
from mirada.matrix import AttentionMatrix

#: What is answered, by name: entropy (..., L) in nats, received (..., S), map (..., 64, 64) or smaller.
KNOWN = ("entropy", "received", "map")

#: A question: what it makes of a matrix is kept.
Question = Callable[[AttentionMatrix], object]
#: All that is computed of one matrix: answers by name.
Inquiry = Callable[[AttentionMatrix], Mapping[str, object]]

_BINS = 64
_CACHED = 1 << 19  # weights of a band: 2 MB in float32
_HEIGHT = 64  # queries of a band at the least, where there are several heads: products of fewer rows are slow


def known(matrix: AttentionMatrix) -> Mapping[str, Tensor]:
    """The answers by name, without gradients."""
    *leading, queries, keys = matrix.shape
    bins = (min(_BINS, queries), min(_BINS, keys))
    if 0 in bins:
        shapes = {"entropy": (queries,), "received": (keys,), "map": bins}
        return {name: matrix.query.new_zeros(*leading, *shape) for name, shape in shapes.items()}
    entropy, sums = _of_blocks(matrix, bins[0])
    sizes = torch.bincount(_bin_of_each(queries, bins[0], matrix), minlength=bins[0])
    means = binning.sum_columns(sums, bins[1]) / sizes[:, None]
    return {"entropy": entropy, "received": sums.sum(-2).to(matrix.dtype), "map": means.to(matrix.dtype)}


def _of_blocks(matrix: AttentionMatrix, bins: int) -> tuple[Tensor, Tensor]:
    """Entropies (..., L) and the sums of the weights over each of ``bins`` blocks of queries, (..., bins, S)."""
    scores = matrix._scores.upcast()
    heads, size = math.prod(scores.leading), _size(scores)
    if heads > 1 and heads * min(scores.queries, _HEIGHT) * scores.keys > size:
        entropies, sums = zip(*(_of_blocks(matrix[n], bins) for n in range(scores.leading[0])), strict=True)
        return torch.stack(entropies), torch.stack(sums)
    entropy = scores.query.new_zeros(*scores.leading, scores.queries)
    sums = scores.query.new_zeros(*scores.leading, bins, scores.keys)
    own = _bin_of_each(scores.queries, bins, matrix)
    for rows, columns in scores.blocks(size):
        if columns.start == columns.stop:
            continue
        entropy[..., rows], weights = _of_band(scores, rows, columns)
        first = int(own[rows.start])
        reached = functional.one_hot(own[rows] - first).to(weights)  # (rows, bins that they reach)
        sums[..., first : first + reached.shape[-1], columns] += reached.mT @ weights
    return entropy, sums


def _of_band(scores: Scores, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
    """Entropies (..., rows) and weights (..., rows, columns), 0 for a query that sees nothing.

    With s relative to its row's maximum, the entropy is log Σ exp(s) − Σ A s, and the largest weight is 1 / Σ exp(s).
    """
    block = scores.block(rows, columns)
    largest = block.amax(-1, keepdim=True)
    nothing_seen = largest == -torch.inf
    block -= largest.masked_fill_(nothing_seen, 0.0)
    if scores.mask is not None:
        block.clamp_(min=torch.finfo(block.dtype).min)  # 0 × −inf is no number
    weights = torch.softmax(block, -1)
    entropy = -weights.amax(-1).log() - torch.linalg.vecdot(weights, block)
    if not nothing_seen.any():
        return entropy, weights
    return entropy.masked_fill(nothing_seen[..., 0], 0.0), weights.masked_fill(nothing_seen, 0.0)


def _size(scores: Scores) -> int:
    return _CACHED if scores.query.device.type == "cpu" else normalisers.ELEMENTS


def _bin_of_each(queries: int, bins: int, matrix: AttentionMatrix) -> Tensor:
    return binning.of_positions(queries, bins).to(matrix.device)


def inquiry(ask: Iterable[str] | Mapping[str, Question] | None) -> Inquiry:
    """What is asked of each matrix: all that is known, some of it by name, or one's own functions."""
    if isinstance(ask, Mapping):
        return _of_ones_own(ask)
    names = KNOWN if ask is None else (ask,) if isinstance(ask, str) else tuple(ask)
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise ValueError(f"ask has {unknown[0]!r}; known are {', '.join(KNOWN)}, or give {{name: function}}")

    def by_name(matrix: AttentionMatrix) -> Mapping[str, object]:
        answers = known(matrix)
        return {name: answers[name] for name in names}

    return by_name


def _of_ones_own(ask: Mapping[str, Question]) -> Inquiry:
    wrong = [name for name, question in ask.items() if not callable(question)]
    if wrong:
        raise TypeError(f"ask[{wrong[0]!r}] must be a function of an AttentionMatrix, got {ask[wrong[0]]!r}")
    return lambda matrix: {name: question(matrix) for name, question in ask.items()}
