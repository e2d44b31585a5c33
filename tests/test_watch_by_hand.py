"""Attention written out by hand is seen where it can be followed, and named where it can't."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mirada
from attending import Written, merged
from mirada.interventions import uniform

WAYS = ["masked_fill", "added", "einsum", "folded", "biased_then_scaled", "cosine", "ellipsis"]


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 6, 16)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_followed_from_product_to_product(x, way):
    model = Written(way).eval()
    unwatched = model(x)
    with mirada.watch(model) as records:
        watched = model(x)
    assert torch.equal(watched, unwatched)
    assert records[0].how == "by hand"
    assert records[0].shape == (2, 4, 6, 6)
    torch.testing.assert_close(records[0].matrix.to_dense(), model.weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(merged(records[0].matrix @ records[0].value), watched, rtol=0, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_it_can_be_edited(x, way):
    model = Written(way).eval()
    with torch.no_grad(), mirada.watch(model, edit=uniform(heads=1)) as records:
        context = model(x)
    torch.testing.assert_close(records[0].matrix.to_dense()[0, 1, 2], torch.tensor([1, 1, 1, 0, 0, 0]) / 3)
    torch.testing.assert_close(merged(records[0].matrix @ records[0].value), context)


def test_a_sink_is_a_key_of_its_own(x):
    model = Written("sink").eval()
    unwatched = model(x)
    with mirada.watch(model) as records:
        watched = model(x)
    assert torch.equal(watched, unwatched)
    assert records[0].shape == (2, 4, 6, 7)
    torch.testing.assert_close(records[0].matrix.to_dense(), model.weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(merged(records[0].matrix @ records[0].value), watched, rtol=0, atol=1e-6)


def test_its_dropout_is_known(x):
    model = Written("masked_fill").train()
    with mirada.watch(model) as records:
        model(x)
    assert records[0].dropout_p == 0.1


@pytest.mark.parametrize("way", ["capped", "overwritten", "turned_over", "negated"])
def test_where_a_step_is_not_followed_the_weights_themselves_are_kept(x, way):
    model = Written(way)
    with torch.no_grad(), mirada.watch(model) as records:
        context = model(x)
    torch.testing.assert_close(records[0].matrix.to_dense(), model.weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(merged(records[0].matrix @ records[0].value), context, rtol=0, atol=1e-6)


def test_weights_that_are_changed_after_their_softmax_are_named(x):
    model = Written("reweighted")
    changed = pytest.raises(ValueError, match="the model: its weights are changed after the softmax, by mul")
    with changed, mirada.watch(model):
        model(x)


def test_gates_are_no_attention(x):
    """A softmax over experts or codes, times one matrix for all examples."""

    class Gated(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.attn, self.codes = Written("added"), torch.randn(16, 16)

        def forward(self, x):
            return self.attn(x) + torch.softmax(x, -1) @ self.codes

    model = Gated()
    with mirada.watch(model) as records:
        model(x)
    assert records.names() == ["attn"]
    assert not records.unseen


class StrongestPoints(nn.Module):
    """Finds points in a picture of chances: a softmax over classes, of which chosen places are then picked."""

    def forward(self, x):
        chances = x.softmax(1)[:, :-1].permute(0, 2, 3, 1).reshape(1, 4, 4, 2, 2)
        chances = chances.permute(0, 1, 3, 2, 4).reshape(1, 8, 8)
        (found,) = chances * (chances > 0.1)
        places = torch.nonzero(found > 0.15)
        strong = found[tuple(places.t())]
        return strong[(places[:, 0] >= 1) & (places[:, 0] < 7)][:3]


class AttentionAndPoints(nn.Module):
    def __init__(self):
        super().__init__()
        self.points = StrongestPoints()

    def forward(self, x):
        return nn.functional.scaled_dot_product_attention(x, x, x).sum() + self.points(x[:, :5, :, :4]).sum()


def test_a_softmax_over_classes_whose_places_are_picked_is_no_attention():
    torch.manual_seed(0)
    with mirada.watch(model := AttentionAndPoints()) as records:
        model(torch.randn(1, 5, 4, 4))
    assert len(records) == 1
    assert not records.unseen
