"""How a product with the attention matrix is computed.

Each kernel is a file: ``reference`` builds the matrix, ``flash_cpu`` and ``chunked`` never do, ``banded`` and
``formed`` build some of it at a time, ``rowwise`` takes its rows without values, ``chebyshev`` is for a single channel,
``moments`` for one that attends to itself, and ``sdpa`` is torch's own call where nothing needs adding to it. This page
chooses between them and makes what they give differentiable; ``SelfAttention`` knows by itself where moments will do.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

from mirada.kernels import banded, chebyshev, chunked, flash_cpu, formed, reference, rowwise
from mirada.kernels import entropy as entropies
from mirada.kernels.logsumexp import refined
from mirada.kernels.scores import Scores, finite
from mirada.kernels.transpose import transposed as fused_transposed

__all__ = ["Scores", "attend", "choose", "context", "entropy", "known_normalisers", "logsumexp", "transposed"]

Kernel = Literal["reference", "flash_cpu", "chunked"]

#: Weights that are so few that forming them takes less than the bookkeeping of doing without.
FEW = 1 << 16


def choose(scores: Scores, value: Tensor | None = None) -> tuple[Kernel, str]:
    """The kernel for a product with ``value``, and the reason."""
    if scores.empty or (value is not None and value.numel() == 0):
        return "reference", "there is nothing to attend with or to"
    if scores.mask is not None and scores.mask.requires_grad:
        return "reference", "the mask is learned, so its gradient is as large as the matrix"
    if scores.query.shape[:-1].numel() * scores.keys <= FEW:
        return "reference", "so few weights are formed outright"
    if scores.keys * 2 <= scores.width:
        return "reference", "the weights are fewer numbers than the queries"
    if scores.softcap is not None:
        return "chunked", "the fused kernel knows no softcap"
    if not flash_cpu.fits(scores):
        return "chunked", f"the fused kernel can't take this on {scores.query.device.type} with scale {scores.scale:g}"
    if scores.mask is not None and not finite(scores.query, scores.key, value):
        return "chunked", "a NaN or inf may stand behind the mask, where fused arithmetic would let it through"
    return "flash_cpu", "one pass, the matrix never formed"


def context(scores: Scores, value: Tensor) -> Tensor:
    """A @ V: (*leading, L, Ev), differentiable in query, key and value."""
    found = chebyshev.context(scores, value)
    if found is not None:
        return found
    kernel, _ = choose(scores, value)
    return reference.product(scores, value) if kernel == "reference" else _attend(scores, value, kernel)[0]


def attend(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """The context (*leading, L, Ev) and log Σ exp(score) (*leading, L), differentiable in query, key and value."""
    kernel, _ = choose(scores, value)
    if kernel == "reference":
        return reference.product(scores, value), reference.logsumexp(scores)
    return _attend(scores, value, kernel)


def _attend(scores: Scores, value: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    return _Attend.apply(scores.query, scores.key, value, scores, kernel)


def context_and_weights(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """A @ V, (*leading, L, Ev), and A, (*leading, L, S): differentiable in query, key and value."""
    # Weights that are kept in any case may be more before pieces of them pay.
    mask, few = scores.mask, scores.query.shape[:-1].numel() * scores.keys <= 4 * FEW
    if few or (mask is not None and (mask.requires_grad or not finite(scores.query, scores.key, value))):
        weights = reference.weights(scores)
        return weights @ value if mask is None else reference.context(weights, value), weights
    return _Formed.apply(scores.query, scores.key, value, scores)


def known_normalisers(scores: Scores) -> Tensor:
    """The normalisers (*leading, L), good enough to give weights back; without gradients."""
    scores = scores.upcast()
    if scores.unchanged and choose(scores)[0] != "reference":
        return rowwise.logsumexp(scores)
    with torch.no_grad():
        return refined(scores, attend(scores, scores.key)[1])


def logsumexp(scores: Scores, known: Tensor) -> Tensor:
    """The normalisers ``known``, with gradients: (*leading, L), in float32 at least."""
    scores = scores.upcast()
    if choose(scores)[0] == "reference":
        return reference.logsumexp(scores)
    return _Known.apply(scores.query, scores.key, scores, known)


def entropy(scores: Scores) -> tuple[Tensor, Tensor]:
    """The entropy of each row in nats, differentiable, and the normalisers, each (*leading, L)."""
    scores = scores.upcast()
    kernel, _ = choose(scores)
    if kernel == "reference":
        return _plain_entropy(scores), reference.logsumexp(scores)
    return _Entropy.apply(scores.query, scores.key, scores, kernel)


def received(scores: Scores) -> Tensor | None:
    """Aᵀ 1, (*leading, S), in one pass; None where gradients are wanted, for which `transposed` has a way."""
    return None if _differentiable(scores) else banded.received(scores)


def binned(scores: Scores, bin_of_each: Tensor, bins: int) -> Tensor | None:
    """The same for each bin of queries, (*leading, bins, S); None where gradients are wanted."""
    return None if _differentiable(scores) else banded.binned(scores, bin_of_each, bins)


def _differentiable(scores: Scores) -> bool:
    learned = scores.mask is not None and scores.mask.requires_grad
    return (learned or scores.query.requires_grad or scores.key.requires_grad) and torch.is_grad_enabled()


def transposed(scores: Scores, x: Tensor, known: Tensor) -> Tensor:
    """Aᵀ x for x (*leading, L, m): (*leading, S, m), differentiable. ``known`` are the normalisers."""
    kernel, _ = choose(scores, x)
    if kernel == "reference":
        return reference.weights(scores).mT @ x
    return _Transposed.apply(scores.query, scores.key, x, scores, known, kernel)


class _Attend(torch.autograd.Function):
    """A @ V with its normalisers. Keeps inputs and outputs, O(L + S), and forms the weights again on the way back."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch leaves its arguments open
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scores: Scores, kernel: Kernel
    ) -> tuple[Tensor, Tensor]:
        context, found = _products(kernel).forward(scores, value)
        if any(ctx.needs_input_grad):
            known = refined(scores.upcast(), found)
            ctx.save_for_backward(query, key, value, context, known)
        ctx.like, ctx.kernel = (scores.mask, scores.scale, scores.softcap), kernel
        ctx.set_materialize_grads(False)
        return context, found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        query, key, value, context, known = ctx.saved_tensors
        scores = Scores(query, key, *ctx.like)
        if torch.is_grad_enabled():
            outputs = reference.product(scores, value), reference.logsumexp(scores)
            return *reference.gradients(outputs, (query, key, value), grads), None, None
        grad_context, grad_logsumexp = grads
        if grad_logsumexp is None and ctx.kernel == "flash_cpu" and grad_context is not None:
            return *flash_cpu.backward(scores, value, context, known, grad_context), None, None
        return *chunked.backward(scores, value, known, grad_context, grad_logsumexp), None, None


