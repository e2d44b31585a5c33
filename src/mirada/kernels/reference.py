"""The mechanism as written in the paper: every step a tensor, gradients of any order. Costs L × S memory."""

from __future__ import annotations

import torch
from torch import Tensor

from mirada.kernels.logsumexp import log_weights, weights_from
from mirada.kernels.scores import Scores, finite


def softmax(scores: Tensor) -> Tensor:
    """Softmax over the last dimension; a row of nothing but −inf gives zeros, with zero gradients."""
    if scores.shape[-1] == 0 or finite(scores.detach().amax(-1)):
        return torch.softmax(scores, -1)
    hidden = scores == -torch.inf
    nothing_seen = hidden.all(-1, keepdim=True)
    # Softmax of such a row is 0/0: another row stands in, so that neither the weights nor the gradients become NaN.
    return torch.softmax(scores.masked_fill(nothing_seen, 0.0), -1).masked_fill(hidden, 0.0)


def weights(scores: Scores) -> Tensor:
    """The attention matrix, built: (*leading, L, S)."""
    block = scores.upcast().whole()
    found = torch.softmax(block, -1) if scores.mask is None else softmax(block)
    return found.to(scores.query.dtype)


def product(scores: Scores, value: Tensor) -> Tensor:
    """A @ V: (*leading, L, Ev)."""
    return weights(scores) @ value if scores.mask is None else context(weights(scores), value)


def logsumexp(scores: Scores) -> Tensor:
    """log Σ_j exp(score_ij): (*leading, L); −inf for a query that sees nothing, with zero gradients."""
    block = scores.whole()
    if scores.keys == 0:
        return block.sum(-1) - torch.inf
    nothing_seen = (block == -torch.inf).all(-1)
    finite = torch.logsumexp(block.masked_fill(nothing_seen[..., None], 0.0), -1)
    return finite.masked_fill(nothing_seen, -torch.inf)


def context(weights: Tensor, value: Tensor) -> Tensor:
    """weights · V, where a weight of 0 silences even NaN and inf: (*leading, L, Ev).

    0 × NaN is NaN, so non-finite values are taken out, and put back only for the queries that attend to them.
    """
    if finite(value):
        return weights @ value
    bad = ~torch.isfinite(value)
    touched = (weights > 0).to(weights.dtype) @ bad.to(weights.dtype) > 0
    return (weights @ value.masked_fill(bad, 0.0)).masked_fill(touched, torch.nan)


def context_and_logsumexp(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """A @ V, (*leading, L, Ev), and log Σ_j exp(score_ij), (*leading, L)."""
    return product(scores, value), logsumexp(scores.upcast())


def context_and_weights(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """A @ V, (*leading, L, Ev), and A, (*leading, L, S)."""
    found = weights(scores)
    return found @ value if scores.mask is None else context(found, value), found


def transposed_product(scores: Scores, x: Tensor) -> tuple[Tensor]:
    """Aᵀ @ X, (*leading, S, m)."""
    return (weights(scores).mT @ x,)


def entropy(scores: Scores, known: Tensor) -> Tensor:
    """−Σ_j A_ij log A_ij from the log-normalisers: (*leading, L)."""
    block = scores.whole()
    found = weights_from(block, known)
    return -(found * log_weights(block, known, found)).sum(-1)


def gradients(
    outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], grads: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """Gradients with a graph of their own, for gradients of gradients."""
    reached = [(output, grad) for output, grad in zip(outputs, grads, strict=True) if grad is not None]
    wanted = [tensor for tensor in inputs if tensor.requires_grad]
    found = iter(
        torch.autograd.grad(
            [output for output, _ in reached],
            wanted,
            [grad for _, grad in reached],
            create_graph=True,
            allow_unused=True,
        )
    )
    return tuple(next(found) if tensor.requires_grad else None for tensor in inputs)
