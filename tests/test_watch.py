"""Watching a model of torch: every call is seen, nothing about the model changes, nothing is silent."""

from __future__ import annotations

import contextlib
import copy
import threading
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right
from torch.overrides import _get_current_function_mode
from torch.utils.checkpoint import checkpoint

import mirada
from attending import Direct, Layers, merged
from mirada.interventions import uniform
from mirada.watching import UnseenAttention


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 6, 16)


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_each_call_has_name_order_shape_and_matrix(x):
    model = Layers(3)
    with mirada.watch(model) as records:
        model(x)
    assert records.names() == ["layers.0.attn", "layers.1.attn", "layers.2.attn"]
    assert [record.index for record in records] == [0, 1, 2]
    record = records["layers.1.attn"]
    assert record is records[1]
    assert record.shape == (2, 4, 6, 6)
    assert record.module == "Direct"
    assert record.scale == 0.5
    assert record.dtype == torch.float32
    assert record.matrix.shape == (2, 4, 6, 6)


def test_the_output_is_the_same_to_the_bit(x):
    model = Layers(3, is_causal=True)
    unwatched = model(x)
    with mirada.watch(model):
        watched = model(x)
    assert torch.equal(watched, unwatched)


def test_weights_checkable_by_hand():
    """Two keys that score 0 and 1: weights 1 / (1 + e) and e / (1 + e)."""

    class Two(nn.Module):
        def forward(self, query, key):
            return functional.scaled_dot_product_attention(query, key, key)

    model, query, key = Two(), torch.ones(1, 1, 1, 1), torch.tensor([0.0, 1.0]).view(1, 1, 2, 1)
    with mirada.watch(model) as records:
        model(query, key)
    torch.testing.assert_close(records[0].matrix.to_dense().flatten(), torch.tensor([0.2689414, 0.7310586]))


bool_mask = torch.tensor([[True, False, True, True, True, True]] * 5 + [[True, True, True, True, True, False]])
FORMS = {
    "none": {},
    "causal": {"is_causal": True},
    "bool": {"attn_mask": bool_mask},
    "added": {"attn_mask": torch.linspace(-2, 2, 36).view(6, 6)},
    "per example": {"attn_mask": torch.arange(6) < torch.tensor([6, 3]).view(2, 1, 1, 1)},
    "per head": {"attn_mask": torch.rand(4, 6, 6, generator=torch.Generator().manual_seed(1)) > 0.3},
    "lower right": {"attn_mask": causal_lower_right(6, 6)},
    "scaled": {"scale": 0.1},
}


@pytest.mark.parametrize("form", FORMS)
def test_any_form_of_mask(x, form):
    model = Direct(**FORMS[form])
    with torch.no_grad(), mirada.watch(model) as records:
        context = model(x)
    torch.testing.assert_close(merged(records[0].matrix @ records[0].value), context, rtol=0, atol=1e-5)
    torch.testing.assert_close(merged(records[0].matrix.to_dense() @ records[0].value), context, rtol=0, atol=1e-5)


def test_cross_attention_grouped_heads_and_wide_values():
    query, key, value = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 5, 8), torch.randn(2, 2, 5, 6)

    class Grouped(nn.Module):
        def forward(self):
            return functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)

    model = Grouped()
    with mirada.watch(model) as records:
        context = model()
    assert records[0].shape == (2, 4, 3, 5)
    torch.testing.assert_close(records[0].matrix @ records[0].call.values(), context)


@given(
    sizes=st.tuples(*[st.integers(1, 5)] * 6),
    mask=st.sampled_from(["none", "causal", "bool", "added"]),
    seed=st.integers(0, 999),
)
def test_the_matrix_times_the_values_is_the_context(sizes, mask, seed):
    batch, key_heads, queries, keys, width, value_width = sizes
    torch.manual_seed(seed)
    query = torch.randn(batch, 2 * key_heads, queries, width, dtype=torch.float64)
    key = torch.randn(batch, key_heads, keys, width, dtype=torch.float64)
    value = torch.randn(batch, key_heads, keys, value_width, dtype=torch.float64)
    tensor = {"bool": torch.rand(batch, 1, queries, keys) > 0.4, "added": torch.randn(queries, keys).double()}.get(mask)

    class Bare(nn.Module):
        def forward(self):
            return functional.scaled_dot_product_attention(
                query, key, value, tensor, is_causal=mask == "causal", enable_gqa=True
            )

    model = Bare()
    with mirada.watch(model) as records:
        context = model()
    torch.testing.assert_close(records[0].matrix @ value, context)


