"""Normalisers, n_i = log Σ_j exp(score_ij), kept well enough to give weights back: A_ij = exp(score_ij − n_i).

Float32 holds 10,000 to within 0.0005 only, and so would the weights be wrong by half a thousandth. Where a normaliser
is large, its row is summed once more relative to it, and both parts are kept in one float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mirada.kernels.scores import Scores

#: Entries that a band of queries may hold while it is worked on: 16 MB in float32.
ELEMENTS = 1 << 22
_TRUSTED = 16.0  # up to here float32 holds a normaliser to within 1e-6


def refined(scores: Scores, logsumexp: Tensor) -> Tensor:
    """The normalisers (*leading, L): as they are where none is large, else in float64, large ones summed again."""
    large = (logsumexp.abs() > _TRUSTED) & torch.isfinite(logsumexp)
    if logsumexp.dtype == torch.float64 or not large.any():
        return logsumexp
    normalisers = logsumexp.double()
    for rows in groups_of_rows(scores, large):
        total = weights_from(scores.rows(rows), normalisers[..., rows]).sum(-1)
        normalisers[..., rows] += torch.where(large[..., rows], total, 1.0).double().log()
    return normalisers


def kept(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """Normalisers in float64 as they are where some are large, else in ``dtype``, which then holds them."""
    return exact.to(dtype) if bool((exact.abs() <= _TRUSTED).all()) else exact


def split(normalisers: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """The normalisers in a kernel's dtype, and what that dtype could not hold of them, if anything."""
    if normalisers.dtype == dtype:
        return normalisers, None
    coarse = normalisers.to(dtype)
    return coarse, torch.where(torch.isfinite(coarse), normalisers - coarse.double(), 0.0).to(dtype)


def weights_from(scores: Tensor, normalisers: Tensor) -> Tensor:
    """exp(score − normaliser) for scores (..., r, c) and normalisers (..., r); 0 where the score is −inf."""
    # In a row that sees nothing, −inf − −inf would be NaN.
    return torch.exp(_relative(scores, normalisers.masked_fill(normalisers == -torch.inf, 0.0)))


def _relative(scores: Tensor, normalisers: Tensor) -> Tensor:
    coarse, rest = split(normalisers, scores.dtype)
    relative = scores - coarse[..., None]
    return relative if rest is None else relative - rest[..., None]


def share(some: Tensor, all_of_them: Tensor) -> Tensor:
    """The share of the keys with normalisers ``some`` in the whole: exp(n_some − n_all), 0 where nothing is seen."""
    return torch.exp(some - all_of_them.masked_fill(all_of_them == -torch.inf, 0.0))


def log_weights(scores: Tensor, normalisers: Tensor, weights: Tensor) -> Tensor:
    """log A, with 0 where A is 0: it only ever stands beside A, and 0 · log 0 is 0."""
    return torch.where(weights > 0, _relative(scores, normalisers), 0.0)


def groups_of_rows(scores: Scores, chosen: Tensor) -> tuple[Tensor, ...]:
    """The queries chosen (*leading, L) in any head, in groups whose rows are small enough to form."""
    rows = chosen.reshape(-1, scores.queries).any(0).nonzero()[:, 0]
    return rows.split(max(1, ELEMENTS // (scores.keys * scores.query.shape[:-2].numel())))
