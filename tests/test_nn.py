"""What the layers promise: torch's numbers where torch has the layer, the formula where it has not, and clean masks."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import drawn
from mirada import attention, masks
from mirada.nn import (
    CrossAttention,
    Memory,
    MultiHeadAttention,
    QueryAttention,
    SelfAttention,
    WideMultiHeadAttention,
)

E = 4


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def asking(layer: nn.Module):
    """Call a layer with a source (N, S, E) as its keys: (source, mask) -> (output, weights)."""
    if isinstance(layer, CrossAttention):
        queries = torch.linspace(-1, 1, 3 * E).view(1, 3, E)
        return lambda source, mask=None: layer(
            queries.to(source.dtype).expand(len(source), -1, -1), layer.remember(source), mask, need_weights=True
        )
    return lambda source, mask=None: layer(source, mask=mask, need_weights=True)


LAYERS = {
    "self": lambda: SelfAttention(E),
    "dot": lambda: CrossAttention(E),
    "general": lambda: CrossAttention(E, score="general"),
    "additive": lambda: CrossAttention(E, score="additive"),
    "raw values": lambda: CrossAttention(E, project_values=False),
    "query": lambda: QueryAttention(E, queries=2),
    "narrow": lambda: MultiHeadAttention(E, 2),
    "wide": lambda: WideMultiHeadAttention(E, 3),
}
every_layer = pytest.mark.parametrize("name", LAYERS)


def gradients(layer: nn.Module, inputs: Tensor, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [*layer.parameters(), inputs], materialize_grads=True))


# --- the same numbers as torch's layer ---

MASKS = {
    "none": (None, None),
    "padding": (masks.padding([5, 2], 5), torch.arange(5) < torch.tensor([5, 2])[:, None, None, None]),
    "bool": (torch.ones(5, 5).tril().bool(), torch.ones(5, 5).tril().bool()),
    "float": (torch.linspace(-2, 2, 25).view(5, 5), torch.linspace(-2, 2, 25).view(5, 5)),
}


def theirs_and_ours(**options) -> tuple[nn.MultiheadAttention, MultiHeadAttention]:
    theirs = nn.MultiheadAttention(12, 3, batch_first=True, dtype=torch.float64, **options)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)  # their biases begin as zeros, and would prove nothing
    ours = MultiHeadAttention(12, 3, **options).double()
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 7, "vdim": 9}, {"vdim": 9, "bias": False}])
def test_narrow_equals_torch(mask, options):
    theirs, ours = theirs_and_ours(**options)
    query = torch.randn(2, 5, 12, dtype=torch.float64)
    key = torch.randn(2, 5, options.get("kdim", 12), dtype=torch.float64)
    value = torch.randn(2, 5, options.get("vdim", 12), dtype=torch.float64)
    our_mask, their_mask = MASKS[mask]
    if their_mask is not None:
        # Torch hides where True, and wants one mask a head.
        their_mask = ~their_mask if their_mask.dtype == torch.bool else their_mask.double()
        their_mask = their_mask.expand(2, 3, 5, 5).reshape(6, 5, 5)
    wanted, wanted_weights = theirs(query, key, value, attn_mask=their_mask, average_attn_weights=False)
    wanted_mean = theirs(query, key, value, attn_mask=their_mask)[1]
    output, weights = ours(query, key, value, our_mask, need_weights=True)
    for found in (output, ours(query, key, value, our_mask)):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
        ours.zero_grad()
        theirs.zero_grad()
        found.square().sum().backward(retain_graph=True)
        wanted.square().sum().backward(retain_graph=True)
        for name, parameter in theirs.named_parameters():
            torch.testing.assert_close(ours.get_parameter(name).grad, parameter.grad, rtol=1e-9, atol=1e-6)
    torch.testing.assert_close(weights, wanted_weights, rtol=0, atol=1e-6)
    torch.testing.assert_close(weights.mean(1), wanted_mean, rtol=0, atol=1e-6)


def test_narrow_equals_torch_in_single_precision():
    theirs, ours = nn.MultiheadAttention(64, 8, batch_first=True), MultiHeadAttention(64, 8)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(4, 30, 64)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"kdim": 7, "vdim": 9}])
def test_state_dicts_go_both_ways_and_a_seed_draws_the_same(options):
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(12, 3, **options)
    torch.manual_seed(0)
    ours = MultiHeadAttention(12, 3, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, parameter in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], parameter, rtol=0, atol=0)
    theirs.load_state_dict(MultiHeadAttention(12, 3, **options).state_dict())


def test_keys_that_no_token_stands_for_are_refused():
    with pytest.raises(RuntimeError, match="bias_k"):
        MultiHeadAttention(12, 3).load_state_dict(nn.MultiheadAttention(12, 3, add_bias_kv=True).state_dict())


def test_dropout_only_in_training_and_not_in_the_weights_given_out():
    layer, x = MultiHeadAttention(E, 2, dropout=0.5), torch.randn(2, 9, E)
    output, weights = layer(x, need_weights=True)
    assert not torch.equal(output, layer(x))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 9))
    layer.eval()
    torch.testing.assert_close(layer(x), layer(x, need_weights=True)[0])


# --- autocast ---


@every_layer
@pytest.mark.parametrize("mask", [None, masks.padding([5, 2], 5)])
@pytest.mark.parametrize("grad", [True, False])
def test_autocast_computes_in_what_it_asks_for(name, mask, grad):
    layer = LAYERS[name]()
    ask, source = asking(layer), torch.randn(2, 5, E)
    with torch.set_grad_enabled(grad):
        wanted, _ = ask(source, mask)
        with torch.autocast("cpu", torch.bfloat16):
            output, weights = ask(source, mask)
    torch.testing.assert_close(output.float(), wanted, rtol=0.1, atol=0.05)
    assert weights.float().sum(-1).sub(1).abs().max() < 0.02
    if grad:
        output.float().sum().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in layer.parameters())


def test_attention_under_autocast_is_torchs():
    query, key, value = torch.randn(3, 2, 4, 30, 8).unbind()
    with torch.autocast("cpu", torch.bfloat16):
        found = attention(query, key.bfloat16(), value)
        wanted = nn.functional.scaled_dot_product_attention(query, key.bfloat16(), value)
        assert attention(query.double(), key.double(), value.double()).dtype == torch.float64
    assert found.dtype == wanted.dtype == torch.bfloat16
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02)


# --- the formulas ---


def wide_by_hand(layer: WideMultiHeadAttention, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Head by head, as the layer's docstring has it."""
    width, output, weights = x.shape[-1], layer.out.bias, []
    for head in range(layer.heads):
        rows = slice(head * width, (head + 1) * width)
        query = x @ layer.query.weight[rows].T + layer.query.bias[rows]
        key = y @ layer.key.weight[rows].T + layer.key.bias[rows]
        value = z @ layer.value.weight[rows].T + layer.value.bias[rows]
        weights.append(torch.softmax(query @ key.mT / math.sqrt(width), -1))
        output = output + weights[-1] @ value @ layer.out.weight[:, rows].T
    return output, torch.stack(weights, 1)


