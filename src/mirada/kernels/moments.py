"""One channel that asks itself: where queries are a · x for keys and values x, each sum over keys follows from moments.

context_i = g(a x_i), with g(t) = Σ_j x_j e^{t x_j} / Σ_j e^{t x_j}: the mean of x, tilted by t. Between the least x
and the largest, e^{t x} is as good as a polynomial of degree r − 1, so the sums depend on the keys only through
Σ_j T_n(x_j) for n < r: r moments stand for S keys. And as in `interpolated` r queries stand for all. Of L × S
exponentials r × r are left, the same for all sequences at once. (Chebyshev's polynomials T_n, their nodes and the test
of convergence: Trefethen 2013, chapters 3 and 8.)
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mirada.kernels import reference
from mirada.kernels.chebyshev import NOISE, WORTHWHILE, chebyshev, polynomials

_STEEPEST = 6.0  # scores up to which sums of e^score by weights of either sign lose no digit of float32


def context(x: Tensor, stretch: Tensor) -> Tensor | None:
    """softmax(stretch · x xᵀ) x for x (*leading, L, 1), differentiable in ``stretch`` (one number).

    None where it can't be had this way, or where x wants a gradient.
    """
    if x.dtype != torch.float32 or x.is_mps or x.numel() == 0 or (x.requires_grad and torch.is_grad_enabled()):
        return None  # MPS has no float64
    low, high = map(float, torch.aminmax(x))
    # The largest score of a query with a key that is counted from the middle.
    steepest = abs(float(stretch.detach())) * max(high, -low) * (high - low) / 2
    if not (low < high and steepest <= _STEEPEST):
        return None
    nodes = 6 + math.ceil(3.3 * steepest)  # usually enough
    while nodes * WORTHWHILE <= x.shape[-2]:
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
        return context, float(coefficients[..., 0, -2:].abs().max()) <= NOISE * half

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
