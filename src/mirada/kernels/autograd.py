"""What a kernel gives, with the gradients that the kernel knows: the one place that speaks to torch's autograd.

Kept for the way back are inputs, outputs and log-normalisers, O(L + S); the weights are formed again. Gradients of
gradients come from the same in plain operations (`reference`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mirada.kernels import reference
from mirada.kernels.scores import Scores

Outputs = tuple[Tensor, ...]
Gradients = Sequence[Tensor | None]


class Rule(NamedTuple):
    """A kernel's two directions. ``right`` is what stands beside query and key: the value of a product, or nothing."""

    forward: Callable[..., Outputs]  # (scores, *right)
    kept: Callable[..., Outputs]  # (scores, right, outputs): what the way back needs besides inputs
    backward: Callable[..., Gradients]  # (scores, right, kept, gradients of the outputs): of query, key, *right
    reference: Callable[..., Outputs]  # as forward, in operations that torch differentiates


def wanted(scores: Scores, *right: Tensor) -> bool:
    """Whether gradients are wanted."""
    if not torch.is_grad_enabled():
        return False
    for tensor in (scores.query, scores.key, *right):
        if tensor.requires_grad:
            return True
    return scores.mask is not None and scores.mask.requires_grad


def differentiable(rule: Rule, scores: Scores, *right: Tensor) -> Outputs:
    """The outputs of a rule, with a graph where gradients are wanted."""
    if not wanted(scores, *right):
        return rule.forward(scores, *right)
    return _Differentiable.apply(rule, scores, scores.query, scores.key, *right)


class _Differentiable(torch.autograd.Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch leaves its arguments open
        ctx: Any, rule: Rule, scores: Scores, query: Tensor, key: Tensor, *right: Tensor
    ) -> Outputs:
        outputs = rule.forward(scores, *right)
        ctx.rule, ctx.like, ctx.beside = rule, (scores.mask, scores.scale, scores.softcap), len(right)
        ctx.save_for_backward(query, key, *right, *rule.kept(scores, right, outputs))
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        query, key, *rest = ctx.saved_tensors
        if all(grad is None for grad in grads):
            return None, None, *[None] * (2 + ctx.beside)
        right, kept = rest[: ctx.beside], rest[ctx.beside :]
        scores = Scores(query, key, *ctx.like)
        if torch.is_grad_enabled():
            outputs = ctx.rule.reference(scores, *right)
            return None, None, *reference.gradients(outputs, (query, key, *right), grads)
        return None, None, *ctx.rule.backward(scores, right, kept, grads)