@pytest.mark.parametrize("masked", [False, True])
def test_wide_equals_its_formula_folded_and_plain(masked):
    layer = WideMultiHeadAttention(7, 3).double()
    x, y, z = (torch.randn(2, length, 7, dtype=torch.float64, requires_grad=True) for length in (4, 6, 6))
    mask = torch.ones(4, 6, dtype=torch.bool) if masked else None  # any mask takes the plain way
    wanted, wanted_weights = wide_by_hand(layer, x, y, z)
    wanted_grads = gradients(layer, x, wanted.square().sum())
    output, weights = layer(x, y, z, mask, need_weights=True)
    torch.testing.assert_close(weights, wanted_weights)
    for found in (output, layer(x, y, z, mask)):
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(gradients(layer, x, found.square().sum()), wanted_grads)


def test_the_bias_that_drops_out_has_gradient_zero_and_not_none():
    layer = WideMultiHeadAttention(E, 2)
    layer(torch.randn(1, 3, E)).sum().backward()
    assert layer.key.bias.grad.count_nonzero() == 0


def test_self_attention_is_the_formula():
    layer, x = SelfAttention(E), torch.randn(2, 5, E)
    weights = torch.softmax(layer.query(x) @ layer.key(x).mT / math.sqrt(E), -1)
    context, given_out = layer(x, need_weights=True)
    torch.testing.assert_close(given_out, weights)
    torch.testing.assert_close(context, weights @ layer.value(x))
    torch.testing.assert_close(layer(x), context)


def test_self_attention_without_bias_has_three_matrices():
    assert [tuple(p.shape) for p in SelfAttention(3, bias=False).parameters()] == [(3, 3)] * 3


@pytest.mark.parametrize("score", ["dot", "general", "additive"])
def test_two_keys_by_hand(score):
    """One feature, weights 1, biases 0, query 1, keys 0 and 1."""
    layer = CrossAttention(1, score=score)
    for name, parameter in layer.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    gap = {"dot": 1.0, "general": 1.0, "additive": math.tanh(2) - math.tanh(1)}[score]
    context, weights = layer(torch.ones(1, 1), layer.remember(torch.tensor([[0.0], [1.0]])), need_weights=True)
    share = 1 / (1 + math.exp(gap))
    assert weights[0].tolist() == pytest.approx([share, 1 - share], abs=1e-6)
    assert context.item() == pytest.approx(1 - share, abs=1e-6)


