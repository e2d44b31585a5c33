"""A generation in the view: its steps as one matrix, with the labels of all of its tokens."""

from __future__ import annotations

import pytest
import torch

import mirada
from attending import Cached, Direct
from mirada.viewer.scene import scene
from test_view_page import ask, open_page  # noqa: F401
from test_watch_generation import generated

WORDS = [f"w{n}" for n in range(9)]


@pytest.mark.parametrize("steps", [[1] * 9, [5, 1, 1, 1, 1]])
@pytest.mark.parametrize("kind", ["growing", "fixed"])
def test_a_generation_is_one_matrix(kind, steps):
    torch.manual_seed(0)
    records = generated(Cached(kind), torch.randn(1, 9, 16), steps)
    (layer,) = scene(records).layers
    assert layer.matrix.shape[-2] == 9
    torch.testing.assert_close(layer.matrix.rows([8]), records.stitched()[0].matrix[0].rows([8]))


@pytest.mark.parametrize("written", [0, 1])
def test_labels_of_all_tokens_are_taken(written):
    torch.manual_seed(0)
    records = generated(Cached("growing"), torch.randn(1, 9, 16), [5, 1, 1, 1, 1])
    given = {
        "labels": ["<s>", *WORDS[1:], *["last"] * written],
        "words": [0, 1, 1, 2, 3, 4, 5, 6, 7, *[7] * written],
        "special": [1] + [0] * (8 + written),
        "segments": {"prompt": slice(0, 5), "written": slice(5, 9 + written)},
    }
    (layer,) = scene(records, **given).layers
    assert list(layer.queries) == ["<s>", *WORDS[1:]]
    assert layer.queries.segments == (("prompt", 0, 5), ("written", 5, 9))
    assert layer.queries.word_labels[-1] == "w8"


def test_labels_of_another_length_are_refused():
    torch.manual_seed(0)
    records = generated(Cached("growing"), torch.randn(1, 9, 16), [5, 1, 1, 1, 1])
    with pytest.raises(ValueError, match="labels: got 11, wanted 9"):
        mirada.view(records, labels=[*WORDS, "a", "b"])


def test_calls_that_are_no_generation_are_refused_by_name():
    torch.manual_seed(0)
    model = torch.nn.Sequential(Direct())
    with mirada.watch(model) as records:
        model(torch.randn(2, 5, 16))
        model(torch.randn(2, 6, 16))
    with pytest.raises(ValueError, match=r"not the steps of one generation: step 1 of '0'.*such as records\[:4\]"):
        mirada.view(records)
    assert len(scene(records[:1]).layers) == 1


def test_a_module_that_is_called_twice_on_the_same_size_stays_two_layers():
    model = Direct()
    with mirada.watch(model) as records:
        model(torch.randn(2, 5, 16))
        model(torch.randn(2, 5, 16))
    assert len(scene(records).layers) == 2


@pytest.mark.browser
def test_a_slider_goes_through_the_steps(open_page):  # noqa: F811
    torch.manual_seed(0)
    records = generated(Cached("growing"), torch.randn(1, 9, 16), [5, 1, 1, 1, 1])
    page = open_page(mirada.view(records, labels=[*WORDS, "last"]))
    slider = page.get_by_label("step of the generation")
    slider.fill("2")
    page.get_by_text("2 of 5 writes “\u2068w6\u2069”").wait_for()
    assert ask(page, "() => eye.state.get('query')") == 5  # the token from which w6 was predicted
    slider.fill("5")
    page.get_by_text("5 of 5 writes “\u2068last\u2069”").wait_for()
    ask(page, "() => eye.state.set({ query: 0 })")
    page.get_by_text("a query of the prompt").wait_for()
