"""Log-normalisers, n_i = log Σ_j exp(score_ij), kept well enough to give weights back: A_ij = exp(score_ij − n_i).

Float32 holds 10,000 to within 0.0005 only, and so would the weights be wrong by half a thousandth. Where a
log-normaliser is large, its row is summed once more relative to it, and both parts are kept in one float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mirada.kernels.scores import Scores
from mirada.kernels.tuning import tuning


def refined(scores: Scores, logsumexp: Tensor) -> Tensor:
    """The log-normalisers (*leading, L): as they are where none is large, else in float64, large ones summed again."""
    if logsumexp.dtype == torch.float64 or not (large := too_large(logsumexp)).any():
        return logsumexp
    precise = logsumexp.double()
    rows = large.reshape(-1, scores.queries).any(0).nonzero()[:, 0]  # large in any head
    for some in rows.split(max(1, tuning.chunk // (scores.keys * scores.query.shape[:-2].numel()))):
        total = weights_from(scores.rows(some), precise[..., some]).sum(-1)
        precise[..., some] += torch.where(large[..., some], total, 1.0).double().log()
    return precise


def too_large(logsumexp: Tensor) -> Tensor:
    """Which of them float32 does not hold to within 1e-6."""
    return (logsumexp.abs() > tuning.trusted) & torch.isfinite(logsumexp)


def split(known: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Log-normalisers in a kernel's dtype, and what that dtype could not hold of them, if anything."""
    if known.dtype == dtype:
        return known, None
    coarse = known.to(dtype)
    return coarse, torch.where(torch.isfinite(coarse), known - coarse.double(), 0.0).to(dtype)


def weights_from(scores: Tensor, known: Tensor) -> Tensor:
    """exp(score − n) for scores (..., r, c) and log-normalisers n (..., r); 0 where the score is −inf."""
    # In a row that sees nothing, −inf − −inf would be NaN.
    return torch.exp(_relative(scores, known.masked_fill(known == -torch.inf, 0.0)))


def log_weights(scores: Tensor, known: Tensor, weights: Tensor) -> Tensor:
    """log A, with 0 where A is 0: it only ever stands beside A, and 0 · log 0 is 0."""
    return torch.where(weights > 0, _relative(scores, known), 0.0)


def share(some: Tensor, all_of_them: Tensor) -> Tensor:
    """The share of keys with log-normalisers ``some`` in the whole: exp(n_some − n_all), 0 where nothing is seen."""
    return torch.exp(some - all_of_them.masked_fill(all_of_them == -torch.inf, 0.0))


def _relative(scores: Tensor, known: Tensor) -> Tensor:
    coarse, rest = split(known, scores.dtype)
    relative = scores - coarse[..., None]
    return relative if rest is None else relative - rest[..., None]
