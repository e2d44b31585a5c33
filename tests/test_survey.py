"""`mirada.survey` in Python: against weights formed by hand, with padding, with one's own summaries, with bad input."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import mirada
from mirada import summaries
from mirada.surveys.one_pass import CURVES, PER_QUERY
from surveyed import HEADS, LAYERS, batched, by_hand, llama, texts

pytestmark = pytest.mark.transformers


@pytest.fixture(scope="module")
def model():
    return llama()


@pytest.fixture(scope="module")
def expected(model):
    """Of 50 texts, each alone through eager attention: {name: list of (layers, heads, queries)}."""
    eager = copy.deepcopy(model).double()
    eager.set_attn_implementation("eager")
    found = {name: [] for name in PER_QUERY}
    for text in texts(50):
        with torch.no_grad():
            attentions = eager(input_ids=text[None], output_attentions=True).attentions
        of_layers = [by_hand(weights[0], text) for weights in attentions]
        for name in PER_QUERY:
            found[name].append(torch.stack([one[name] for one in of_layers]))
    return found


def error_over_texts(values, mean):
    """√(Σ n² (x − m)² · T / (T − 1)) / Σ n, written out."""
    n = torch.tensor([float(one.shape[-1]) for one in values])[:, None, None]
    x = torch.stack([one.mean(-1) for one in values])
    return ((n * (x - mean)).square().sum(0) * len(values) / (len(values) - 1)).sqrt() / n.sum()


@pytest.mark.parametrize(("size", "side"), [(1, "right"), (7, "right"), (7, "left"), (50, "right")])
def test_fifty_texts_against_eager_attention_by_hand(model, expected, size, side):
    found = mirada.survey(model, batched(texts(50), size, side), ask=PER_QUERY)
    assert (found.texts, found.tokens) == (50, sum(map(len, texts(50))))
    for name, values in expected.items():
        every = torch.cat(values, -1)
        summary, mean = found[name], every.mean(-1)
        near = {"rtol": 1e-5, "atol": 1e-5}
        torch.testing.assert_close(summary.mean, mean, **near, msg=name)
        torch.testing.assert_close(summary.std, every.std(-1, correction=0), **near, msg=name)
        counted = [one for one in values if one.shape[-1]]
        torch.testing.assert_close(summary.stderr, error_over_texts(counted, mean), **near, msg=name)
        torch.testing.assert_close(summary.min, every.amin(-1), **near, msg=name)
        torch.testing.assert_close(summary.max, every.amax(-1), **near, msg=name)
        assert (summary.count == every.shape[-1]).all()
        assert (summary.texts == len(counted)).all()
        assert (summary.histogram.sum(-1) == every.shape[-1]).all()


def test_a_histogram_has_fixed_bins(model, expected):
    found = mirada.survey(model, batched(texts(50), 7), ask="sink")["sink"]
    every = torch.cat(expected["sink"], -1)
    assert found.edges is not None
    assert (len(found.edges), float(found.edges[0]), float(found.edges[-1])) == (65, 0.0, 1.0)
    for head in range(HEADS):
        counts, _ = torch.histogram(every[0, head], found.edges)
        assert (found.histogram[0, head] - counts).abs().sum() <= 4  # a value on an edge may fall to either side


@pytest.mark.parametrize("size", [1, 6])
def test_curves_are_shares_of_the_attention(model, size):
    given = texts(6, seed=2)
    classes = {"low": range(3, 8)}
    found = mirada.survey(model, batched(given, size), ask=CURVES, classes=classes)
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    total = {name: torch.zeros(LAYERS, HEADS, len(found[name].bins)) for name in CURVES}
    for text in given:
        with torch.no_grad():
            weights = torch.stack(eager(input_ids=text[None], output_attentions=True).attentions)[:, 0]
        for i in range(len(text)):
            for j in range(i + 1):
                seen = bool((text[:j] == text[j]).any())
                label = {
                    CURVES[0]: "0" if i == j else next(b for b in found[CURVES[0]].bins if holds(b, i - j)),
                    CURVES[1]: "low" if text[j] < 8 else "repeated" if seen else "other",
                    CURVES[2]: next(b for b in found[CURVES[2]].bins if holds(f"−{b}", j)),
                }
                for name, one in label.items():
                    total[name][..., found[name].bins.index(one)] += weights[..., i, j]
    queries = sum(map(len, given))
    for name in CURVES:
        torch.testing.assert_close(found[name].mean, (total[name] / queries).double(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[name].mean.sum(-1), torch.ones(LAYERS, HEADS, dtype=torch.float64))


def holds(label: str, number: int) -> bool:
    first, _, last = label.removeprefix("−").partition("–")
    return label[:1] == "−" and int(first) <= number <= int(last or (first if "–" not in label else 1 << 40))


def test_ones_own_summary_sees_one_text_without_its_padding(model, expected):
    seen = []

    def own(record):
        seen.append(record.shape)
        return summaries.sink(record)

    def of_queries(record):
        return record.matrix.entropy()

    found = mirada.survey(model, batched(texts(50), 7), ask=["sink", "entropy", {"own": own, "per query": of_queries}])
    assert {(shape[0], shape[-1]) for shape in seen} == {(1, len(text)) for text in texts(50)}
    torch.testing.assert_close(found["own"].mean, found["sink"].mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["per query"].std, found["entropy"].std, rtol=1e-4, atol=1e-5)
    assert (found["own"].texts == 50).all()


def test_queries_that_attend_to_nothing_are_counted_apart():
    class Windowed(nn.Module):
        num_heads = 2

        def forward(self, x):
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
            mask[0] = False  # the first query may attend to nothing
            query = x.unflatten(-1, (2, -1)).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)

    found = mirada.survey(Windowed(), [torch.zeros(3, 5, 8)], ask=["entropy", "sink"])
    assert (found.blind == 3).all()
    assert (found["entropy"].count == 12).all()
    expected = torch.tensor([math.log(n) for n in range(2, 6)], dtype=torch.float64).mean()
    torch.testing.assert_close(found["entropy"].mean, expected.expand(1, 2), rtol=1e-6, atol=0)


def test_examples_are_the_texts_and_queries_with_the_highest_value(model, expected):
    given = texts(50)
    found = mirada.survey(model, batched(given, 7), ask=["induction"])
    best = sorted(((float(v[1, 2].max()), n) for n, v in enumerate(expected["induction"])), reverse=True)[:3]
    examples = found.examples("induction", 1, 2)
    assert [one.value for one in examples] == pytest.approx([value for value, _ in best], abs=1e-5)
    for one, (_, number) in zip(examples, best, strict=True):
        assert one.ids[: len(given[number])] == tuple(given[number].tolist())
        assert float(expected["induction"][number][1, 2, one.query]) == pytest.approx(one.value, abs=1e-5)


def test_the_strongest_come_first_and_are_printed(model):
    found = mirada.survey(model, batched(texts(9), 3), ask=["sink", "entropy"])
    mean = found["sink"].mean
    layer, head = found["sink"].strongest()[0]
    assert mean[layer, head] == mean.max()
    layer, head = found["entropy"].strongest()[0]
    assert found["entropy"].mean[layer, head] == found["entropy"].mean.min()
    assert "sink" in str(found)
    assert "9 texts" in str(found)


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        ("entropi", ValueError, "did you mean 'entropy'"),
        (["sink", "inducton"], ValueError, "did you mean 'induction'"),
        ([], ValueError, "nothing is asked"),
        ("importance", ValueError, "needs score="),
        ({"mine": 3}, TypeError, "'mine'"),
        ({"sink": lambda record: record}, ValueError, "another name"),
        ({"mine": lambda record: torch.zeros(3)}, ValueError, r"'mine'.* gave shape \(3,\).*wanted one number a head"),
        ({"mine": lambda record: 1.0}, ValueError, "gave float"),
        ("attention_by_token_class", ValueError, "classes="),
    ],
)
def test_what_cannot_be_asked_is_refused(model, ask, error, says):
    with pytest.raises(error, match=says):
        mirada.survey(model, batched(texts(3), 3), ask=ask)


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ([], ValueError, "nothing to count"),
        (["a text"], ValueError, "tokenizer="),
        ({"input_ids": torch.zeros(1, 3)}, TypeError, "iterable of batches"),
        ([{"input_ids": "no"}], ValueError, "number 0 holds no tensor"),
        ([{"input_ids": torch.full((1, 3), 9999)}], ValueError, "none of the first 1 could be counted.*row 0"),
    ],
)
def test_what_cannot_be_surveyed_is_refused(model, given, error, says):
    with pytest.raises(error, match=says):
        mirada.survey(model, given, ask="sink")


def test_a_text_that_fails_is_named_and_the_others_count(model):
    given = batched(texts(6), 6)
    given[0]["input_ids"][4, 0] = 9999
    found = mirada.survey(model, given, ask="sink")
    assert [name for name, _ in found.skipped] == ["batch 0 row 4"]
    assert found.texts == 5
    assert "1 text skipped: batch 0 row 4: the model failed" in str(found)


def test_a_text_whose_attention_is_not_finite_is_skipped():
    class Attends(nn.Module):
        def forward(self, x):
            query = x.unflatten(-1, (2, -1)).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(query, query, query)

    x = torch.ones(3, 4, 8)
    x[1, 2] = torch.nan
    found = mirada.survey(Attends(), [x], ask="sink")
    assert found.skipped == [("batch 0 row 1", "sink of head 0 is not finite")]
    assert found.texts == 2


def test_a_model_in_training_is_surveyed_without_dropout_and_left_as_it_was():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, dropout=0.5, batch_first=True)
    x = torch.randn(2, 6, 8)
    first, second = (mirada.survey(layer, [x], ask="entropy")["entropy"].mean for _ in range(2))
    assert torch.equal(first, second)
    assert all(module.training for module in layer.modules())
