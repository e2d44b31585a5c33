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


CHANGING = {
    "softcap": lambda score, b, h, i, j: 5 * torch.tanh(score / 5),
    "a temperature a head": lambda score, b, h, i, j: score * torch.tensor([1.0, 2.0, 0.5, 4.0])[h],
    "in one example": lambda score, b, h, i, j: torch.where(b == 1, score * 2, score),
    "second diagonal": lambda score, b, h, i, j: torch.where(i - j == 2, score * 3, score),
}


@pytest.mark.parametrize("score", CHANGING)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_score_mod_that_does_more_than_add(tensors, score, mask):
    """The output stays the model's own to the bit, and the weights are those that it had."""
    model = Flex(CHANGING[score], MASKS[mask])
    with torch.no_grad():
        plain = model(*tensors)
        with mirada.watch(model) as records:
            context = model(*tensors)
    assert torch.equal(context, plain)
    weights = expected(tensors[0], tensors[1], CHANGING[score], MASKS[mask][0])
    torch.testing.assert_close(records[0].matrix.to_dense().double(), weights, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [8, 3000])
@pytest.mark.parametrize("held", ["tensor", "attribute"])
def test_what_a_mask_mod_holds_may_be_written_to_later(size, held):
    """A decoder's counter goes on: the earlier record shows what was, or says that it can't."""

    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.pos, self.count = torch.zeros(1, dtype=torch.long), 0

        def forward(self, q, k):
            pos = self.pos

            def of_tensor(b, h, i, j):
                return j <= pos[0] + i

            def of_attribute(b, h, i, j):
                return j <= self.count + i

            mask = of_tensor if held == "tensor" else of_attribute
            return flex_attention(q, k, k, block_mask=create_block_mask(mask, None, None, len(q[0, 0]), size, "cpu"))

    torch.manual_seed(0)
    model, k = Counting(), torch.randn(1, 1, size, 16)
    q = torch.randn(1, 1, 1 if size == 8 else size, 16)
    with torch.no_grad(), mirada.watch(model) as records:
        model(q, k)
        model.pos += 1
        model.count += 1
    if size == 8:
        assert records[0].matrix.to_dense()[0, 0, 0].tolist() == [1.0, *[0.0] * 7]
    else:
        with pytest.raises(ValueError, match="written to after the call"):
            records[0].matrix  # noqa: B018


def test_both_of_two_nested_watches_see_it(tensors):
    model = Flex(SCORES["added"], MASKS["documents"])
    with torch.no_grad(), mirada.watch(model) as outer, mirada.watch(model, keep="statistics") as inner:
        model(*tensors)
    torch.testing.assert_close(inner[0].answers["entropy"], outer[0].matrix.entropy())