@pytest.mark.parametrize("shape", [(5, 8), (3, 5, 8), (2, 3, 4, 5, 8), (0, 2, 5, 8), (1, 2, 0, 8)])
@pytest.mark.parametrize("keep", ["inputs", "statistics"])
def test_any_rank_and_nothing_at_all(shape, keep):
    class Bare(nn.Module):
        def forward(self, x):
            return functional.scaled_dot_product_attention(x, x, x)

    model, x = Bare(), torch.randn(shape)
    with mirada.watch(model, keep=keep) as records:
        model(x)
    assert records[0].shape == (*shape[:-1], shape[-2])


def test_the_matrix_is_before_dropout(x):
    model = Direct(dropout_p=0.5)
    seed_of_dropout = 3
    torch.manual_seed(seed_of_dropout)
    unwatched = model(x)
    torch.manual_seed(seed_of_dropout)
    with mirada.watch(model) as records:
        watched = model(x)
    assert torch.equal(watched, unwatched)
    assert records[0].dropout_p == 0.5
    torch.testing.assert_close(records[0].matrix.to_dense().sum(-1), torch.ones(2, 4, 6))


@pytest.mark.parametrize("training", [True, False])
def test_torchs_own_transformer(training):
    torch.manual_seed(0)
    model = nn.Transformer(16, 2, 2, 2, 32, dropout=0.0, batch_first=True).train(training)
    source, target = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    with torch.no_grad():
        unwatched = model(source, target)
        with mirada.watch(model) as records:
            watched = model(source, target)
    torch.testing.assert_close(watched, unwatched, rtol=0, atol=1e-6)
    assert [record.shape[-2:] for record in records] == [(5, 5), (5, 5), (4, 4), (4, 5), (4, 4), (4, 5)]
    assert records.names()[3] == "decoder.layers.0.multihead_attn"


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("hidden", ["nothing", "padding", "later keys", "both"])
def test_torchs_own_layer_gives_its_own_weights(need_weights, hidden):
    torch.manual_seed(0)
    model, x = nn.MultiheadAttention(16, 4, batch_first=True), torch.randn(3, 5, 16)
    padding = torch.arange(5) >= torch.tensor([5, 3, 4])[:, None] if hidden in ("padding", "both") else None
    later = torch.ones(5, 5).triu(1).bool() if hidden in ("later keys", "both") else None
    arguments = {"key_padding_mask": padding, "attn_mask": later}
    _, expected = model(x, x, x, **arguments, average_attn_weights=False)
    with mirada.watch(model) as records:
        model(x, x, x, **arguments, need_weights=need_weights)
    assert records[0].shape == (3, 4, 5, 5)
    torch.testing.assert_close(records[0].matrix.to_dense(), expected, rtol=0, atol=1e-6)


def test_autocast_is_seen_in_what_it_computes_in(x):
    model = Direct()
    with torch.autocast("cpu", torch.bfloat16), mirada.watch(model) as records:
        model(x)
    assert records[0].dtype == torch.bfloat16
    assert records[0].matrix.dtype == torch.bfloat16


def test_autocast_of_tensors_that_are_not_cast_yet():
    class Mixed(nn.Module):
        def forward(self, q, k):
            return functional.scaled_dot_product_attention(q, k, k)

    model, q, k = Mixed(), torch.randn(1, 1, 3, 8), torch.randn(1, 1, 3, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16), mirada.watch(model) as records:
        context = model(q, k)
    torch.testing.assert_close(records[0].matrix @ k, context, rtol=0, atol=1e-2)


@pytest.mark.parametrize("backward", ["of the tensor", "of autograd"])
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_counts_a_call_once(x, reentrant, backward):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = Direct()

        def forward(self, x):
            return checkpoint(self.attn, x, use_reentrant=reentrant)

    model = Checkpointed()
    x.requires_grad_()
    with mirada.watch(model) as records:
        total = model(x).sum()
        total.backward() if backward == "of the tensor" else torch.autograd.backward(total)
    assert len(records) == 1
    assert x.grad is not None


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap_becomes_a_leading_dimension():
    torch.manual_seed(0)
    model, x = Direct(), torch.randn(3, 2, 6, 16)
    masks = torch.rand(3, 6, 6) > 0.3
    with torch.no_grad(), mirada.watch(model) as records:
        context = torch.vmap(lambda x, mask: model(x, attn_mask=mask))(x, masks)
    assert records[0].shape == (3, 2, 4, 6, 6)
    torch.testing.assert_close(merged(records[0].matrix @ records[0].value), context)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_nested_vmaps_and_summaries(x):
    model = Direct()
    x = x.expand(3, 5, 2, 6, 16)
    with torch.no_grad(), mirada.watch(model, keep="statistics") as records:
        torch.vmap(torch.vmap(model))(x)
    assert records[0].answers["entropy"].shape == (3, 5, 2, 4, 6)


