"""One channel: the context is a smooth function of a single number, so a few queries answer for all.

With E = 1 a query is a number t, and its context g(t) = Σ_j v_j e^{t k_j} / Σ_j e^{t k_j} is analytic around the real
line. So r Chebyshev nodes of the queries' range attend in place of L queries, and a polynomial through them gives the
rest: r · S exponentials in place of L · S. Whether r was enough is read off the polynomial's last coefficients, which
fall to the noise of float32 where it was (Trefethen 2013, Approximation Theory and Approximation Practice, chapter 8).
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mirada.kernels import plain
from mirada.kernels.scores import Scores

_NOISE = 1e-7  # of the numbers averaged: where float32's own rounding drowns the coefficients
_WORTHWHILE = 4  # queries for each node, below which plain attention is as fast


def context(scores: Scores, value: Tensor) -> Tensor | None:
    """A @ V for query and key of one channel: (*leading, L, Ev). None where it can't be had this way."""
    if scores.width != 1 or scores.mask is not None or value.dtype != torch.float32 or scores.empty:
        return None
    # Shifting all keys changes no weight, and differences from a mean lose fewer digits.
    times, keys = scores.query[..., 0] * scores.scale, scores.key[..., 0]  # (*leading, L), (*leading, S)
    keys, mean = keys - keys.mean(-1, keepdim=True), value.mean(-2, keepdim=True)
    nodes = _first_guess(times.detach(), keys.detach())
    while nodes is not None and nodes * _WORTHWHILE <= scores.queries:
        found, converged = _Interpolated.apply(times, keys, value - mean, nodes)
        if converged:
            return found + mean
        nodes = nodes * 3 // 2
    return None


def _first_guess(times: Tensor, keys: Tensor) -> int | None:
    """Nodes that are usually enough, from the largest score once both sides are centred."""
    spread = (times.amax(-1) - times.amin(-1)) * (keys.amax(-1) - keys.amin(-1)) / 4
    largest = float(spread.max())
    return 6 + math.ceil(3 * largest + 3 * min(largest, 3.0)) if math.isfinite(largest) else None


class _Interpolated(torch.autograd.Function):
    """g(t) for all queries at once, and whether the polynomial has converged."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch leaves its arguments open
        ctx: Any, times: Tensor, keys: Tensor, value: Tensor, nodes: int
    ) -> tuple[Tensor, bool]:
        low, high = times.amin(-1, keepdim=True), times.amax(-1, keepdim=True)  # (*leading, 1)
        middle, half = (high + low) / 2, ((high - low) / 2).clamp_min(torch.finfo(times.dtype).tiny)
        points, to_coefficients = _chebyshev(nodes, times.dtype, times.device)
        at = middle + half * points  # (*leading, r)
        weights = torch.softmax(at[..., None] * keys[..., None, :], -1)  # (*leading, r, S)
        basis = _polynomials((times - middle) / half, nodes)  # (*leading, r, L)
        column, width, size = keys[..., None], value.shape[-1], value.abs().max()
        differentiate = any(ctx.needs_input_grad)
        # One product for all the means that are wanted.
        averaged = torch.cat([value, column * value, column], -1) if differentiate else value
        means = weights @ averaged  # (*leading, r, Ev or 2 Ev + 1)
        values = means[..., :width]
        coefficients = to_coefficients @ values
        converged = _converged(coefficients, size)
        if converged and differentiate:
            # g'(t) is the covariance of key and value under the weights. It needs more nodes than g does.
            slopes = to_coefficients @ (means[..., width:-1] - means[..., -1:] * values)
            converged = _converged(slopes, size * keys.abs().max())
            ctx.save_for_backward(times, keys, value, at, weights, values, basis, slopes)
        ctx.set_materialize_grads(False)
        return basis.mT @ coefficients, converged

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        times, keys, value, at, weights, values, basis, slopes = ctx.saved_tensors
        grad = grads[0]
        if grad is None:
            return None, None, None, None
        if torch.is_grad_enabled():
            output = torch.softmax(times[..., None] * keys[..., None, :], -1) @ value
            return *plain.gradients((output,), (times, keys, value), (grad,)), None
        _, to_coefficients = _chebyshev(at.shape[-1], at.dtype, at.device)
        grad_times = (grad * (basis.mT @ slopes)).sum(-1)
        reaching = to_coefficients.mT @ (basis @ grad)  # (*leading, r, Ev), the gradient at the nodes
        pull = reaching @ value.mT - (reaching * values).sum(-1, keepdim=True)  # (*leading, r, S)
        grad_keys = (at[..., None] * weights * pull).sum(-2)
        return grad_times, grad_keys, weights.mT @ reaching, None


def _converged(coefficients: Tensor, size: Tensor) -> bool:
    """Whether the last of the coefficients (*leading, r, Ev) are rounding noise of numbers of this size."""
    return bool(coefficients[..., -2:, :].abs().max() <= _NOISE * size)


def _polynomials(x: Tensor, count: int) -> Tensor:
    """The Chebyshev polynomials T_0 … T_{count−1} at x (*leading, L): (*leading, count, L)."""
    rows = [torch.ones_like(x), x]
    twice = 2 * x
    for _ in range(count - 2):
        rows.append(torch.addcmul(-rows[-2], twice, rows[-1]))
    return torch.stack(rows, -2)


@cache
def _chebyshev(count: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The nodes (count,), zeros of T_count, and the matrix (count, count) from values there to coefficients."""
    angles = (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / count)
    transform = torch.cos(torch.arange(count)[:, None] * angles) * (2 / count)
    transform[0] /= 2
    return torch.cos(angles).to(device, dtype), transform.to(device, dtype)
