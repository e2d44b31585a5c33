"""A real trained language model, SmolLM2-135M: the figures of the example, and the live playground on it."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from statistics import median

import pytest
import torch

import mirada
from mirada.models import open_model

pytestmark = [pytest.mark.smollm2, pytest.mark.filterwarnings("ignore")]
# How the United States' Declaration of Independence begins, 1776.
DECLARATION = (
    "When in the Course of human events it becomes necessary for one people to dissolve the political bands which have "
    "connected them with another and to assume among the powers of the earth, the separate and equal station to which "
    "the Laws of Nature and of Nature's God entitle them, a decent respect to the opinions of mankind requires that "
    "they should declare the causes which impel them to the separation. "
)


@pytest.fixture(scope="module")
def example():
    path = Path(__file__).parents[1] / "examples" / "language_model.py"
    spec = importlib.util.spec_from_file_location("language_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def opened(example):
    return open_model(example.folder())


def test_it_knows_the_capital_of_france(opened):
    view = mirada.look(opened, "The capital of France is")
    assert len(view.records) == 30
    assert view.predictions[0].labels[0] == " Paris"
    assert view.predictions[0].probabilities[0] == pytest.approx(0.77, abs=0.03)
    assert list(view.prepared.text.labels) == ["The", "capital", "of", "France", "is"]


def test_what_no_single_token_writes_is_named_by_its_characters(opened):
    tokens = mirada.look(opened, "über 🙂 don't").prepared.text
    assert "".join(label for label in tokens.labels if "·" not in label).replace(" ", "") == "über🙂don't"
    assert len(set(tokens.labels)) == len(tokens)
    assert tokens.words == tuple(sorted(tokens.words))
    assert tokens.words[-1] == 3


def test_a_chat_has_its_roles_as_segments(opened):
    tokens = mirada.look(opened, "Who wrote Don Quixote?", chat=True).prepared.text
    said = tokens.labels[tokens.segments["user"]]
    assert "".join(said) == "WhowroteDonQuixote?"
    assert list(tokens.segments) == ["system", "user", "assistant"]
    assert sum(part.stop - part.start for part in tokens.segments.values()) == len(tokens)


def test_head_18_6_copies_and_without_it_the_model_forgets(example, opened):
    ids = example.repeated()
    with torch.no_grad(), mirada.watch(opened.model) as records:
        loss = example.loss_on_the_repeat(opened.model, ids).item()
    induction = torch.stack([mirada.summaries.induction(record.matrix, ids).mean(0) for record in records])
    best = example.strongest(induction, 3)
    assert best == [(18, 6), (17, 3), (17, 4)]
    assert induction[18, 6].item() == pytest.approx(0.46, abs=0.01)
    assert loss == pytest.approx(2.84, abs=0.02)
    assert example.without(opened.model, ids, [(18, 6)]) == pytest.approx(5.18, abs=0.03)
    assert example.without(opened.model, ids, [(17, 4)]) == pytest.approx(2.97, abs=0.03)


def test_importance_of_all_heads_costs_no_four_passes(example, opened):
    model, ids = opened.model, example.repeated()

    def forward_and_backward():
        example.loss_on_the_repeat(model, ids).backward()
        model.zero_grad()

    def importance():
        with mirada.watch(model) as records:
            loss = example.loss_on_the_repeat(model, ids)
        return records.importance(loss)

    took = {function: [] for function in (forward_and_backward, importance)}
    for _ in range(3):
        for function, times in took.items():
            start = time.perf_counter()
            found = function()
            times.append(time.perf_counter() - start)
    assert found.shape == (30, 9)
    assert {(0, 8), (1, 4)} <= set(example.strongest(found, 6))
    assert median(took[importance]) <= 4 * median(took[forward_and_backward])


def test_a_text_is_run_again_at_about_the_cost_of_one_forward_pass(opened):
    view = mirada.look(opened, "The capital of France is")
    playground, text = view.trials["language"], DECLARATION[:160]
    inputs = mirada.look(opened, text).prepared.inputs
    assert inputs["input_ids"].shape[1] in range(25, 40)
    took = {"typed": [], "forward": []}
    for turn in range(7):
        start = time.perf_counter()
        playground.answer({"do": "run", "text": text + "." * (turn % 2), "turn": turn})
        took["typed"].append(time.perf_counter() - start)
        start = time.perf_counter()
        with torch.no_grad():
            opened.model(**inputs, use_cache=False)
        took["forward"].append(time.perf_counter() - start)
    assert median(took["typed"]) < 2 * median(took["forward"])


def test_ablated_in_the_page_and_in_python_are_equal(opened):
    text = DECLARATION * 4
    view = mirada.look(opened, text)
    (found,) = view.trials["language"].answer({"do": "run", "text": text, "off": [[18, 6], [17, 3]]})["predictions"]
    edits = [mirada.interventions.ablate(layers=18, heads=6), mirada.interventions.ablate(layers=17, heads=3)]
    with torch.no_grad(), mirada.watch(opened.model, edit=edits):
        logits = opened.model(**view.prepared.inputs).logits[0, -1]
    assert found["probabilities"] == pytest.approx(logits.softmax(-1)[found["ids"]].tolist(), abs=1e-5)
    assert found["before"] != pytest.approx(found["probabilities"], abs=1e-3)


def test_memory_stays_flat_over_many_prompts(opened):
    import psutil

    view = mirada.look(opened, DECLARATION)
    process, playground = psutil.Process(), view.trials["language"]
    used = []
    for turn in range(40):
        playground.answer({"do": "run", "text": DECLARATION[: 100 + 5 * turn], "turn": turn})
        used.append(process.memory_info().rss)
    assert max(used[20:]) - max(used[:20]) < 40 * 2**20
