"""The entropy of each row: where nothing is hidden `rowwise`, else from one fused product.

H_i = −Σ_j A_ij log A_ij = logsumexp_i − Σ_j A_ij score_ij, and the mean score is scale · q_i · (A K)_i: the product
with the keys themselves gives both. It is a difference, so rows in which the two terms are large lose digits; those few
are asked again by their weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mirada.kernels import chunked, flash_cpu, rowwise
from mirada.kernels.logsumexp import ELEMENTS, groups_of_rows, log_weights, refined, weights_from
from mirada.kernels.scores import Scores

_TRUSTED = 16.0  # nats: up to here the difference keeps float32's error near 1e-6


def forward(scores: Scores, kernel: str) -> tuple[Tensor, Tensor]:
    """Entropies (*leading, L), and the normalisers."""
    if scores.unchanged:
        return rowwise.entropy(scores)
    biased = scores.mask is not None and scores.mask.additive
    key_seen, logsumexp = (flash_cpu if kernel == "flash_cpu" else chunked).forward(scores, scores.key)
    known = refined(scores, logsumexp)
    if kernel != "flash_cpu" or biased:
        return _by_bands(scores, known).to(logsumexp.dtype), known
    mean_score = (scores.query * key_seen).sum(-1) * scores.scale
    seen = logsumexp != -torch.inf
    entropy = torch.where(seen, logsumexp - mean_score, 0.0)
    coarse = seen & (torch.maximum(logsumexp.abs(), mean_score.abs()) > _TRUSTED)
    for rows in groups_of_rows(scores, coarse) if coarse.any() else ():
        entropy[..., rows] = of_scores(scores.rows(rows), known[..., rows])
    return entropy.clamp_min_(0.0), known


def backward(scores: Scores, known: Tensor, entropy: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients for query and key, band by band: that of a score is −grad · A (log A + H)."""
    query, key = chunked.numbers(scores.query), chunked.numbers(scores.key)
    grad_query, grad_key = torch.zeros_like(query), torch.zeros_like(key)
    for rows, columns in scores.blocks(ELEMENTS):
        block = scores.block(rows, columns)
        weights = weights_from(block, known[..., rows])
        logs = log_weights(block, known[..., rows], weights)
        grad_scores = -grad[..., rows, None] * weights * (logs + entropy[..., rows, None]) * scores.scale
        grad_scores = grad_scores * scores.slopes(rows, columns)
        grad_query[..., rows, :] = grad_scores @ key[..., columns, :]
        grad_key[..., columns, :] += grad_scores.mT @ query[..., rows, :]
    return grad_query, grad_key


def of_scores(scores: Tensor, known: Tensor) -> Tensor:
    """−Σ A log A for scores (..., r, c) and their normalisers (..., r): (..., r)."""
    weights = weights_from(scores, known)
    return -(weights * log_weights(scores, known, weights)).sum(-1)


def _by_bands(scores: Scores, known: Tensor) -> Tensor:
    entropy = torch.zeros_like(known)
    for rows, columns in scores.blocks(ELEMENTS):
        entropy[..., rows] = of_scores(scores.block(rows, columns), known[..., rows]).to(entropy.dtype)
    return entropy
