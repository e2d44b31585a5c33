"""Edits: what is asked for happens to the heads it concerns, to the bit nothing else does, and the matrix shows it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import mirada
from attending import Direct, Layers, merged
from mirada import masks
from mirada.interventions import ablate, knock_out_edges, uniform


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 6, 16)


def apart(context):
    """(N, L, heads · E) as (N, heads, L, E)."""
    return context.unflatten(-1, (4, -1)).transpose(1, 2)


@pytest.mark.parametrize(
    "edit", [ablate(heads=[1]), uniform(heads=1), knock_out_edges(masks.sliding_window(1, 0), heads=(1,))]
)
def test_other_heads_keep_their_context_to_the_bit(x, edit):
    model = Direct(is_causal=True)
    plain = apart(model(x))
    with mirada.watch(model, edit=edit) as records:
        edited = apart(model(x))
    assert torch.equal(edited[:, [0, 2, 3]], plain[:, [0, 2, 3]])
    assert not torch.equal(edited[:, 1], plain[:, 1])
    assert records[0].edits == (edit.kind,)


def test_a_head_knocked_out_says_nothing(x):
    model = Direct()
    with mirada.watch(model, edit=ablate(heads=[0, -1])):
        edited = apart(model(x))
    assert not edited[:, [0, 3]].any()
    assert edited[:, [1, 2]].all()


@pytest.mark.parametrize("form", [{}, {"is_causal": True}, {"attn_mask": torch.linspace(-3, 3, 36).view(6, 6)}])
@pytest.mark.parametrize("heads", [None, [2]])
def test_uniform_weights_by_hand(x, form, heads):
    model = Direct(**form)
    with mirada.watch(model, edit=uniform(heads=heads)) as records:
        context = model(x)
    weights = records[0].matrix.to_dense()
    allowed = torch.ones(6, 6).tril() if "is_causal" in form else torch.ones(6, 6)
    torch.testing.assert_close(weights[1, 2], allowed / allowed.sum(-1, keepdim=True))
    torch.testing.assert_close(merged(weights @ records[0].value), context)


@pytest.mark.parametrize("heads", [None, [0, 2]])
@pytest.mark.parametrize("form", [{}, {"is_causal": True}, {"attn_mask": torch.linspace(-3, 3, 36).view(6, 6)}])
def test_cut_edges_carry_nothing_and_the_rest_shares(x, form, heads):
    model = Direct(**form)
    allowed = masks.sliding_window(2, 1)
    with mirada.watch(model) as plain:
        model(x)
    with mirada.watch(model, edit=knock_out_edges(allowed, heads=heads)) as records:
        context = model(x)
    visible, _ = allowed.materialise((), 6, 6)
    expected = plain[0].matrix.to_dense() * visible
    expected = expected / expected.sum(-1, keepdim=True)
    torch.testing.assert_close(records[0].matrix.to_dense()[:, 2], expected[:, 2])
    torch.testing.assert_close(merged(records[0].matrix.to_dense() @ records[0].value), context)
    torch.testing.assert_close(merged(records[0].matrix @ records[0].value), context)


def test_only_the_layers_asked_for(x):
    model = Layers(3)
    with mirada.watch(model, edit=ablate(layers=[1])) as records:
        model(x)
    assert [record.edits for record in records] == [(), ("ablate",), ()]


def test_one_edit_upon_the_other(x):
    model = Direct()
    with mirada.watch(model, edit=[knock_out_edges(masks.causal(6)), uniform(heads=1), ablate(heads=0)]) as records:
        context = apart(model(x))
    torch.testing.assert_close(records[0].matrix.to_dense()[0, 1, 1], torch.tensor([0.5, 0.5, 0, 0, 0, 0]))
    assert not context[:, 0].any()
    assert records[0].edits == ("knock out edges", "uniform", "ablate")


def test_grouped_heads_torchs_own_layer_and_gradients(x):
    model = nn.MultiheadAttention(16, 4, batch_first=True)
    with mirada.watch(model, edit=[ablate(heads=1), uniform(heads=2)]) as records:
        out, _ = model(x, x, x)
        out.sum().backward()
    assert records[0].edits == ("ablate", "uniform")
    gradient = model.in_proj_weight.grad.unflatten(0, (3, 4, 4))  # query, key, value; heads
    assert not gradient[:, 1].any()
    assert not gradient[:2, 2].any()
    assert gradient[2, 2].any()


def test_an_edit_that_does_not_fit_says_so(x):
    model = Layers(2)
    watch = mirada.watch(model, edit=knock_out_edges(torch.ones(7, 7, dtype=torch.bool)))
    with pytest.raises(ValueError, match=r"does not fit the attention of 'layers\.0\.attn'.*\(7, 7\)"), watch:
        model(x)
    with pytest.raises(ValueError, match="has 4 heads"), mirada.watch(model, edit=ablate(heads=4)):
        model(x)
    with pytest.raises(ValueError, match="numbered 0 to 1"):
        mirada.watch(model, edit=ablate(layers=7))
    with pytest.raises(TypeError, match="made by a function"):
        mirada.watch(model, edit=[{"heads": 3}])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="cuts nothing"):
        knock_out_edges(None)  # type: ignore[arg-type]
    watch = mirada.watch(model, edit=ablate(layers="layers.0.attn.query"))
    with pytest.raises(ValueError, match="edit changed nothing"), watch:
        model(x)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_would_undo_an_edit_and_is_refused(x, reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = Direct()

        def forward(self, x):
            return checkpoint(self.attn, x, use_reentrant=reentrant)

    model = Checkpointed()
    with pytest.raises(ValueError, match="switch checkpointing off"), mirada.watch(model, edit=ablate()):
        model(x.requires_grad_())


def test_vmap_is_refused(x):
    model = Direct()
    with pytest.raises(ValueError, match="call it plainly"), mirada.watch(model, edit=ablate()):
        torch.vmap(model)(x[None])
