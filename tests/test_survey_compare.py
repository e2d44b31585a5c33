"""Two surveys: Welch's test and the correction of Benjamini and Hochberg, against figures by hand."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

import mirada
from mirada.surveys.compare import compare
from surveyed import batched, llama, texts

pytestmark = pytest.mark.transformers


@pytest.fixture(scope="module")
def model():
    return llama()


def of_numbers(numbers, spread):
    """A survey of one layer with three heads; each text is one query, of which the summary is a given number."""
    layer = torch.nn.MultiheadAttention(6, 3, batch_first=True)
    layer.forward = lambda x, whole=torch.nn.MultiheadAttention.forward: whole(layer, x, x, x)
    given = iter(numbers)
    shift = torch.tensor([0.0, 1.0, spread])
    return mirada.survey(layer, [torch.zeros(1, 1, 6) for _ in numbers], ask={"n": lambda record: next(given) * shift})


def test_each_head_is_tested_as_scipy_does():
    one, other = [1.0, 2.0, 4.0, 3.0, 2.5], [2.0, 5.0, 3.5, 6.0]
    found = compare(of_numbers(one, 2.0), of_numbers(other, 2.0))["n"]
    expected = stats.ttest_ind(one, other, equal_var=False).pvalue
    assert found.pvalue[0].tolist() == pytest.approx([1.0, expected, expected])
    assert found.difference[0].tolist() == pytest.approx([0.0, 1.625, 3.25])
    assert found.adjusted[0].tolist() == pytest.approx([1.0, 1.5 * expected, 1.5 * expected])  # p · 3 / 2


def test_the_same_texts_differ_nowhere_and_others_do(model):
    small, large = (batched(texts(30, seed=seed), 6) for seed in (1, 2))
    first, second = (mirada.survey(model, given, ask=["sink", "entropy"]) for given in (small, large))
    assert compare(first, first)["sink"].found() == []
    assert (compare(first, second)["sink"].pvalue > 1e-4).all()
    changed = llama()
    with torch.no_grad():
        changed.model.layers[1].self_attn.q_proj.weight[16:24] = 0.0  # head 2 attends to all keys alike
    found = compare(first, mirada.survey(changed, small, ask=["sink", "entropy"]))
    assert found["entropy"].found() == [(1, 2)]
    assert "1 of 8 heads differ  1.2: +" in str(found)
    assert "Benjamini and Hochberg" in str(found)


def test_heads_that_do_not_spread_are_equal_or_not():
    found = compare(of_numbers([1.0, 1.0], 2.0), of_numbers([1.0, 1.0, 1.0], 3.0))["n"]
    assert found.pvalue[0].tolist() == [1.0, 1.0, 0.0]


def test_one_text_cannot_be_tested():
    found = compare(of_numbers([1.0], 2.0), of_numbers([2.0, 3.0], 2.0))["n"]
    assert all(math.isnan(p) for p in found.pvalue[0].tolist())
    assert found.found() == []


def test_surveys_of_other_heads_are_refused(model):
    one = mirada.survey(model, batched(texts(3), 3), ask="sink")
    with pytest.raises(ValueError, match="different heads"):
        compare(one, of_numbers([1.0], 1.0))
    with pytest.raises(ValueError, match="share no summary"):
        compare(one, mirada.survey(model, batched(texts(3), 3), ask="entropy"))
