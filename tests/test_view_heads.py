"""Heads as a finding aid: measures of each head, from the matrices and from Python."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import mirada
from mirada.viewer import measures
from mirada.viewer.numbers import edges, of_heads
from mirada.viewer.payload import prepare
from mirada.viewer.queries import Answers
from mirada.viewer.scene import scene

# Query 3 ("a" again) attends to what followed the first "a" with 0.6, to the "a" itself with 0.3.
COPIES = torch.tensor([[[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [1.0, 0, 0, 0], [0.3, 0.6, 0, 0.1]]])
WORDS = ["a", "b", "c", "a"]


def test_measures_of_copies_by_hand():
    (layer,) = scene(COPIES, labels=WORDS).layers
    assert measures.measure(layer, "induction").tolist() == pytest.approx([0.6 / 4])
    assert measures.measure(layer, "duplicate").tolist() == pytest.approx([0.3 / 4])
    carried = prepare(scene(COPIES, labels=WORDS), 1e6).about["layers"][0]["measures"]
    assert carried["induction"] == pytest.approx([0.15])
    live = Answers(scene(COPIES, labels=WORDS))
    assert live.about()["layers"][0]["later"] == ("induction", "duplicate")
    answer = np.frombuffer(live.answer("measure", {"layer": "0", "name": "duplicate"}), "<f4")
    assert answer.tolist() == pytest.approx([0.075])


def test_a_text_without_copies_has_no_measures_of_them():
    for labels in (None, ["a", "b", "c", "d"]):
        (layer,) = scene(COPIES, labels=labels).layers
        assert measures.later(layer) == ()
        with pytest.raises(ValueError, match="no measure called 'induction'"):
            measures.measure(layer, "induction")


def test_a_query_that_attends_to_nothing_counts_in_no_mean():
    (layer,) = scene(torch.tensor([[[0.0, 0.0], [0.5, 0.5]]])).layers
    found = of_heads(layer.matrix, edges(layer.matrix))
    assert found.sink.tolist() == [0.5]
    assert found.previous.tolist() == [0.5]
    assert found.entropy.tolist() == pytest.approx([np.log(2)])


@pytest.mark.parametrize("form", [torch.tensor, np.array, list])
def test_numbers_given_from_python(form):
    shown = mirada.view([COPIES.expand(2, 4, 4)] * 2, measures={"effect": form([[1.0, -2.0], [float("nan"), 4.0]])})
    assert shown.scene.measures == {"effect": [[1.0, -2.0], [None, 4.0]]}


def test_layers_with_different_numbers_of_heads_take_a_row_each():
    shown = mirada.view([COPIES, COPIES.expand(2, 4, 4)], measures={"mean": [torch.ones(1), torch.zeros(2)]})
    assert shown.scene.measures == {"mean": [[1.0], [0.0, 0.0]]}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (torch.zeros(3, 1), "measures['effect']: got 3 layers of 1 heads, wanted 2 layers of 1 heads"),
        (torch.zeros(2, 2), "measures['effect']: got 2 layers of 2 heads, wanted 2 layers of 1 heads"),
        ([[1.0], [1.0, 2.0]], "measures['effect']: got 2 layers of 1/2 heads, wanted"),
        (torch.tensor(1.0), "measures['effect']: got no rows, wanted"),
        ([1.0, 2.0], "measures['effect']: got 2 layers of 0 heads, wanted"),
        ([["a"], ["b"]], "measures['effect']: holds something that can't be read as a number"),
    ],
)
def test_numbers_of_another_shape_are_refused(given, error):
    with pytest.raises(ValueError, match=re.escape(error)):
        mirada.view([COPIES, COPIES], measures={"effect": given})


def test_measures_are_named():
    with pytest.raises(TypeError, match="measures: got Tensor, wanted a dictionary"):
        mirada.view(COPIES, measures=torch.zeros(1, 1))  # pyright: ignore[reportArgumentType] - what is refused
