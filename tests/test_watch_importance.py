"""The gradient of each head's gate, against finite differences of real gates."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mirada
from attending import Direct, Layers

STEP = 1e-4


class Gated(nn.Module):
    """Three layers of self-attention over (N, 6, 16) in float64, each head's context multiplied with a gate."""

    def __init__(self, heads=4):
        super().__init__()
        torch.manual_seed(0)
        self.heads = heads
        self.projections = nn.ModuleList(nn.Linear(16, 48) for _ in range(3))
        self.outputs = nn.ModuleList(nn.Linear(16, 16) for _ in range(3))
        self.double()
        self.gates = torch.ones(3, 1, heads, dtype=torch.float64)  # (layers, examples or 1, heads)

    def forward(self, x):
        for project, output, gates in zip(self.projections, self.outputs, self.gates, strict=True):
            query, key, value = project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            context = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
            x = x + output((context * gates[..., None, None]).transpose(1, 2).flatten(2)).tanh()
        return x


def score_of(x):
    return (x[:, -1, :3] ** 2).sum() + x[:, 2, 5].sum()


@pytest.mark.parametrize("examples", [1, 3])
def test_it_equals_finite_differences_of_real_gates(examples):
    torch.manual_seed(1)
    model, x = Gated(), torch.randn(examples, 6, 16, dtype=torch.float64)
    with mirada.watch(model) as records:
        score = score_of(model(x))
    found = records.importance(score)
    expected = torch.zeros(3, examples, 4, dtype=torch.float64)
    for layer, example, head in torch.cartesian_prod(*map(torch.arange, expected.shape)).tolist():
        scores = []
        for by in (STEP, -STEP):
            model.gates = torch.ones(3, examples, 4, dtype=torch.float64)
            model.gates[layer, example, head] += by
            scores.append(score_of(model(x)).item())
        expected[layer, example, head] = (scores[0] - scores[1]) / (2 * STEP)
    assert found.shape == (3, 4)
    torch.testing.assert_close(found, expected.abs().sum(1), rtol=0, atol=1e-6)
    assert float(found.max()) > 0.1


def test_the_graph_is_left_as_it_was():
    model, x = Layers(2), torch.randn(2, 6, 16)
    with mirada.watch(model) as records:
        score = model(x).square().sum()
    torch.testing.assert_close(records.importance(score), records.importance(score))
    score.backward()


def test_heads_that_a_score_does_not_depend_on_count_nothing():
    first, second = Direct(), Direct()
    model = nn.ModuleList([first, second])
    model.forward = lambda x: (first(x), second(x))
    with mirada.watch(model) as records:
        one, _ = model(torch.randn(1, 6, 16))
    found = records.importance(one.sum())
    assert (found[0] > 0).all()
    assert (found[1] == 0).all()


@pytest.mark.parametrize("score", [torch.tensor(1.0), torch.ones(2, requires_grad=True), 1.0])
def test_a_score_without_a_graph_is_refused(score):
    with mirada.watch(model := Direct()) as records:
        model(torch.randn(1, 6, 16))
    with pytest.raises(ValueError, match="score must be a single number with a graph"):
        records.importance(score)


def test_what_was_watched_without_gradients_is_refused():
    with torch.no_grad(), mirada.watch(model := Direct()) as records:
        model(torch.randn(1, 6, 16))
    with pytest.raises(ValueError, match="has no graph"):
        records.importance(torch.ones((), requires_grad=True))


def test_layers_of_different_numbers_of_heads_are_refused():
    model = nn.ModuleList([nn.MultiheadAttention(8, 2), nn.MultiheadAttention(8, 4)])
    model.forward = lambda x: model[0](x, x, x)[0] + model[1](x, x, x)[0]
    with mirada.watch(model) as records:
        score = model(torch.randn(3, 1, 8)).sum()
    with pytest.raises(ValueError, match=r"different numbers of heads, \[2, 4\]"):
        records.importance(score)
    assert records.__class__(records[:1]).importance(score).shape == (1, 2)