class _Formed(torch.autograd.Function):
    """A @ V and A. Keeps A, as it was asked for."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch leaves its arguments open
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scores: Scores
    ) -> tuple[Tensor, Tensor]:
        context, weights = formed.forward(scores, value)
        ctx.save_for_backward(query, key, value, weights)
        ctx.like = scores.mask, scores.scale, scores.softcap
        ctx.set_materialize_grads(False)
        return context, weights

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        query, key, value, weights = ctx.saved_tensors
        scores = Scores(query, key, *ctx.like)
        if torch.is_grad_enabled():
            weights = reference.weights(scores)
            return *reference.gradients((weights @ value, weights), (query, key, value), grads), None
        return *formed.backward(scores, value, weights, *grads), None


class _Known(torch.autograd.Function):
    """Normalisers that were found before, given a gradient."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch leaves its arguments open
        ctx: Any, query: Tensor, key: Tensor, scores: Scores, known: Tensor
    ) -> Tensor:
        ctx.save_for_backward(query, key, known)
        ctx.like = scores.mask, scores.scale, scores.softcap
        return known.to(query.dtype, copy=True)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, known = ctx.saved_tensors
        scores = Scores(query, key, *ctx.like)
        if torch.is_grad_enabled():
            return *reference.gradients((reference.logsumexp(scores),), (query, key), grads), None, None
        return *chunked.backward(scores, key, known, None, grads[0])[:2], None, None


class _Entropy(torch.autograd.Function):
    """Entropies and, undifferentiated, the normalisers that come with them."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch leaves its arguments open
        ctx: Any, query: Tensor, key: Tensor, scores: Scores, kernel: Kernel
    ) -> tuple[Tensor, Tensor]:
        found, known = entropies.forward(scores, kernel)
        ctx.save_for_backward(query, key, found, known)
        ctx.like = scores.mask, scores.scale, scores.softcap
        ctx.mark_non_differentiable(known)
        return found, known

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, found, known = ctx.saved_tensors
        scores = Scores(query, key, *ctx.like)
        if torch.is_grad_enabled():
            return *reference.gradients((_plain_entropy(scores),), (query, key), grads[:1]), None, None
        return *entropies.backward(scores, known, found, grads[0]), None, None


class _Transposed(torch.autograd.Function):
    """Aᵀ @ X. Its gradients are those of A @ dY with X as the incoming gradient, since ⟨dY, Aᵀ X⟩ = ⟨A dY, X⟩."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch leaves its arguments open
        ctx: Any, query: Tensor, key: Tensor, x: Tensor, scores: Scores, known: Tensor, kernel: Kernel
    ) -> Tensor:
        ctx.save_for_backward(query, key, x, known)
        ctx.like, ctx.kernel = (scores.mask, scores.scale, scores.softcap), kernel
        # The bias of the fused transpose is divided by the scale.
        if kernel == "flash_cpu" and scores.scale != 0:
            return fused_transposed(scores, x, known).to(x.dtype)
        return chunked.transposed(scores, x, known)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, x, known = ctx.saved_tensors
        scores, grad = Scores(query, key, *ctx.like), grads[0]
        if torch.is_grad_enabled():
            output = reference.weights(scores).mT @ x
            return *reference.gradients((output,), (query, key, x), grads), None, None, None
        asked, _ = _products(ctx.kernel).forward(scores, grad)
        if ctx.kernel == "flash_cpu":
            grad_query, grad_key, _ = flash_cpu.backward(scores, grad, asked, known, x)
        else:
            grad_query, grad_key, _ = chunked.backward(scores, grad, known, x, None)
        return grad_query, grad_key, asked, None, None, None


def _products(kernel: Kernel) -> ModuleType:
    return flash_cpu if kernel == "flash_cpu" else chunked


def _plain_entropy(scores: Scores) -> Tensor:
    return entropies.of_scores(scores.whole(), reference.logsumexp(scores))
