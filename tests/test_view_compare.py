"""Two attentions beside each other: runs, models, prompts, before and after an edit."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import mirada
from mirada.viewer import measures
from mirada.viewer.queries import Answers

BASE = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]])
TUNED = torch.tensor([[[1.0, 0.0], [0.2, 0.8]], [[0.0, 1.0], [1.0, 0.0]]])


def test_change_by_hand():
    shown = mirada.view({"base": BASE, "tuned": TUNED}, compare=True).scene
    assert shown.compared == ("base", "tuned")
    assert [len(shown.layers), len(shown.beside(0))] == [2, 1]
    assert measures.measure(shown, 0, "change").tolist() == pytest.approx([0.15, 1.0])
    live = Answers(shown)
    answer = np.frombuffer(live.answer("measure", {"layer": "1", "name": "change"}), "<f4")
    assert answer.tolist() == pytest.approx([0.15, 1.0])


def test_queries_that_attend_to_nothing_in_both_do_not_count():
    blind = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]])
    other = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])
    assert measures.change(mirada.DenseAttention(blind), mirada.DenseAttention(other)).tolist() == [1.0]


def test_rollout_stays_within_one_of_the_two():
    torch.manual_seed(0)
    base, tuned = torch.softmax(torch.randn(2, 3, 2, 5, 5), -1)
    both = mirada.view({"a": list(base), "b": list(tuned)}, compare=True).answers()
    alone = mirada.view(list(tuned)).answers()
    assert both.answer("rollout", {"layer": "4", "query": "3"}) == alone.answer("rollout", {"query": "3"})
    assert both.answer("rollout", {"layer": "0", "query": "3"}) != alone.answer("rollout", {"query": "3"})


def test_prompts_of_equal_length_keep_their_own_words():
    shown = mirada.view({"a": BASE, "b": TUNED}, labels={"a": ["x", "y"], "b": ["x", "z"]}, compare=True).scene
    assert [list(layer.queries.labels) for layer in shown.layers] == [["x", "y"], ["x", "z"]]


@pytest.mark.parametrize(
    ("what", "error", "says"),
    [
        ([BASE, TUNED], TypeError, "what: got list, compare=True wants a dictionary of two"),
        ({"a": BASE}, ValueError, "compare=True wants two attentions, got 1: a"),
        ({"a": BASE, "b": BASE, "c": BASE}, ValueError, "compare=True wants two attentions, got 3: a, b, c"),
        ({"a": [BASE], "b": [BASE, BASE]}, ValueError, "compare: 'a' has 1 layers, 'b' has 2"),
        (
            {"a": BASE, "b": torch.eye(3)},
            ValueError,
            "compare: attention of 'a' has 2 heads of 2 × 2 tokens, attention of 'b' has 1 of 3 × 3",
        ),
    ],
)
def test_what_cannot_be_compared(what, error, says):
    with pytest.raises(error, match=re.escape(says)):
        mirada.view(what, compare=True)


def test_measures_are_of_the_layers_that_are_compared():
    shown = mirada.view({"a": BASE, "b": TUNED}, compare=True, measures={"effect": [[1.0, 2.0]]})
    assert shown.scene.measures == {"effect": [[1.0, 2.0]]}
