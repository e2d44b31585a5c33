"""mirada's own layers are seen as any others, whichever kernel they take."""

from __future__ import annotations

import pytest
import torch

import mirada
from mirada import masks
from mirada.interventions import Edit, ablate, knock_out_edges, uniform
from mirada.nn import MultiHeadAttention, SelfAttention, WideMultiHeadAttention


@pytest.mark.parametrize("length", [8, 300])
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("kind", ["no mask", "rule", "tensor"])
@pytest.mark.parametrize("grad", [False, True])
def test_a_layer_is_seen_once_and_goes_on_as_before(length: int, need_weights: bool, kind: str, grad: bool):
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(16, 4), torch.randn(2, length, 16)
    visible = torch.ones(length, length, dtype=torch.bool).tril()
    mask = {"no mask": None, "rule": masks.causal(length), "tensor": visible}[kind]
    with torch.set_grad_enabled(grad):
        _, weights = layer(x, mask=mask, need_weights=True)
        expected = layer(x, mask=mask, need_weights=need_weights)
        with mirada.watch(layer) as records:
            found = layer(x, mask=mask, need_weights=need_weights)
    assert len(records) == 1
    # A small layer without gradients is one call of torch's, unless somebody looks on.
    torch.testing.assert_close(found, expected, rtol=0, atol=0 if grad or length > 8 else 1e-6)
    torch.testing.assert_close(records[0].matrix.to_dense(), weights)


def test_one_channel_is_seen():
    layer, x = SelfAttention(1), torch.randn(2, 200, 1)  # interpolated: no function of torch forms these weights
    with torch.no_grad(), mirada.watch(layer) as records:
        _, weights = layer(x, need_weights=True)
        layer(x)
    assert len(records) == 2
    for record in records:
        torch.testing.assert_close(record.matrix.to_dense(), weights)


def test_an_edit_reaches_it():
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(16, 4), torch.randn(2, 300, 16)
    with torch.no_grad():
        with mirada.watch(layer, edit=ablate(heads=[0, 1, 2, 3])):
            silent = layer(x)
        torch.testing.assert_close(silent, layer.out_proj.bias.expand_as(silent))


@pytest.mark.parametrize("length", [8, 300])
@pytest.mark.parametrize("edit", [knock_out_edges(masks.sliding_window(1, 0), heads=[1]), uniform(heads=[0, 2])])
def test_the_weights_it_returns_are_those_after_the_edit(length: int, edit: Edit):
    torch.manual_seed(0)
    layer, x = MultiHeadAttention(16, 4), torch.randn(2, length, 16)
    _, before = layer(x, mask=masks.causal(length), need_weights=True)
    with mirada.watch(layer, edit=edit) as records:
        _, weights = layer(x, mask=masks.causal(length), need_weights=True)
    torch.testing.assert_close(weights, records[0].matrix.to_dense())
    assert edit.heads is not None
    others = [head for head in range(4) if head not in edit.heads]
    torch.testing.assert_close(weights[:, others], before[:, others])
    assert not torch.allclose(weights[:, edit.heads], before[:, edit.heads])
    weights[:, edit.heads].square().sum().backward()
    assert layer.in_proj_weight.grad is not None


@pytest.mark.parametrize("length", [5, 300])
@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_wide_heads_are_heads_with_and_without_a_mask(length: int, is_masked: bool, need_weights: bool):
    torch.manual_seed(0)
    layer, x = WideMultiHeadAttention(4, 3), torch.randn(2, length, 4)
    mask = masks.padding([length - 2, length], length) if is_masked else None
    _, weights = layer(x, mask=mask, need_weights=True)
    expected = layer(x, mask=mask, need_weights=need_weights)
    with mirada.watch(layer) as records:
        found = layer(x, mask=mask, need_weights=need_weights)
    for one, other in zip(*(of if need_weights else [of] for of in (found, expected)), strict=True):
        assert torch.equal(one, other)
    assert (records[0].shape, records[0].dims) == ((2, 3, length, length), ("batch", "heads"))
    torch.testing.assert_close(records[0].matrix.to_dense(), weights)


@pytest.mark.parametrize("heads", [[1], [0, 1, 2]])
def test_a_wide_head_is_ablated_alike_with_and_without_a_mask(heads: list[int]):
    torch.manual_seed(0)
    layer, x = WideMultiHeadAttention(4, 3), torch.randn(2, 5, 4)
    outputs = []
    for mask in (None, torch.ones(5, 5, dtype=torch.bool)):
        with mirada.watch(layer, edit=ablate(heads=heads)):
            outputs.append(layer(x, mask=mask))
    torch.testing.assert_close(*outputs)
    if len(heads) == 3:
        torch.testing.assert_close(outputs[0], layer.out.bias.expand_as(x))
    assert layer.folds