def test_additive_is_the_formula():
    layer = CrossAttention(E, source_dim=3, score="additive")
    query, source = torch.randn(2, 5, E), torch.randn(2, 6, 3)
    wanted = torch.empty(2, 5, 6)
    for n in range(2):
        for i in range(5):
            for j in range(6):
                wanted[n, i, j] = layer.energy(torch.tanh(layer.query(query[n, i]) + layer.key(source[n, j])))
    context, weights = layer(query, layer.remember(source), need_weights=True)
    torch.testing.assert_close(weights, wanted.softmax(-1))
    torch.testing.assert_close(context, weights @ layer.value(source))


def test_general_scores_are_not_scaled_and_have_one_matrix():
    layer = CrossAttention(E, source_dim=3, score="general", project_values=False)
    assert [tuple(p.shape) for p in layer.parameters()] == [(E, 3)]
    query, source = torch.randn(2, 5, E), torch.randn(2, 6, 3)
    context, weights = layer(query, layer.remember(source), need_weights=True)
    torch.testing.assert_close(weights, torch.softmax(query @ layer.key.weight @ source.mT, -1))
    torch.testing.assert_close(context, weights @ source)


def test_learned_queries_are_the_formula():
    layer, source = QueryAttention(E, queries=3, value_dim=2), torch.randn(2, 6, E)
    weights = torch.softmax(layer.query @ layer.key(source).mT / math.sqrt(E), -1)
    context, given_out = layer(source, need_weights=True)
    torch.testing.assert_close(given_out, weights)
    torch.testing.assert_close(context, weights @ layer.value(source))
    assert context.shape == (2, 3, 2)


def test_a_memory_serves_many_steps_and_its_layer_keeps_nothing():
    layer, query, source = CrossAttention(E), torch.randn(2, 3, E), torch.randn(2, 5, E)
    before = set(vars(layer)), list(layer.state_dict())
    memory = layer.remember(source)
    layer.remember(torch.randn(2, 9, E))
    steps = torch.cat([layer(query[:, i : i + 1], memory) for i in range(3)], 1)
    torch.testing.assert_close(steps, layer(query, memory))
    assert (set(vars(layer)), list(layer.state_dict())) == before
    assert isinstance(memory, Memory)


def test_values_are_drawn_whether_projected_or_not():
    followers = []
    for project_values in (True, False):
        torch.manual_seed(0)
        CrossAttention(E, project_values=project_values)
        followers.append(torch.rand(3))
    torch.testing.assert_close(*followers)


# --- masks ---


@every_layer
def test_weights_given_or_not_the_output_is_the_same(name):
    layer, source = LAYERS[name](), torch.randn(2, 5, E)
    output, weights = asking(layer)(source)
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    if isinstance(layer, CrossAttention):
        queries = torch.linspace(-1, 1, 3 * E).view(1, 3, E).expand(2, -1, -1)
        torch.testing.assert_close(layer(queries, layer.remember(source)), output)
    else:
        torch.testing.assert_close(layer(source), output)


@every_layer
@pytest.mark.parametrize("hidden", [math.nan, math.inf, 1e30])
@pytest.mark.parametrize("length", [3, 0])
def test_what_a_hidden_key_holds_does_not_matter(name, hidden, length):
    layer = LAYERS[name]()
    mask, source = masks.padding([5, length], 5), torch.randn(2, 5, E)

    def result(filling: float) -> list[Tensor]:
        filled = source.clone()
        filled[1, length:] = filling
        filled.requires_grad_()
        output, weights = asking(layer)(filled, mask)
        # Where a sequence asks itself, nobody reads what its padding found.
        lost = 5 - length if output.shape[1] == 5 else 0
        read = torch.cat([output[0], output[1, : output.shape[1] - lost]])
        *grads, grad_source = gradients(layer, filled, read.square().sum())
        seen = [weights[1, ..., : weights.shape[-2] - lost, :], grad_source[0], grad_source[1, :length]]
        return [read, *seen, *grads]

    torch.testing.assert_close(result(hidden), result(0.0), rtol=1e-4, atol=1e-5)


@every_layer
def test_what_a_visible_key_holds_does_matter(name):
    source = torch.randn(2, 5, E)
    source[1, 2] = math.nan
    output, _ = asking(LAYERS[name]())(source, masks.padding([5, 3], 5))
    assert not output[0].isnan().any()
    assert output[1].isnan().all()


