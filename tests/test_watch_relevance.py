"""Attention × gradient in blocks, against the same with every weight written out."""

from __future__ import annotations

import pytest
import torch

import mirada
from attending import Direct, Layers


def written_out(record, score_of):
    """mean over heads of (A ∘ ∂score/∂A)⁺ by autograd through the weights themselves."""
    weights = record.matrix.to_dense().detach().requires_grad_()
    (gradient,) = torch.autograd.grad(score_of(weights @ record.call.values().detach()), weights)
    return (weights * gradient).clamp(min=0).mean(1).detach()


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 6, 16)


@pytest.mark.parametrize("form", [{}, {"is_causal": True}, {"attn_mask": torch.linspace(-3, 3, 36).view(6, 6)}])
def test_it_equals_the_weights_written_out(x, form):
    model = Direct(**form)
    with mirada.watch(model) as records:
        context = model(x)
    found = records[0].relevance((context**2).sum())
    expected = written_out(records[0], lambda context: (context**2).sum())
    v = torch.randn(2, 6, 3)
    assert found.shape == (2, 6, 6)
    torch.testing.assert_close(found.rows(range(6)), expected)
    torch.testing.assert_close(found @ v, expected @ v)
    torch.testing.assert_close(found.transposed(v), expected.mT @ v)
    torch.testing.assert_close(found.received(), expected.sum(-2))


def test_through_layers_it_is_chefers_rule(x):
    model = Layers(3)
    with mirada.watch(model) as records:
        score = model(x)[0, -1].square().sum()
    layers = [record.relevance(score).rows(range(6)) for record in records]
    expected = torch.eye(6).expand(2, 6, 6)
    for layer in layers:
        expected = expected + layer @ expected
    torch.testing.assert_close(records.relevance(score, position=-1), expected[:, -1])
    assert torch.equal(records.relevance(score, position=-1)[1], torch.eye(6)[-1])  # the score is of the first example


def test_checkpointed_forwards_have_it_too(x):
    from torch.utils.checkpoint import checkpoint

    class Checkpointed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = Direct()

        def forward(self, x):
            return checkpoint(self.attn, x, use_reentrant=False)

    model = Checkpointed()
    with mirada.watch(model) as records:
        context = model(x)
    expected = written_out(records[0], lambda context: (context**2).sum())
    torch.testing.assert_close(records[0].relevance((context**2).sum()).rows(range(6)), expected)


def test_a_matrix_is_differentiable_in_the_models_parameters(x):
    model = Direct()
    with mirada.watch(model) as records:
        model(x)
    records[0].matrix.entropy().sum().backward()
    assert model.query.weight.grad.any()
    assert model.key.weight.grad.any()


def test_bad_input(x):
    model = Layers(2)
    with mirada.watch(model) as records:
        out = model(x)
    with pytest.raises(ValueError, match="single number"):
        records[0].relevance(out)
    with pytest.raises(ValueError, match="with a graph"):
        records[0].relevance(out.detach().sum())
    with pytest.raises(IndexError, match="between -6 and 5"):
        records.relevance(out.sum(), position=6)
    with torch.no_grad(), mirada.watch(model) as records:
        model(x)
    with pytest.raises(ValueError, match="has no graph"):
        records[0].relevance(out.sum())
    crossing = Direct()
    with mirada.watch(crossing) as records:
        out = crossing(x, x[:, :3])
    with pytest.raises(ValueError, match="self-attention"):
        records.relevance(out.sum(), position=0)
