"""A small layer without gradients takes torch's one call, and says what it says with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mirada import masks
from mirada.nn import MultiHeadAttention, fast_path

N, HEADS, L, E = 2, 4, 5, 16

MASKS = {
    "none": None,
    "no peek": masks.causal(L),
    "padding": masks.padding([5, 2], L),
    "both": masks.causal(L) & masks.padding([5, 2], L),
    "window": masks.sliding_window(1, 0),
    "bool": torch.rand(L, L, generator=torch.Generator().manual_seed(0)) > 0.5,
    "one row": torch.tensor([True, False, True, True, True]),
    "each head": torch.ones(HEADS, L, L, dtype=torch.bool).tril(),
    "a float": torch.linspace(-2, 2, L * L).view(L, L),
}


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def layer() -> MultiHeadAttention:
    layer = MultiHeadAttention(E, HEADS)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return layer


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("heads", [HEADS, 1])
def test_it_says_what_the_layer_says_under_grad(name: str, dtype: torch.dtype, heads: int):
    layer, x = MultiHeadAttention(E, heads).to(dtype), torch.randn(N, L, E, dtype=dtype)
    mask = MASKS[name]
    if name == "each head" and heads == 1:
        mask = torch.ones(1, L, L, dtype=torch.bool).tril()
    if isinstance(mask, Tensor) and mask.is_floating_point():
        mask = mask.to(dtype)
    wanted, wanted_weights = layer(x, mask=mask, need_weights=True)
    with torch.no_grad():
        found, weights = layer(x, mask=mask, need_weights=True)
        alone = layer(x, mask=mask)
    for output in (found, alone):
        torch.testing.assert_close(output, wanted, rtol=0, atol=1e-6)
    torch.testing.assert_close(weights, wanted_weights, rtol=0, atol=1e-6)


def test_the_call_is_taken(layer: MultiHeadAttention, monkeypatch: pytest.MonkeyPatch):
    x, calls = torch.randn(N, L, E), []
    call = fast_path._layer
    assert call is not None  # this torch has it
    monkeypatch.setattr(fast_path, "_layer", lambda *args: calls.append(args) or call(*args))
    with torch.no_grad():
        layer(x)
        layer(x, mask=masks.causal(L), need_weights=True)
        assert len(calls) == 2
        layer(torch.randn(N, 600, E))  # so many scores that the fused kernel is faster
        layer(x, x.clone())  # not self-attention
        with torch.autocast("cpu", torch.bfloat16):
            layer(x)
    layer(x)
    assert len(calls) == 2


def test_without_it_the_layer_says_the_same(layer: MultiHeadAttention, monkeypatch: pytest.MonkeyPatch):
    x = torch.randn(N, L, E)
    with torch.no_grad():
        wanted = layer(x, mask=masks.causal(L))
        monkeypatch.setattr(fast_path, "_layer", None)
        torch.testing.assert_close(layer(x, mask=masks.causal(L)), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_what_it_cannot_do_is_done_otherwise(layer: MultiHeadAttention, broken: float):
    x = torch.randn(N, L, E)
    hidden = x.clone()
    hidden[1, 2:] = broken  # behind the padding
    with torch.no_grad():
        clean, other = layer(x, mask=MASKS["padding"]), layer(hidden, mask=MASKS["padding"])
        torch.testing.assert_close(other[0], clean[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(other[1, :2], clean[1, :2], rtol=0, atol=1e-6)
        blind = torch.ones(L, L, dtype=torch.bool)
        blind[3] = False
        output, weights = layer(x, mask=blind, need_weights=True)
    assert weights[:, :, 3].abs().max() == 0
    torch.testing.assert_close(output[:, 3], layer.out_proj.bias.expand(N, E))


def test_a_mask_that_does_not_fit_says_so(layer: MultiHeadAttention):
    for mask in (masks.causal(4), torch.ones(4, 4, dtype=torch.bool)):
        with torch.no_grad(), pytest.raises(ValueError, match="mask"):
            layer(torch.randn(N, L, E), mask=mask)
