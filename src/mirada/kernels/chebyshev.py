"""One channel: the context is a smooth function of a single number, so a few queries answer for all.

With E = 1 a query is a number t, and its context g(t) = Σ_j v_j e^{t k_j} / Σ_j e^{t k_j} is analytic around the real
line. So r Chebyshev nodes of the queries' range attend in place of L queries, and a polynomial through them gives the
rest: r · S exponentials in place of L · S. Whether r was enough is read off the polynomial's last coefficients, which
fall to the noise of float32 where it was (Trefethen 2013, Approximation Theory and Approximation Practice, chapter 8).

Values lie in rows here, (*leading, Ev, S): products of a few long rows with r longer ones take a tenth of the time that
the same products take as columns.

A channel that attends to itself needs less still. Where queries are a · x for keys and values x, context_i = g(a x_i)
with g(t) = Σ_j x_j e^{t x_j} / Σ_j e^{t x_j}: the mean of x, tilted by t. Between the least x and the largest, e^{t x}
is as good as a polynomial of degree r − 1, so the sums depend on the keys only through Σ_j T_n(x_j) for n < r: r
moments stand for S keys, and r queries for all. Of L × S exponentials r × r are left, the same for all sequences at
once. (Nodes and polynomials: chapter 3.)
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mirada.kernels import reference
from mirada.kernels.problem import Declined, Problem
from mirada.kernels.tuning import tuning


def refuses(problem: Problem) -> str | None:
    """What polynomials in a single number can't do."""
    scores, value = problem.scores, problem.value
    if scores.width != 1:
        return f"it is for one channel, these are {scores.width}"
    if not scores.unchanged:
        return "a mask or softcap makes a row more than a function of its query"
    if value is None or value.dtype != torch.float32:
        return "it is for float32"
    return problem.nothing


def context(problem: Problem) -> Tensor | Declined:
    """A @ V for query and key of one channel: (*leading, L, Ev)."""
    scores, value = problem.scores, problem.value
    assert value is not None
    times, keys = scores.query.squeeze(-1), scores.key.squeeze(-1)  # (*leading, L), (*leading, S)
    if scores.scale != 1:
        times = times * scores.scale
    nodes = _first_guess(times, keys)
    if nodes is None:
        return Declined("there are NaN or inf")
    while nodes * tuning.queries_per_node <= scores.queries:
        found, converged = _Interpolated.apply(times, keys, value.mT, nodes)
        if converged:
            return found.mT
        nodes = nodes * 3 // 2
    return Declined(f"it would take {nodes} nodes for {scores.queries} queries")


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
    return bool(coefficients[..., -2:].abs().max() <= tuning.noise * value.abs().max())


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


def of_itself(x: Tensor, stretch: Tensor) -> Tensor | None:
    """softmax(stretch · x xᵀ) x for x (*leading, L, 1), differentiable in ``stretch`` (one number).

    None where it can't be had this way, or where x wants a gradient.
    """
    if x.dtype != torch.float32 or x.is_mps or x.numel() == 0 or (x.requires_grad and torch.is_grad_enabled()):
        return None  # MPS has no float64
    low, high = map(float, torch.aminmax(x))
    # The largest score of a query with a key that is counted from the middle.
    steepest = abs(float(stretch.detach())) * max(high, -low) * (high - low) / 2
    if not (low < high and steepest <= tuning.steepest):
        return None
    nodes = 6 + math.ceil(3.3 * steepest)  # usually enough
    while nodes * tuning.queries_per_node <= x.shape[-2]:
        found, converged = _Tilted.apply(x.squeeze(-1), stretch, (high + low) / 2, (high - low) / 2, nodes)
        if converged:
            return found[..., None]
        nodes = nodes * 4 // 3
    return None


class _Tilted(torch.autograd.Function):
    """g(a x_i) for all i, (*leading, L), and whether the polynomials have converged."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - torch leaves its arguments open
        ctx: Any, x: Tensor, stretch: Tensor, middle: float, half: float, nodes: int
    ) -> tuple[Tensor, bool]:
        basis = polynomials((x - middle).div_(half), nodes)  # (*leading, r, L)
        # A few numbers a sequence cost as little in float64, and lose nothing there.
        points, to_coefficients = chebyshev(nodes, torch.float64, x.device)
        # Keys counted from the middle, in halves of the range: −1 to 1.
        tilts = torch.outer(stretch.double().flatten() * half * (half * points + middle), points).exp_()  # (r, r)
        sums = (tilts * _powers(nodes, x.device)).flatten(0, 1) @ to_coefficients  # (3 r, r), out of moments
        total, first, second = (basis.sum(-1).double() @ sums.mT).chunk(3, -1)  # (*leading, r) each
        mean = first / total
        functions = [half * mean + middle]  # g at the nodes, and g'
        if ctx.needs_input_grad[1]:
            functions.append((second / total - mean * mean).mul_(half * half))
        coefficients = torch.stack(functions, -2) @ to_coefficients  # (*leading, 2 or 1, r)
        context, *slope = (coefficients.to(x.dtype) @ basis).unbind(-2)  # (*leading, L) each
        if slope:
            ctx.save_for_backward(x, stretch, *slope)
            ctx.set_materialize_grads(False)
        return context, float(coefficients[..., 0, -2:].abs().max()) <= tuning.noise * half

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        x, stretch, slope = ctx.saved_tensors
        grad = grads[0]
        if grad is None:
            return None, None, None, None, None
        if torch.is_grad_enabled():
            scores = stretch * x[..., None] * x[..., None, :]
            output = (torch.softmax(scores, -1) @ x[..., None])[..., 0]
            return None, *reference.gradients((output,), (stretch,), (grad,)), None, None, None
        return None, (grad * x * slope).sum().view_as(stretch), None, None, None


@cache
def _powers(count: int, device: torch.device) -> Tensor:
    """The nodes to the powers 0, 1 and 2: (3, 1, count), float64."""
    points, _ = chebyshev(count, torch.float64, device)
    return torch.stack([points**power for power in range(3)])[:, None]