def test_compiled_modules_run_eagerly_while_watched(x):
    calls = []

    def backend(graph, inputs):
        def run(*args):
            calls.append("compiled")
            return graph.forward(*args)

        return run

    model = Layers(1)
    compiled = torch.compile(model, backend=backend)
    unwatched = compiled(x)
    assert calls == ["compiled"]
    with mirada.watch(compiled) as records:
        watched = compiled(x)
    assert calls == ["compiled"]
    assert records.names() == ["layers.0.attn"]
    torch.testing.assert_close(watched, unwatched)
    compiled(x)
    assert calls == ["compiled", "compiled"]


def test_a_module_called_several_times(x):
    model = Direct()
    with mirada.watch(nn.Sequential(model, model)) as records:
        nn.Sequential(model, model)(x)
        model(x)
    assert [record.nth for record in records.calls("0")] == [0, 1, 2]
    with pytest.raises(KeyError, match="called 3 times"):
        records["0"]


def test_an_unknown_name_is_answered_with_a_near_one(x):
    model = Layers(1)
    with mirada.watch(model) as records:
        model(x)
    with pytest.raises(KeyError, match=r"did you mean 'layers\.0\.attn'"):
        records["layers.0.attention"]


def test_printed_it_is_a_table(x):
    model = Layers(2, is_causal=True)
    with mirada.watch(model) as records:
        model(x)
    lines = repr(records).splitlines()
    assert lines[0].split() == ["name", "module", "heads", "L", "×", "S", "mask", "kernel"]
    assert lines[2].split() == ["1", "layers.1.attn", "Direct", "4", "6", "×", "6", "causal", "flash"]


def test_layers_are_chosen_by_number_name_or_pattern(x):
    model = Layers(3)
    for layers in ([2, 0], ["layers.0", "layers.2.attn"], "layers.[02].*"):
        with mirada.watch(model, layers=layers) as records:
            model(x)
        assert records.names() == ["layers.0.attn", "layers.2.attn"]
        assert records.left_out == 1


def test_heads_are_chosen(x):
    model = Direct(attn_mask=FORMS["per head"]["attn_mask"])
    with mirada.watch(model) as whole:
        model(x)
    with mirada.watch(model, heads=[2, -1]) as records:
        model(x)
    assert records[0].heads == (2, 3)
    assert records[0].shape == (2, 2, 6, 6)
    torch.testing.assert_close(records[0].matrix.to_dense(), whole[0].matrix.to_dense()[:, [2, 3]])


def test_watches_nest_and_each_sees_its_own(x):
    model, other = Layers(1), nn.MultiheadAttention(16, 2, batch_first=True)
    with mirada.watch(model) as outer:
        with mirada.watch(model) as inner:
            model(x)
        model(x)
    assert (len(outer), len(inner)) == (2, 1)
    with mirada.watch(other) as outer, mirada.watch(other) as inner:
        other(x, x, x)
    assert outer[0].shape == inner[0].shape == (2, 2, 6, 6)
    with mirada.watch(model) as one, mirada.watch(other) as two:
        model(x)
        other(x, x, x, need_weights=False)
    assert (len(one), len(two)) == (1, 1)


def test_the_work_of_an_inner_watch_is_not_seen_further_out(x):
    model = Layers(2, attn_mask=torch.ones(6, 6, dtype=torch.bool).tril())
    with mirada.watch(model) as outer, mirada.watch(model, keep="statistics", edit=uniform(heads=1)):
        model(x)
    assert len(outer) == 2


def test_threads_watch_side_by_side(x):
    model, counts = Layers(2), []

    def work():
        for _ in range(10):
            with mirada.watch(model) as records:
                model(x)
            counts.append(len(records))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [2] * 40
    assert hooks(model) == 0


