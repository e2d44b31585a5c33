"""Aᵀ X as an attention of its own: keys ask, queries answer.

With n_i the normaliser (logsumexp) of query i, Aᵀ X at key j is Σ_i exp(score_ij − n_i) x_i. That is an attention in
which the keys ask, the queries answer, and each query's score carries the bias −n_i: its context times the exponential
of its own normaliser. One fused product, no backward pass.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mirada.kernels import flash_cpu
from mirada.kernels.logsumexp import split
from mirada.kernels.scores import Scores
from mirada.masks import causal, dense, is_causal
from mirada.masks.views import Transposed


def transposed(scores: Scores, x: Tensor, known: Tensor) -> Tensor:
    """Aᵀ x for x (*leading, L, m) and normalisers ``known`` (*leading, L): (*leading, S, m), in float32 at least."""
    scores = scores.upcast()
    coarse, rest = split(known, scores.query.dtype)
    # What the bias can't hold of a normaliser scales what its query has to give.
    x = x.to(coarse.dtype) if rest is None else x.to(coarse.dtype) * torch.exp(-rest)[..., None]
    # A query that may attend to nothing has n = −inf; it contributes nothing.
    bias = torch.where(coarse == -torch.inf, coarse, -coarse)  # (*leading, L)
    mask = scores.mask
    if mask is None or mask.same_for_all_queries:
        return _unmasked(scores, x, bias)
    asking = _with_bias(scores, bias)
    if is_causal(mask) and scores.queries == scores.keys:
        # Read backwards, "only later queries see this key" is the kernel's own causal mask.
        asking = replace(
            asking, query=asking.query.flip(-2), key=asking.key.flip(-2), mask=causal(scores.keys, scores.queries)
        )
        return _unnormalised(asking, x.flip(-2)).flip(-2)
    return _unnormalised(replace(asking, mask=Transposed(mask)), x)


def _unnormalised(asking: Scores, x: Tensor) -> Tensor:
    context, logsumexp = flash_cpu.forward(asking, x)
    return context * torch.exp(logsumexp)[..., None]


def _unmasked(scores: Scores, x: Tensor, bias: Tensor) -> Tensor:
    """Where all queries see the same keys, the mask only says which keys receive anything, and how much more."""
    mask = dense(bias[..., None, :]).fit(scores.leading, scores.keys, scores.queries)
    received = _unnormalised(replace(scores, query=scores.key, key=scores.query, mask=mask), x)
    if scores.mask is None:
        return received
    visible, added = scores.mask.block(slice(0, 1), slice(0, scores.keys), x.device)  # (..., 1, S)
    if added is not None:
        received = received * torch.exp(added.to(x.dtype)).mT
    return received.masked_fill(~visible.mT, 0.0)


def _with_bias(scores: Scores, bias: Tensor) -> Scores:
    """The transposed scores with the queries' bias as one more channel, so that the mask can stay what it is."""
    ones = scores.key.new_ones(*scores.leading, scores.keys, 1)
    channel = (bias / scores.scale)[..., None]
    return replace(
        scores, query=torch.cat([scores.key, ones], -1), key=torch.cat([scores.query, channel], -1), mask=None
    )
