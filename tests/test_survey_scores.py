"""Importance and ablation over a corpus: each text by its own score, whatever batch it was in."""

from __future__ import annotations

import pytest
import torch

import mirada
from mirada.surveys.scores import next_token_loss
from surveyed import HEADS, LAYERS, batched, llama, texts

pytestmark = pytest.mark.transformers


@pytest.fixture(scope="module")
def model():
    return llama()


def loss(model, text, edit=()):
    with mirada.watch(model, edit=edit) as records:
        logits = model(input_ids=text[None]).logits[0, :-1]
    return torch.nn.functional.cross_entropy(logits, text[1:]), records


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("frozen", [False, True])
def test_importance_is_the_mean_over_texts_of_what_each_has_alone(model, size, frozen):
    given = texts(10)
    alone = []
    for text in given:
        score, records = loss(model, text)
        alone.append(records.importance(score))
    expected = torch.stack(alone).double()
    model.requires_grad_(not frozen)
    found = mirada.survey(model, batched(given, size), ask="importance", score=next_token_loss)["importance"]
    assert {parameter.requires_grad for parameter in model.parameters()} == {not frozen}
    model.requires_grad_(True)
    torch.testing.assert_close(found.mean, expected.mean(0), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.stderr, expected.std(0) / 10**0.5, rtol=1e-4, atol=1e-6)
    assert (found.count == 10).all()
    assert found.mean.max() > 0.01


@pytest.mark.parametrize("size", [1, 4])
def test_ablation_is_by_how_much_the_score_changes(model, size):
    given, heads = texts(10), [("model.layers.1.self_attn", 2), ("model.layers.0.self_attn", 0)]
    found = mirada.survey(model, batched(given, size), ask="sink", score=next_token_loss, ablate=heads)["ablation"]
    for layer, head in ((1, 2), (0, 0)):
        edit = mirada.interventions.ablate(layers=layer, heads=head)
        with torch.no_grad():
            changes = torch.stack([loss(model, text, edit)[0] - loss(model, text)[0] for text in given])
        assert float(found.mean[layer, head]) == pytest.approx(float(changes.mean()), abs=1e-5)
        assert float(found.max[layer, head]) == pytest.approx(float(changes.max()), abs=1e-5)
    assert found.mean.isnan().sum() == LAYERS * HEADS - 2


@pytest.mark.parametrize(
    ("ask", "more", "says"),
    [
        ("importance", {"score": lambda output, inputs: output.logits.mean()}, r"score gave shape \(\) for 3 texts"),
        ("importance", {"score": lambda output, inputs: 1.0}, "score gave float"),
        ("sink", {"ablate": [("model.layers.0.self_attn", 0)]}, "ablate needs score="),
        ("sink", {"score": next_token_loss, "ablate": [("model.layers.7", 0)]}, "no head 0 in 'model.layers.7'"),
        ("ablation", {"score": next_token_loss}, "needs ablate="),
    ],
)
def test_scores_that_do_not_fit_are_refused(model, ask, more, says):
    with pytest.raises(ValueError, match=says):
        mirada.survey(model, batched(texts(3), 3), ask=ask, **more)