def test_an_exception_leaves_nothing_behind(x):
    model = Layers(1)
    with contextlib.suppress(RuntimeError), mirada.watch(model) as records:
        model(x)
        model(torch.randn(2, 6, 17))
    assert len(records) == 1
    assert hooks(model) == 0
    assert _get_current_function_mode() is None
    with mirada.watch(model) as again:
        model(x)
    assert again.names() == ["layers.0.attn"]


def in_a_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join()


class Still(nn.Module):
    def forward(self, x):
        return x


class LinearAttention(nn.Module):
    """Attention without a softmax: nothing to be seen."""

    def forward(self, x):
        return x @ (x.mT @ x)


def test_seeing_nothing_is_an_error_that_says_why(x):
    with pytest.raises(ValueError, match="Still ran"), mirada.watch(model := Still()):
        model(x)
    with pytest.raises(ValueError, match="did not run"), mirada.watch(model):
        pass
    with pytest.raises(ValueError, match="another thread"), mirada.watch(model := Layers(1)):
        in_a_thread(model, x)
    with pytest.raises(ValueError, match=r"call model\(x\)"), mirada.watch(model := Direct()):
        model.forward(x)
    with pytest.raises(ValueError, match=r"the model: it ran"), mirada.watch(model := LinearAttention()):
        model(x)


def test_scripted_traced_and_exported_attention_is_named(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out
        scripted = torch.jit.script(nn.MultiheadAttention(16, 2, batch_first=True))
        traced = torch.jit.trace(Direct(), x)
    exported = torch.export.export(Direct(), (x,)).module()
    with pytest.raises(ValueError, match="scripted or traced"), mirada.watch(scripted):
        scripted(x, x, x)
    with pytest.raises(ValueError, match="watch the model that they were made of"), mirada.watch(traced):
        traced(x)
    with pytest.raises(ValueError, match="watch the model that was exported"), mirada.watch(exported):
        exported(x)


def test_a_model_that_is_copied_while_watched(x):
    model = Layers(1)
    with mirada.watch(model) as records:
        twin = copy.deepcopy(model)
        twin(x)
        model(x)
    assert torch.equal(twin(x), model(x))
    with mirada.watch(twin) as again:
        twin(x)
    assert again.names() == records.names() == ["layers.0.attn"]


def test_a_model_without_memory():
    model = Direct().to("meta")
    with mirada.watch(model) as records:
        model(torch.empty(2, 6, 16, device="meta"))
    assert records[0].shape == (2, 4, 6, 6)


def test_seeing_only_some_is_a_warning_by_name(x):
    model = nn.ModuleDict({"seen": Direct(), "unseen": LinearAttention()})
    with pytest.warns(UnseenAttention, match="unseen: it ran"), mirada.watch(model) as records:
        model["unseen"](model["seen"](x))
    assert list(records.unseen) == ["unseen"]
    assert "NOT SEEN unseen" in repr(records)


def test_what_did_not_run_is_not_missed(x):
    model = nn.ModuleDict({"seen": Direct(), "idle": LinearAttention()})
    with mirada.watch(model) as records:
        model["seen"](x)
    assert not records.unseen


def test_bad_input(x):
    model = Layers(2)
    with pytest.raises(TypeError, match=r"torch\.nn\.Module"):
        mirada.watch(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="keep must be"):
        mirada.watch(model, keep="everything")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ask goes with"):
        mirada.watch(model, ask=["entropy"])
    with pytest.raises(ValueError, match="numbered 0 to 1"):
        mirada.watch(model, layers=[5])
    with pytest.raises(ValueError, match=r"did you mean 'layers\.1\.attn'"):
        mirada.watch(model, layers="layers.1.atn")
    with pytest.raises(TypeError, match="layers must be"):
        mirada.watch(model, layers=[1.5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="heads must be"):
        mirada.watch(model, heads=[])
    with pytest.raises(ValueError, match="has 4 heads: 0 to 3"), mirada.watch(model, heads=[4]):
        model(x)
    watch = mirada.watch(model, layers="layers.0.attn.query")
    with pytest.raises(ValueError, match=r"left out every attention call.*layers\.0\.attn"), watch:
        model(x)


def test_a_watch_is_for_one_block(x):
    model = Layers(1)
    watch = mirada.watch(model)
    with pytest.raises(ValueError, match="is new, not open"):
        watch.__exit__(None, None, None)
    with watch:
        model(x)
    with pytest.raises(ValueError, match="left once"):
        watch.__exit__(None, None, None)
    with pytest.raises(ValueError, match="for one block"), watch:
        pass
