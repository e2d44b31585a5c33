"""FlexAttention: its functions are asked for just the pairs that are wanted."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import mirada
from mirada.interventions import uniform

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without")

L, HEADS = 40, 4
OFFSETS = torch.linspace(-0.2, 0.2, HEADS)
DOCUMENTS = torch.arange(L).expand(2, L) // torch.tensor([[7], [16]])

SCORES = {
    "none": None,
    "added": lambda score, b, h, i, j: score + OFFSETS[h] * (i - j),
    "hiding": lambda score, b, h, i, j: torch.where(i >= j, score, -torch.inf),
}
MASKS = {
    "none": (None, None, None),
    "documents": (lambda b, h, i, j: (i >= j) & (DOCUMENTS[b, i] == DOCUMENTS[b, j]), 2, None),
    "per head": (lambda b, h, i, j: (i - j < 3 * (h + 1)) & (i >= j), None, HEADS),
}


class Flex(nn.Module):
    def __init__(self, score_mod, mask):
        super().__init__()
        mask_mod, batch, heads = mask
        self.score_mod = score_mod
        self.mask = mask_mod and create_block_mask(mask_mod, batch, heads, L, L, device="cpu")

    def forward(self, query, key, value):
        return flex_attention(query, key, value, self.score_mod, self.mask, enable_gqa=True)


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    return torch.randn(2, HEADS, L, 8), torch.randn(2, 2, L, 8), torch.randn(2, 2, L, 8)


def expected(query, key, score_mod, mask_mod):
    """The weights, one pair at a time as the functions are written."""
    scores = query.double() @ key.double().repeat_interleave(2, 1).mT / 8**0.5
    for b, h in [(b, h) for b in range(2) for h in range(HEADS)]:
        i, j = torch.arange(L)[:, None].expand(L, L), torch.arange(L).expand(L, L)
        batch, head = torch.full_like(i, b), torch.full_like(i, h)
        if score_mod is not None:
            scores[b, h] = score_mod(scores[b, h], batch, head, i, j)
        if mask_mod is not None:
            scores[b, h] = scores[b, h].masked_fill(~mask_mod(batch, head, i, j), -torch.inf)
    return scores.softmax(-1)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("mask", MASKS)
def test_matrix_and_output(tensors, score, mask):
    model = Flex(SCORES[score], MASKS[mask])
    with torch.no_grad(), mirada.watch(model) as records:
        context = model(*tensors)
    weights = expected(tensors[0], tensors[1], SCORES[score], MASKS[mask][0])
    assert records[0].how == "flex_attention"
    torch.testing.assert_close(records[0].matrix.to_dense().double(), weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        context.double(), weights @ tensors[2].double().repeat_interleave(2, 1), rtol=0, atol=1e-5
    )
    tile = records[0].matrix.tile((8, 40), (0, 20), (4, 5)).double()
    blocks = weights[..., 8:, :20].unflatten(-1, (5, 4)).sum(-1).unflatten(-2, (4, 8)).mean(-2)
    torch.testing.assert_close(tile, blocks, rtol=0, atol=1e-5)


def test_heads_and_edits(tensors):
    model = Flex(SCORES["added"], MASKS["per head"])
    with torch.no_grad():
        with mirada.watch(model) as whole:
            model(*tensors)
        with mirada.watch(model, heads=[3, 1]) as records:
            model(*tensors)
        with mirada.watch(model, edit=uniform(heads=2)) as edited:
            context = model(*tensors)
    torch.testing.assert_close(records[0].matrix.to_dense(), whole[0].matrix.to_dense()[:, [3, 1]])
    assert edited[0].matrix.to_dense()[0, 2, 1].tolist() == [0.5, 0.5, *[0.0] * 38]
    torch.testing.assert_close(edited[0].matrix.to_dense() @ edited[0].call.values(), context)


def test_a_score_mod_that_does_more_than_add_is_seen_but_not_asked(tensors):
    model = Flex(lambda score, b, h, i, j: 5 * torch.tanh(score / 5), MASKS["none"])
    with torch.no_grad(), mirada.watch(model) as records:
        model(*tensors)
    assert records[0].query.shape == (2, HEADS, L, 8)
    with pytest.raises(ValueError, match="does more than add"):
        records[0].matrix  # noqa: B018
    refused = pytest.raises(ValueError, match="watch with keep='inputs'")
    with torch.no_grad(), refused, mirada.watch(model, keep="statistics"):
        model(*tensors)


def test_both_of_two_nested_watches_see_it(tensors):
    model = Flex(SCORES["added"], MASKS["documents"])
    with torch.no_grad(), mirada.watch(model) as outer, mirada.watch(model, keep="statistics") as inner:
        model(*tensors)
    torch.testing.assert_close(inner[0].answers["entropy"], outer[0].matrix.entropy())
