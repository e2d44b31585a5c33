"""The steps of a generation, stitched: the attention of one forward over the whole text."""

from __future__ import annotations

import pytest
import torch

import mirada
from attending import Cached, Direct

STEPS = {"token by token": [1] * 9, "prefill first": [5, 1, 1, 1, 1], "in pieces": [3, 4, 2]}


def generated(model, x, steps):
    model.clear()
    with torch.no_grad(), mirada.watch(model) as records:
        for part in x.split(steps, 1):
            model(part)
    return records


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("kind", ["growing", "fixed", "sliding"])
def test_stitched_it_is_one_forward(kind, steps):
    torch.manual_seed(0)
    model, x = Cached(kind), torch.randn(2, 9, 16)
    whole = generated(model, x, [9])[0].matrix.to_dense()
    records = generated(model, x, STEPS[steps])
    stitched = records.stitched()[""]
    keys = min(whole.shape[-1], stitched.shape[-1])
    torch.testing.assert_close(stitched.matrix.to_dense()[..., :keys], whole[..., :keys])
    assert not stitched.matrix.to_dense()[..., keys:].any()
    assert stitched.shape[-2] == 9
    assert stitched.value.shape[-2] == stitched.shape[-1]


def test_steps_without_masks_become_a_rule_that_costs_nothing():
    """A causal prefill and single queries that see all: the stitched mask is no tensor."""

    class Plain(Cached):
        def forward(self, x):
            query, key, value = self.attn.split(x)
            self.keys = key if self.keys is None else torch.cat([self.keys, key], -2)
            self.values = value if self.values is None else torch.cat([self.values, value], -2)
            causal = x.shape[1] > 1
            return torch.nn.functional.scaled_dot_product_attention(query, self.keys, self.values, is_causal=causal)

    torch.manual_seed(0)
    model, x = Plain("growing"), torch.randn(2, 9, 16)
    whole = generated(model, x, [9])[0].matrix.to_dense()
    stitched = generated(model, x, [5, 1, 1, 1, 1]).stitched()[0]
    assert repr(stitched.mask) == repr(mirada.masks.causal(9))
    torch.testing.assert_close(stitched.matrix.to_dense(), whole)


def test_what_is_no_generation_is_refused():
    torch.manual_seed(0)
    model = Direct()
    with mirada.watch(model) as records:
        model(torch.randn(2, 5, 16))
        model(torch.randn(2, 5, 16))
    with pytest.raises(ValueError, match="does not continue the keys"):
        records.stitched()
    with mirada.watch(model) as records:
        model(torch.randn(2, 5, 16))
        model(torch.randn(3, 5, 16))
    with pytest.raises(ValueError, match="not the steps of one generation"):
        records.stitched()


def test_a_sink_is_the_last_key_of_what_is_stitched():
    """Single queries with the same keys and a score that no key has: one matrix with that score beside the keys."""

    class Sunk(torch.nn.Module):
        def forward(self, query, key, value):
            scores = torch.cat([query @ key.mT / 8**0.5, torch.full((1, 2, 1, 1), 0.3)], -1)
            return scores.softmax(-1)[..., :-1] @ value

    torch.manual_seed(0)
    model, key, value, queries = Sunk(), torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8), torch.randn(3, 1, 2, 1, 8)
    with torch.no_grad(), mirada.watch(model) as records:
        for query in queries:
            model(query, key, value)
    scores = torch.cat([torch.cat(list(queries), -2) @ key.mT / 8**0.5, torch.full((1, 2, 3, 1), 0.3)], -1)
    torch.testing.assert_close(records.stitched()[0].matrix.to_dense(), scores.softmax(-1))
