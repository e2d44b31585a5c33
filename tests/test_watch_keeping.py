"""What is kept of a call: references, copies where somebody writes, or answers only."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

import mirada
from attending import Cached, Direct, Layers
from mirada.kernels.tuning import changed
from mirada.watching.statistics import known


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 6, 16)


def test_projections_are_kept_by_reference(x):
    class Remembering(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = Direct()

        def forward(self, x):
            self.parts = self.attn.split(x)
            return functional.scaled_dot_product_attention(*self.parts)

    model = Remembering()
    with torch.no_grad(), mirada.watch(model) as records:
        model(x)
    kept = (records[0].query, records[0].key, records[0].value)
    assert [tensor.data_ptr() for tensor in kept] == [tensor.data_ptr() for tensor in model.parts]


def test_a_cache_that_is_written_to_is_copied(x):
    model = Cached("fixed")
    with torch.no_grad(), mirada.watch(model) as records:
        model(x)
        before = records[0].matrix.to_dense()
        model(x)
    assert records[0].key.data_ptr() != model.keys.data_ptr()
    torch.testing.assert_close(records[0].matrix.to_dense(), before)


def test_a_cache_that_grows_is_kept_once(x):
    model = Cached("growing")
    with torch.no_grad(), mirada.watch(model) as records:
        for _ in range(3):
            model(x)
    assert {record.key.data_ptr() for record in records} == {records[-1].key.data_ptr()}
    assert [record.key.shape[-2] for record in records] == [6, 12, 18]


def test_inference_mode(x):
    model = Cached("fixed")
    with torch.inference_mode(), mirada.watch(model) as records:
        model(x)
        before = records[0].matrix.to_dense()
        model(x)
        assert torch.equal(records[0].matrix.to_dense(), before)


def test_a_write_that_nobody_could_foresee_is_an_error(x):
    model = Direct()
    with torch.no_grad(), mirada.watch(model) as records:
        model(x)
        records[0].query.zero_()
    with pytest.raises(ValueError, match="written to in place"):
        records[0].matrix  # noqa: B018


def test_a_mask_shared_by_all_layers_is_copied_once(x):
    mask = torch.zeros(6, 6).fill_(-1.0)  # written to: copied
    model = Layers(3, attn_mask=mask)
    with torch.no_grad(), mirada.watch(model) as records:
        model(x)
    masks = {record.call.masks[0].data_ptr() for record in records}
    assert len(masks) == 1
    assert mask.data_ptr() not in masks


def test_a_copy_of_a_broadcast_mask_stays_broadcast(x):
    mask = torch.ones(6).zero_().expand(2, 4, 6, 6)
    model = Direct(attn_mask=mask)
    with mirada.watch(model) as records:
        model(x)
    assert records[0].call.masks[0].untyped_storage().nbytes() == 6 * 4


def test_device_takes_what_is_kept_elsewhere(x):
    model = Layers(2, attn_mask=torch.ones(6, 6, dtype=torch.bool))
    with mirada.watch(model, device="meta") as records:
        model(x)
    assert {t.device.type for t in (records[0].query, records[0].key, records[0].value, *records[0].call.masks)} == {
        "meta"
    }
    assert not records[0].query.requires_grad


def test_summaries_are_asked_on_the_spot(x):
    model = Layers(2, is_causal=True)
    with mirada.watch(model) as whole:
        model(x)
    with mirada.watch(model, keep="statistics") as records:
        model(x)
    matrix, answers = whole[1].matrix, records[1].answers
    torch.testing.assert_close(answers["entropy"], matrix.entropy().detach())
    torch.testing.assert_close(answers["received"], matrix.received().detach())
    torch.testing.assert_close(answers["map"], matrix.to_dense().detach())
    with pytest.raises(ValueError, match="were let go"):
        records[1].matrix  # noqa: B018
    with pytest.raises(ValueError, match="were let go"):
        records[1].value  # noqa: B018


def test_questions_are_chosen_or_ones_own(x):
    model = Layers(1)
    with mirada.watch(model, keep="statistics", ask=["entropy"]) as records:
        model(x)
    assert list(records[0].answers) == ["entropy"]
    with mirada.watch(model, keep="statistics", ask={"best": lambda matrix: matrix.topk(1)}) as records:
        model(x)
    weights, indices = records[0].answers["best"]
    assert weights.shape == indices.shape == (2, 4, 6, 1)
    with pytest.raises(ValueError, match="known are entropy, received, map"):
        mirada.watch(model, keep="statistics", ask=["entropie"])
    with pytest.raises(TypeError, match="must be a function"):
        mirada.watch(model, keep="statistics", ask={"best": 3})  # type: ignore[dict-item]


def test_a_long_sequence_in_little_memory():
    """128 MiB of weights a head, which never exist: the map of the whole is asked on the spot."""
    model, x = Direct(heads=1), torch.randn(1, 6000, 16)
    with torch.no_grad(), mirada.watch(model, keep="statistics", ask=["map"]) as records:
        model(x)
    torch.testing.assert_close(records[0].answers["map"].sum(-1), torch.ones(1, 1, 64))


@pytest.mark.parametrize("length", [5, 300])
@pytest.mark.parametrize("hidden", ["nothing", "later keys", "some rows wholly"])
@pytest.mark.parametrize("cached", [1 << 10, 1 << 19])
def test_summaries_equal_the_questions_asked_one_by_one(length, hidden, cached):
    torch.manual_seed(0)
    mask = torch.ones(length, length, dtype=torch.bool)
    mask = {"nothing": mask, "later keys": mask.tril(), "some rows wholly": mask.tril(-2)}[hidden]
    query, key = torch.randn(2, 2, 3, length, 8).double()
    matrix = mirada.AttentionMatrix(query, key, mask)
    weights = matrix.to_dense()
    with changed(few_weights=0, cached=cached):  # head by head, or all at once
        found = known(mirada.AttentionMatrix(query.float(), key.float(), mask))
    bins, own = min(64, length), torch.arange(length)
    # Bin n begins at n · length // bins.
    indicator = torch.stack([(own >= n * length // bins) & (own < (n + 1) * length // bins) for n in range(bins)])
    indicator = indicator.double()
    expected = {
        "entropy": torch.special.entr(weights).sum(-1),
        "received": weights.sum(-2),
        "map": (indicator / indicator.sum(-1, keepdim=True)) @ weights @ indicator.mT,
    }
    for name, answer in expected.items():
        torch.testing.assert_close(found[name].double(), answer, rtol=0, atol=2e-5)


def test_keys_that_are_no_numbers_count_for_nothing_where_hidden(x):
    query, key = torch.randn(2, 4, 6, 8)
    key[:, 4:] = torch.nan
    answers = known(mirada.AttentionMatrix(query, key, torch.arange(6) < 4))
    alone = known(mirada.AttentionMatrix(query, key[:, :4]))
    torch.testing.assert_close(answers["entropy"], alone["entropy"])
    torch.testing.assert_close(answers["received"][:, :4], alone["received"])
    assert not answers["received"][:, 4:].any()
