"""Attention band by band, in plain torch: any device, any mask, O(L + S) memory beside the inputs.

A band is some queries with all the keys that they may see, so each row is whole and needs no merging. The backward
passes form each band again from the normalisers (Dao et al. 2022, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mirada.kernels import reference
from mirada.kernels.logsumexp import ELEMENTS, weights_from
from mirada.kernels.scores import Scores


def forward(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """The context (*leading, L, Ev) and log Σ exp(score) (*leading, L), the latter in float32 at least."""
    scores, dtype = scores.upcast(), value.dtype
    value = value.to(scores.query.dtype)
    context = value.new_zeros(*scores.leading, scores.queries, value.shape[-1])
    logsumexp = value.new_full((*scores.leading, scores.queries), -torch.inf)
    for rows, columns in scores.blocks(ELEMENTS):
        block = scores.block(rows, columns)
        logsumexp[..., rows] = torch.logsumexp(block, -1) if block.shape[-1] else -torch.inf
        context[..., rows, :] = reference.context(reference.softmax(block), value[..., columns, :])
    return context.to(dtype), logsumexp


def backward(
    scores: Scores, value: Tensor, known: Tensor, grad_context: Tensor | None, grad_logsumexp: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for query, key and value from the normalisers ``known``.

    With P the weights, and dP = dO Vᵀ, the scores' gradient is P ∘ (dP − rowsum(P ∘ dP) + dlogsumexp).
    """
    dtypes, scores = (scores.query.dtype, scores.key.dtype, value.dtype), scores.upcast()
    query, key, value = (numbers(tensor) for tensor in (scores.query, scores.key, value.to(scores.query.dtype)))
    grads = [torch.zeros_like(tensor) for tensor in (query, key, value)]
    for rows, columns, weights in bands(scores, known):
        grad_scores = torch.zeros_like(weights)
        if grad_context is not None:
            grad = grad_context[..., rows, :].to(weights.dtype)
            grads[2][..., columns, :] += weights.mT @ grad
            grad_weights = grad @ value[..., columns, :].mT
            grad_scores = weights * (grad_weights - (weights * grad_weights).sum(-1, keepdim=True))
        if grad_logsumexp is not None:
            grad_scores = grad_scores + weights * grad_logsumexp[..., rows, None].to(weights.dtype)
        grad_scores = grad_scores * scores.slopes(rows, columns)
        grads[0][..., rows, :] = scores.scale * (grad_scores @ key[..., columns, :])
        grads[1][..., columns, :] += scores.scale * (grad_scores.mT @ query[..., rows, :])
    grad_query, grad_key, grad_value = (grad.to(dtype) for grad, dtype in zip(grads, dtypes, strict=True))
    return grad_query, grad_key, grad_value


def transposed(scores: Scores, x: Tensor, known: Tensor) -> Tensor:
    """Aᵀ x for x (*leading, L, m): (*leading, S, m)."""
    scores, dtype = scores.upcast(), x.dtype
    x = x.to(scores.query.dtype)
    received = x.new_zeros(*scores.leading, scores.keys, x.shape[-1])
    for rows, columns, weights in bands(scores, known):
        received[..., columns, :] += weights.mT @ x[..., rows, :]
    return received.to(dtype)


def bands(scores: Scores, known: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """The weights themselves, band after band: rows, columns, (*leading, r, c)."""
    for rows, columns in scores.blocks(ELEMENTS):
        yield rows, columns, weights_from(scores.block(rows, columns), known[..., rows])


def numbers(tensor: Tensor) -> Tensor:
    """The tensor with 0 for NaN and inf: they may stand behind the mask, where 0 × NaN must be 0."""
    return torch.nan_to_num(tensor, nan=0.0, posinf=0.0, neginf=0.0)
