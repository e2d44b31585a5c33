"""One channel: the context is a smooth function of a single number, so a few queries answer for all.

With E = 1 a query is a number t, and its context g(t) = Σ_j v_j e^{t k_j} / Σ_j e^{t k_j} is analytic around the real
line. So r Chebyshev nodes of the queries' range attend in place of L queries, and a polynomial through them gives the
rest: r · S exponentials in place of L · S. Whether r was enough is read off the polynomial's last coefficients, which
fall to the noise of float32 where it was (Trefethen 2013, Approximation Theory and Approximation Practice, chapter 8).

Values lie in rows here, (*leading, Ev, S): products of a few long rows with r longer ones take a tenth of the time that
the same products take as columns.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mirada.kernels import reference
from mirada.kernels.scores import Scores

NOISE = 1e-7  # of the numbers averaged: where float32's own rounding drowns the coefficients
WORTHWHILE = 4  # queries for each node, below which plain attention is as fast


def context(scores: Scores, value: Tensor) -> Tensor | None:
    """A @ V for query and key of one channel: (*leading, L, Ev). None where it can't be had this way."""
    if scores.width != 1 or not scores.unchanged or value.dtype != torch.float32 or scores.empty:
        return None
    times, keys = scores.query.squeeze(-1), scores.key.squeeze(-1)  # (*leading, L), (*leading, S)
    if scores.scale != 1:
        times = times * scores.scale
    nodes = _first_guess(times, keys)
    while nodes is not None and nodes * WORTHWHILE <= scores.queries:
        found, converged = _Interpolated.apply(times, keys, value.mT, nodes)
        if converged:
            return found.mT
        nodes = nodes * 3 // 2
    return None


@torch.no_grad()
def _first_guess(times: Tensor, keys: Tensor) -> int | None:
    """Nodes that are usually enough, from the largest score once both sides are centred."""
    spread = (times.amax(-1) - times.amin(-1)) * (keys.amax(-1) - keys.amin(-1)) / 4
    largest = float(spread.max())
    return 6 + math.ceil(3 * largest + 3 * min(largest, 3.0)) if math.isfinite(largest) else None


class _Interpolated(torch.autograd.Function):
    """g(t) for all queries at once, (*leading, Ev, L), and whether the polynomial has converged."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch leaves its arguments open
        ctx: Any, times: Tensor, keys: Tensor, value: Tensor, nodes: int
    ) -> tuple[Tensor, bool]:
        given = times, keys, value
        # Shifting all keys changes no weight, and differences from a mean lose fewer digits.
        keys, mean = keys - keys.mean(-1, keepdim=True), value.mean(-1, keepdim=True)
        value = value - mean
        low, high = times.amin(-1, keepdim=True), times.amax(-1, keepdim=True)  # (*leading, 1)
        middle, half = (high + low) / 2, ((high - low) / 2).clamp_min(torch.finfo(times.dtype).tiny)
        points, to_coefficients = chebyshev(nodes, times.dtype, times.device)
        at = middle + half * points  # (*leading, r)
        weights = torch.softmax(at[..., None] * keys[..., None, :], -1)  # (*leading, r, S)
        basis = polynomials((times - middle) / half, nodes)  # (*leading, r, L)
        differentiate = any(ctx.needs_input_grad)
        if not differentiate:
            coefficients = value @ weights.mT @ to_coefficients  # (*leading, Ev, r)
            return coefficients @ basis + mean, _converged(coefficients, value)
        # g'(t) is the covariance of key and value under the weights. It needs more nodes than g does.
        width, unit = value.shape[-2], keys.abs().max().clamp_min(torch.finfo(keys.dtype).tiny)
        key = (keys / unit)[..., None, :]
        averages = torch.cat([value, key * value, key], -2) @ weights.mT  # (*leading, 2 Ev + 1, r)
        values, products, key = averages.split([width, width, 1], -2)
        coefficients = torch.cat([values, products - key * values], -2) @ to_coefficients  # (*leading, 2 Ev, r)
        ctx.save_for_backward(*given, mean, at, weights, values, basis, coefficients[..., width:, :] * unit)
        ctx.set_materialize_grads(False)
        return coefficients[..., :width, :] @ basis + mean, _converged(coefficients, value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        times, keys, value, mean, at, weights, values, basis, slopes = ctx.saved_tensors
        grad = grads[0]
        if grad is None:
            return None, None, None, None
        if torch.is_grad_enabled():
            output = value @ torch.softmax(times[..., None] * keys[..., None, :], -1).mT
            return *reference.gradients((output,), (times, keys, value), (grad,)), None
        value = value - mean
        _, to_coefficients = chebyshev(at.shape[-1], at.dtype, at.device)
        grad_times = (grad * (slopes @ basis)).sum(-2)
        reaching = grad @ basis.mT @ to_coefficients.mT  # (*leading, Ev, r), the gradient at the nodes
        # The gradient of a key is Σ_n at_n w_n Σ_c reaching_cn (value_c − values_cn): one product gives all its sums.
        moved = reaching * at[..., None, :]
        sums = torch.cat([reaching, moved, (moved * values).sum(-2, keepdim=True)], -2) @ weights
        grad_value, moved, rest = sums.split([value.shape[-2], value.shape[-2], 1], -2)  # (*leading, …, S) each
        return grad_times, (moved * value).sum(-2) - rest[..., 0, :], grad_value, None


def _converged(coefficients: Tensor, value: Tensor) -> bool:
    """Whether the last of the coefficients (*leading, …, r) are rounding noise of such values."""
    return bool(coefficients[..., -2:].abs().max() <= NOISE * value.abs().max())


def polynomials(x: Tensor, count: int) -> Tensor:
    """The Chebyshev polynomials at x (*leading, L), T_0, T_1, −T_2, −T_3, T_4 …: (*leading, count, L).

    With signs in pairs the recurrence T_{n+1} = 2x T_n − T_{n−1} is a single operation a row.
    """
    rows = x.new_empty(count, *x.shape)
    before, last, *others = rows.unbind()
    before.fill_(1.0)
    last.copy_(x)
    twice = 2 * x
    for n, row in enumerate(others):
        torch.addcmul(before, twice, last, value=1 if n % 2 else -1, out=row)
        before, last = last, row
    return rows.movedim(0, -2)


@cache
def chebyshev(count: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The nodes (count,), zeros of T_count, and the matrix (count, count) from values there to coefficients, by rows.

    The coefficients are those of `polynomials`, signs in pairs included.
    """
    angles, order = (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / count), torch.arange(count)
    transform = torch.cos(angles[:, None] * order) * (2 / count) * (1 - 2 * (order // 2 % 2))
    transform[:, 0] /= 2
    return torch.cos(angles).to(device, dtype), transform.to(device, dtype)
