"""Several heads and layers as one: their mean or their largest weights, on the map and in the text."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mirada
from mirada import masks
from mirada.dense import DenseAttention
from mirada.viewer.queries import Answers
from mirada.viewer.scene import scene
from test_view_page import WORDS, Records, ask, open_page, tab, text_view  # noqa: F401
from test_view_words import serve_page  # noqa: F401


def wanted(records, how, heads, layers):
    every = torch.stack([records[n].matrix.to_dense()[h] for n in layers for h in heads])
    return every.mean(0) if how == "mean" else every.amax(0)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_a_server_answers_for_several_heads_as_one(how):
    _, records = text_view(masks.causal(13))
    answers = Answers(scene(records))
    one = wanted(records, how, (0, 2), (0, 1))
    of = {"layer": 0, "head": 0, "how": how, "heads": "0,2", "layers": "0,1"}

    def asked(question, **given):
        return np.frombuffer(answers.answer(question, of | given), "<f4")

    np.testing.assert_allclose(asked("row", query=7), one[7], atol=1e-6)
    np.testing.assert_allclose(asked("column", key=3), one[:, 3], atol=1e-6)
    np.testing.assert_allclose(asked("entry", query=7, key=3), one[7, 3:4], atol=1e-6)
    np.testing.assert_allclose(asked("tile", cell=1, row=0, column=0), one.flatten(), atol=1e-6)
    np.testing.assert_allclose(asked("edges")[:13], DenseAttention(one).entropy(), atol=1e-5)
    assert np.signbit(asked("row", query=7)[8:]).all()  # what all masks hide is hidden


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"how": "least"}, "how must be mean or max, got 'least'"),
        ({"heads": "0,9"}, "heads must be a whole number from 0 to 2, got '9'"),
        ({"layers": ""}, "layers must be a whole number from 0 to 1, got ''"),
    ],
)
def test_heads_that_are_not_there_are_refused(given, error):
    answers = Answers(scene(text_view()[1]))
    of = {"layer": 0, "head": 0, "query": 0, "how": "mean", "heads": "0", "layers": "0,1"}
    with pytest.raises(ValueError, match=error):
        answers.answer("row", of | given)


def test_layers_over_other_tokens_are_refused():
    answers = Answers(scene([torch.rand(1, 3, 3), torch.rand(1, 4, 3)]))
    with pytest.raises(ValueError, match=r"heads can be one only over the same tokens, these have 3 × 3, 4 × 3"):
        answers.answer("row", {"query": 0, "how": "mean", "heads": "0", "layers": "0,1"})


@pytest.mark.browser
@pytest.mark.parametrize("host", ["saved", "live"])
@pytest.mark.parametrize("how", ["mean", "max"])
def test_the_map_shows_the_chosen_heads_and_layers_as_one(open_page, serve_page, host, how):  # noqa: F811
    view, records = text_view()
    page = open_page(view) if host == "saved" else serve_page(view)
    tab(page, "Map")
    page.locator(".map label", has_text="Head").locator("select").select_option(how)
    page.get_by_role("button", name="head 1").click()  # off
    page.locator(".map summary").click()
    page.locator(".map").get_by_role("button", name="All").click()
    ask(page, "() => eye.state.set({ query: 7, key: 3 })")
    one = wanted(records, how, (0, 2), (0, 1))
    word = {"mean": "mean", "max": "largest"}[how]
    page.get_by_text(f"{word} of 4 heads in 2 layers: query 7").wait_for()
    page.wait_for_function(
        "wanted => Math.abs(Number(document.querySelector('.mirada').shadowRoot"
        ".querySelector('.map .readout').dataset.weight ?? NaN) - wanted) < 1e-6",
        arg=float(one[7, 3]),
    )
    tile = ask(page, "async () => [...(await eye.made.map.head.tile(1, 0, 0)).values]")
    np.testing.assert_allclose(tile, one.flatten(), atol=1e-6)


@pytest.mark.browser
@pytest.mark.parametrize("host", ["saved", "live"])
@pytest.mark.parametrize("how", ["mean", "max"])
def test_tokens_list_the_chosen_heads_and_layers(open_page, serve_page, host, how):  # noqa: F811
    view, records = text_view()
    page = open_page(view) if host == "saved" else serve_page(view)
    ask(page, "(how) => eye.state.set({ query: 8, how, span: [0, 1], heads: new Set([0, 2]) })", how)
    tab(page, "Tokens")
    one = wanted(records, how, (0, 2), (0, 1))[8]
    page.locator(".details").get_by_text("of 4 heads in 2 layers").wait_for()
    page.get_by_text("a stripe a layer").wait_for()
    mean = ask(page, "() => [...eye.made.tokens.attended.mean]")
    np.testing.assert_allclose(mean, one, atol=1e-6)


@pytest.mark.browser
def test_threshold_and_number_of_the_strongest(open_page):  # noqa: F811
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0]).expand(1, 5, 5)
    page = open_page(mirada.view(weights, labels=list("abcde")))
    ask(page, "() => eye.state.set({ query: 4 })")
    tab(page, "Tokens")
    page.get_by_text("query 4").wait_for()
    found = lambda: page.locator(".details ol").first.locator(".listed").all_text_contents()  # noqa: E731
    page.wait_for_function("document.querySelector('.mirada').shadowRoot.querySelector('.details ol').children.length")
    assert found() == ["a", "b", "c", "d"]
    page.get_by_label("at least").fill("20")
    assert found() == ["a", "b"]
    page.get_by_label("at least").fill("0")
    page.get_by_label("strongest").fill("3")
    page.get_by_label("strongest").press("Enter")
    assert found() == ["a", "b", "c"]
