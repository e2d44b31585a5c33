"""What a trace promises: every step right, nothing hidden leaks, and all of it can be read and drawn."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mirada
from mirada import masks
from mirada.tracing import trace

EXAMPLE = torch.arange(50).view(5, 10) / 100


def formula(query, key, value, visible, scale):
    """The definition, one exponential at a time, in float64."""
    query, key, value = query.double(), key.double(), value.double()
    context = torch.zeros(query.shape[0], value.shape[1], dtype=torch.float64)
    for i, asks in enumerate(query):
        shares = [math.exp(scale * float(asks @ key[j])) if visible[i, j] else 0.0 for j in range(len(key))]
        for j, share in enumerate(shares):
            if share:
                context[i] += share / sum(shares) * value[j]
    return context


def test_each_step_follows_from_the_one_before():
    query, key, value = torch.randn(3, 4), torch.randn(5, 4), torch.randn(5, 2)
    t = trace(query, key, value, masks.dense(torch.rand(3, 5) > 0.3))
    torch.testing.assert_close(t.scores, query @ key.mT)
    torch.testing.assert_close(t.scaled, t.scores / 2)
    torch.testing.assert_close(t.masked[~t.hidden], t.scaled[~t.hidden])
    torch.testing.assert_close(t.weights.sum(-1), (~t.hidden).any(-1).float())
    torch.testing.assert_close(t.context, t.weights @ value)


def test_two_keys_by_hand():
    t = trace(torch.tensor([[1.0]]), torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0]]), scale=1.0)
    assert t.weights.tolist() == [pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])]
    assert t.context.item() == pytest.approx(math.e / (1 + math.e))


def test_the_worked_example():
    scores = trace(EXAMPLE, EXAMPLE, EXAMPLE, scale=1).scores
    assert scores[0].tolist() == pytest.approx([0.0285, 0.0735, 0.1185, 0.1635, 0.2085], abs=5e-5)
    assert scores[4, 4].item() == pytest.approx(1.9885, abs=5e-5)


def test_unscaled_scores_saturate_the_softmax():
    shares = trace(torch.ones(1, 1), torch.tensor([[4.0], [1.0]]), torch.eye(2), scale=1).weights
    assert shares[0].tolist() == pytest.approx([0.9526, 0.0474], abs=5e-5)
    shares = trace(torch.ones(1, 1), torch.tensor([[4.0], [1.0]]), torch.eye(2), scale=100).weights
    assert shares[0].tolist() == [1.0, 0.0]


@given(
    queries=st.integers(1, 5),
    keys=st.integers(1, 5),
    seed=st.integers(0, 10_000),
    kind=st.sampled_from(["bool", "bias", "start", "end", "padding"]),
)
def test_agrees_with_the_definition_and_with_mirada_attention(queries, keys, seed, kind):
    torch.manual_seed(seed)
    query, key, value = torch.randn(queries, 3), torch.randn(keys, 3), torch.randn(keys, 2)
    mask = {
        "bool": torch.rand(queries, keys) > 0.4,
        "bias": torch.zeros(queries, keys).masked_fill(torch.rand(queries, keys) > 0.6, -torch.inf),
        "start": masks.causal(queries, keys, "start"),
        "end": masks.causal(queries, keys, "end"),
        "padding": masks.sliding_window(1, 1, "start"),
    }[kind]
    t = trace(query, key, value, mask)
    expected = formula(query, key, value, ~t.hidden, 3**-0.5)
    torch.testing.assert_close(t.context.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(t.context, mirada.attention(query, key, value, mask))
    torch.testing.assert_close(t.weights, mirada.AttentionMatrix(query, key, mask).to_dense())


def test_a_floating_mask_is_added_to_the_scaled_scores():
    bias = torch.randn(2, 3)
    t = trace(torch.randn(2, 4), torch.randn(3, 4), torch.randn(3, 4), bias)
    torch.testing.assert_close(t.masked, t.scaled + bias)


@pytest.mark.parametrize("leading", [(), (2,), (2, 3), (2, 1, 3)])
def test_any_leading_dimensions_each_as_if_alone(leading):
    query, key, value = torch.randn(*leading, 4, 3), torch.randn(*leading, 5, 3), torch.randn(*leading, 5, 2)
    t = trace(query, key, value, masks.causal(4, 5, "end"))
    assert t.context.shape == (*leading, 4, 2)
    last = tuple(size - 1 for size in leading)
    alone = trace(query[last], key[last], value[last], masks.causal(4, 5, "end"))
    torch.testing.assert_close(t[last].context, alone.context)
    torch.testing.assert_close(t[last].masked, alone.masked)


def test_one_key_and_value_serve_a_whole_batch():
    t = trace(torch.randn(6, 4, 3), torch.randn(5, 3), torch.randn(5, 2))
    assert t[5].key.shape == (5, 3)
    assert t[5].context.shape == (4, 2)


def test_a_padding_mask_is_the_batchs_own():
    t = trace(*torch.randn(3, 2, 4, 3), masks.padding([4, 1], 4))
    assert t.hidden[0].sum() == 0
    assert t.hidden[1].sum() == 12


def test_a_query_that_may_see_nothing_gets_zeros_and_finite_gradients():
    query, key, value = (torch.randn(3, 4, requires_grad=True) for _ in range(3))
    visible = torch.tensor([[True, True, True], [False, False, False], [True, False, False]])
    t = trace(query, key, value, visible)
    assert t.weights[1].tolist() == [0, 0, 0]
    assert t.context[1].tolist() == [0, 0, 0, 0]
    t.context.sum().backward()
    assert all(part.grad.isfinite().all() for part in (query, key, value))


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("mask", [masks.padding([3], 4), masks.causal(4)], ids=["padding", "causal"])
def test_hidden_keys_have_no_influence_whatever_they_hold(poison, mask):
    query, key, value = (torch.randn(1, 4, 2, requires_grad=True) for _ in range(3))
    clean = trace(query, key, value, mask)
    bad_key, bad_value = key.detach().clone(), value.detach().clone()
    bad_key[:, 3] = bad_value[:, 3] = poison
    bad_key.requires_grad_()
    t = trace(query, bad_key, bad_value, mask)
    blind = t.hidden[0, :, 3]  # the queries that don't see the poisoned key
    torch.testing.assert_close(t.weights[0, blind], clean.weights[0, blind])
    torch.testing.assert_close(t.context[0, blind], clean.context[0, blind])
    t.context[0, blind].sum().backward()
    assert query.grad[0, blind].isfinite().all()
    if blind.all():
        assert bad_key.grad[0, :3].isfinite().all()


def test_gradients_are_those_of_the_definition():
    inputs = tuple(torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(lambda *parts: trace(*parts, masks.causal(3)).context, inputs)


@pytest.mark.parametrize(("queries", "keys"), [(0, 3), (3, 0), (0, 0)])
def test_empty_sequences_give_empty_steps(queries, keys):
    t = trace(torch.randn(queries, 2), torch.randn(keys, 2), torch.randn(keys, 4))
    assert t.weights.shape == (queries, keys)
    assert t.context.tolist() == [[0.0] * 4] * queries
    assert "nothing in it" in str(t)
    assert t._repr_png_()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3,), (3, 2), (3, 2)), "query must"),
        (((3, 2), (3, 4), (3, 2)), "key must be as wide as query"),
        (((3, 2), (4, 2), (3, 2)), "value must have one row for each of the 4 keys"),
        (((3, 2), (4, 2), (4,)), "value must have one row for each of the 4 keys"),
        (((2, 3, 2), (4, 2), (3, 4, 2)), "value of shape .* doesn't broadcast"),
        (((2, 3, 2), (3, 4, 2), (4, 2)), "key of shape .* does not broadcast"),
    ],
)
def test_says_which_argument_does_not_fit(shapes, message):
    with pytest.raises(ValueError, match=message):
        trace(*(torch.zeros(shape) for shape in shapes))


def test_says_which_argument_is_of_another_kind():
    with pytest.raises(ValueError, match="query must be a floating tensor"):
        trace(torch.arange(4).view(2, 2), torch.eye(2), torch.eye(2))
    with pytest.raises(ValueError, match="value must be a tensor like query and key"):
        trace(torch.eye(2), torch.eye(2), torch.eye(2).double())
    with pytest.raises(TypeError, match="mask must be bool"):
        trace(torch.eye(2), torch.eye(2), torch.eye(2), torch.ones(2, 2, dtype=torch.long))
    with pytest.raises(IndexError, match="longer than the leading dimensions"):
        trace(torch.eye(2), torch.eye(2), torch.eye(2))[0]


def test_the_function_keeps_its_name_where_its_module_is_imported_first():
    program = "from mirada.tracing import Trace; import mirada; print(mirada.trace.__name__)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "trace\n"


class TestTelling:
    def test_prints_every_step_as_a_table(self):
        told = str(trace(EXAMPLE, EXAMPLE, EXAMPLE, masks.causal(5), scale=1))
        for heading in ("1  scores", "2  scaled", "3  masked", "4  weights", "5  context"):
            assert heading in told
        assert "query 1 0.0285 0.0735 0.1185 0.1635 0.2085" in told
        assert "query 1 0.0285     −∞     −∞     −∞     −∞" in told
        assert "query 1 1.0000 0.0000 0.0000 0.0000 0.0000" in told

    def test_show_prints_the_same_to_the_terminal(self, capsys):
        trace(EXAMPLE, EXAMPLE, EXAMPLE, scale=1).show()
        assert "0.0285 0.0735" in capsys.readouterr().out

    def test_leaves_out_the_middle_of_what_is_large(self):
        told = str(trace(*torch.randn(3, 2, 300, 64)))
        assert "[0] of the leading dimensions (2,)" in told
        assert "key 1" in told
        assert "key 299" in told
        assert "⋯" in told
        assert "⋮" in told
        assert "key 150" not in told
        lines = told.splitlines()
        assert len(lines) < 100
        assert max(map(len, lines)) <= 100

    def test_nothing_to_show_is_said(self):
        with pytest.raises(ValueError, match="nothing to show"):
            str(trace(*torch.randn(3, 0, 2, 2)))

    def test_draws_the_five_steps_side_by_side(self):
        t = trace(EXAMPLE, EXAMPLE, EXAMPLE, masks.causal(5))
        titles = [ax.get_title(loc="left").split(":")[0] for ax in t.draw().axes]
        assert titles == ["scores", "scaled", "masked", "weights", "context"]

    def test_its_short_name_holds_no_numbers(self):
        assert repr(trace(EXAMPLE, EXAMPLE, EXAMPLE)) == "Trace(query=(5, 10), key=(5, 10), value=(5, 10))"