@every_layer
def test_who_sees_nothing_gets_nothing(name):
    layer, source = LAYERS[name](), torch.randn(2, 5, E, requires_grad=True)
    output, weights = asking(layer)(source, masks.padding([5, 0], 5))
    assert weights[1].count_nonzero() == 0
    nothing = {"narrow": "out_proj", "wide": "out"}  # these project the context 0 further
    wanted = layer.get_parameter(f"{nothing[name]}.bias") if name in nothing else torch.zeros(E)
    torch.testing.assert_close(output[1], wanted.expand_as(output[1]))
    assert all(grad.isfinite().all() for grad in gradients(layer, source, output.sum()))


@given(st.data())
def test_any_mask_hides_what_it_says(data):
    name = data.draw(st.sampled_from(["self", "narrow", "wide"]))
    layer, source = LAYERS[name](), torch.randn(2, 5, E)
    leading = (2,) if name == "self" else (2, layer.heads)
    rule = data.draw(drawn.rules(leading, 5, 5))
    visible, _ = rule.materialise(leading, 5, 5)
    output, weights = asking(layer)(source, rule)
    assert not weights[~visible.expand_as(weights)].any()
    torch.testing.assert_close(weights.sum(-1), visible.any(-1).expand(weights.shape[:-1]).float())
    torch.testing.assert_close(output, asking(layer)(source, visible)[0])
    added = torch.where(visible, 0.0, -math.inf)
    torch.testing.assert_close(output, asking(layer)(source, added)[0])


def test_numbers_added_to_additive_scores():
    layer, query = CrossAttention(E, score="additive"), torch.randn(1, 2, E)
    memory = layer.remember(torch.randn(1, 3, E))
    bias = torch.tensor([0.5, -1.0, 2.0])
    plain, shifted = (layer(query, memory, mask, need_weights=True)[1] for mask in (None, bias))
    torch.testing.assert_close(shifted, torch.softmax(plain.log() + bias, -1))


@every_layer
@pytest.mark.parametrize("shape", [(0, 5, E), (2, 0, E)])
def test_empty_sources(name, shape):
    output, weights = asking(LAYERS[name]())(torch.empty(shape))
    assert output.shape[0] == weights.shape[0] == shape[0]
    assert weights.shape[-1] == shape[1]
    assert output.isfinite().all()


@every_layer
def test_double_precision(name):
    layer = LAYERS[name]().double()
    output, weights = asking(layer)(torch.randn(2, 5, E, dtype=torch.float64))
    assert output.dtype == weights.dtype == torch.float64


# --- what does not fit ---


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: MultiHeadAttention(10, 3), "heads=3 does not divide embed_dim=10"),
        (lambda: MultiHeadAttention(8, 0), "heads must be a whole number from 1 up, got 0"),
        (lambda: MultiHeadAttention(8, 2, dropout=1.5), "dropout must lie in"),
        (lambda: WideMultiHeadAttention(8, -1), "heads must be a whole number"),
        (lambda: WideMultiHeadAttention(8, 2.0), "heads must be a whole number from 1 up, got 2.0"),
        (lambda: SelfAttention(0), "embed_dim must be a whole number"),
        (lambda: QueryAttention(8, queries=0), "queries must be a whole number"),
        (lambda: CrossAttention(8, score="dott"), "score must be one of 'dot', 'general', 'additive', got 'dott'"),
        (lambda: SelfAttention(8)(torch.zeros(2, 5, 7)), r"x must have shape \(..., length, 8\), got \(2, 5, 7\)"),
        (lambda: SelfAttention(8)(torch.zeros(8)), r"x must have shape \(..., length, 8\), got \(8,\)"),
        (lambda: CrossAttention(8, 6).remember(torch.zeros(2, 5, 8)), r"source must have shape \(..., length, 6\)"),
        (lambda: QueryAttention(8)(torch.zeros(2, 5, 7)), "source must have shape"),
        (lambda: MultiHeadAttention(8, 2)(torch.zeros(5, 8)), r"query must have shape \(N, length, 8\), got \(5, 8\)"),
        (lambda: WideMultiHeadAttention(8, 2)(torch.zeros(2, 5, 8), torch.zeros(2, 5, 7)), "key must have shape"),
        (lambda: SelfAttention(8)(torch.zeros(2, 5, 8), torch.ones(4, 4).bool()), "does not broadcast"),
    ],
)
def test_what_does_not_fit_is_said_by_name(wrong, words):
    with pytest.raises(ValueError, match=words):
        wrong()


@every_layer
def test_integers_are_no_mask(name):
    with pytest.raises(TypeError, match="bool"):
        asking(LAYERS[name]())(torch.randn(2, 5, E), torch.ones(5, dtype=torch.int64))
