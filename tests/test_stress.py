"""A long hunt: random problems of every kind, dtype and stride, each asked every question.

A plain run asks a few hundred; ``MIRADA_EXAMPLES=5000 pytest -m slow tests/test_stress.py`` asks 20,000.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drawn import problems
from mirada.kernels.tuning import changed
from test_matrix import DTYPES, assert_as_exact, drawn_tensor, plain_dense


@pytest.fixture(autouse=True, scope="module")
def without_the_matrix() -> Iterator[None]:
    """Small matrices would be formed outright: here they stand for large ones."""
    with changed(few_weights=0):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_products_entropies_and_gradients(dtype: torch.dtype, data):
    problem = data.draw(problems(dtype, smallest=1))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**32)))
    query, key = problem.query.clone().requires_grad_(), problem.key.clone().requires_grad_()
    asked = type(problem)(query, key, problem.mask, problem.scale, problem.enable_gqa)
    matrix, exact, plain = asked.matrix, problem.weights(), plain_dense(problem)
    *leading, queries, keys = matrix.shape
    value = drawn_tensor(data, generator, *leading, keys).to(dtype)
    x = drawn_tensor(data, generator, *leading, queries).to(dtype)
    context = matrix @ value
    assert_as_exact(problem, context.detach(), exact @ value.double(), plain @ value)
    assert_as_exact(problem, (matrix.T @ x).detach(), exact.mT @ x.double(), plain.mT @ x)
    entropy = -torch.special.xlogy(exact, exact).sum(-1)
    assert_as_exact(problem, matrix.entropy().detach(), entropy, -torch.special.xlogy(plain, plain).sum(-1))
    tile = matrix.tile((0, queries), (0, keys), (1, keys)).detach()
    assert_as_exact(problem, tile, exact.mean(-2, keepdim=True), plain.mean(-2, keepdim=True))

    direction = torch.randn(context.shape, generator=generator, dtype=torch.float64).to(dtype)
    exact_inputs = [t.double().clone().requires_grad_() for t in (problem.query, problem.key)]
    plain_inputs = [t.clone().requires_grad_() for t in (problem.query, problem.key)]
    exact_context = problem.weights(*exact_inputs) @ value.double()
    plain_context = plain_dense(type(problem)(*plain_inputs, problem.mask, problem.scale, problem.enable_gqa)) @ value
    found = torch.autograd.grad(context, (query, key), direction)
    wanted = torch.autograd.grad(exact_context, exact_inputs, direction.double())
    theirs = torch.autograd.grad(plain_context, plain_inputs, direction)
    # A score's gradient is a difference of products with the values, and multiplies a key or a query.
    pull = float(direction.double().norm(dim=-1).max() * value.double().norm(dim=-1).max()) * abs(problem.scale)
    reach = max(float(t.detach().abs().max()) for t in exact_inputs)
    for one, truth, other in zip(found, wanted, theirs, strict=True):
        assert_as_exact(problem, one, truth, other.nan_to_num(0.0), factor=3.0, size=max(1.0, pull * reach))
