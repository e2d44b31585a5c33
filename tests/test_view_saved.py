"""What is taken away from a page: figures, numbers, an address."""

from __future__ import annotations

import csv
import json
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

import mirada
from test_view_page import WORDS, ask, open_page, tab, text_view  # noqa: F401

pytestmark = pytest.mark.browser
SVG = "{http://www.w3.org/2000/svg}"


def saved(page, name):
    """The text of a file that the menu gives, and its name."""
    with page.expect_download() as coming:
        page.get_by_text("Save", exact=True).click()
        page.get_by_role("button", name=name).click()
    return coming.value.path().read_text(encoding="utf-8-sig"), coming.value.suggested_filename


def words_of(figure):
    return ["".join(node.itertext()) for node in figure.iter(f"{SVG}text")]


def test_a_map_is_saved_in_lines_and_words(open_page):  # noqa: F811
    view, records = text_view()
    page = open_page(view)
    tab(page, "Map")
    ask(page, "() => eye.state.set({ head: 1, query: 6, key: 2 })")
    page.locator(".map .readout[data-weight]").wait_for()
    page.locator(".map .ramp").wait_for()
    page.wait_for_timeout(200)
    text, name = saved(page, "Save this view as SVG")
    assert name == "a-sentence-map-L0-H1-q6.svg"
    figure = ElementTree.fromstring(text)
    assert figure.findall(f".//{SVG}image") == []
    assert figure.findall(f".//{SVG}pattern") != []  # what the mask hides is hatched
    words = words_of(figure)
    assert words[0] == "A sentence · L0 (layers.0) · head 1 · query 6 “because”"
    assert words.count("cat") == 2  # along both sides
    assert {"0.00", "1.00", "weight of a key", "entropy"} <= set(words)
    assert not {"Fit", "Colour", "+"} & set(words)
    largest = float(records[0].matrix[1].to_dense().max())
    fills = {node.get("fill") for node in figure.iter(f"{SVG}rect")}
    assert largest > 0.5
    assert len(fills) > 40  # cells of many colours, each a rectangle


def test_a_figure_of_several_heads_says_so(open_page):  # noqa: F811
    page = open_page(text_view()[0])
    tab(page, "Map")
    ask(page, "() => eye.state.set({ together: true, heads: new Set([0, 2]), query: 1 })")
    page.locator(".map .readout[data-weight]").wait_for()
    text, _ = saved(page, "Save this view as SVG")
    title = words_of(ElementTree.fromstring(text))[0]
    assert title == "A sentence · L0 (layers.0) · mean of 2 heads · query 1 “cat”"


@pytest.mark.parametrize("name", ["Heads", "Tokens", "Steps"])
def test_a_figure_holds_what_is_out_of_sight(open_page, name):  # noqa: F811
    view, _ = text_view(layers=6, heads=3, words=WORDS * 12)
    page = open_page(view, height=420)
    tab(page, name)
    page.wait_for_timeout(300)
    before = ask(page, "() => eye.stage.getBoundingClientRect().height")
    figure = ElementTree.fromstring(saved(page, "Save this view as SVG")[0])
    assert float(figure.get("height")) > 450
    words = words_of(figure)
    if name == "Heads":
        assert [word for word in words if word.startswith("L")] == [f"L{n}" for n in range(6)]
        assert len(figure.findall(f".//{SVG}g[@shape-rendering]")) == 18
    elif name == "Tokens":
        assert words.count("dog") >= 12
    else:
        assert any(word.startswith("softmax") for word in words)
    assert ask(page, "() => eye.stage.getBoundingClientRect().height") == before


def test_a_page_is_printed_as_its_figure(open_page):  # noqa: F811
    page = open_page(text_view()[0])
    tab(page, "Map")
    page.locator(".map .readout[data-weight]").wait_for()
    printed = page.pdf()
    assert b"/Font" in printed
    page.evaluate("() => window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".printed svg text").count() > 20
    page.evaluate("() => window.dispatchEvent(new Event('afterprint'))")
    assert page.locator(".printed").count() == 0


def test_a_row_in_every_head(open_page):  # noqa: F811
    view, records = text_view()
    page = open_page(view)
    ask(page, "() => eye.state.set({ layer: 1, query: 6 })")
    text, name = saved(page, "This query's row as CSV")
    assert name == "a-sentence-row-L1-q6.csv"
    head, *rows = csv.reader(text.splitlines())
    assert head == ["key", "token", "head 0", "head 1", "head 2"]
    assert [row[1] for row in rows] == WORDS
    wanted = records[1].matrix.to_dense()[:, 6].T
    np.testing.assert_allclose([[float(cell) for cell in row[2:]] for row in rows], wanted, atol=1e-6)
    told = json.loads(saved(page, "This query's row as JSON")[0])
    assert (told["layer"], told["query"], told["query_token"], told["title"]) == (1, 6, "because", "A sentence")
    np.testing.assert_allclose([row[2:] for row in told["rows"]], wanted, atol=1e-6)


def test_a_head_of_several_tiles(open_page):  # noqa: F811
    torch.manual_seed(0)
    matrix = mirada.AttentionMatrix(torch.randn(2, 300, 8), torch.randn(2, 270, 8))
    page = open_page(mirada.view(matrix))
    ask(page, "() => eye.state.set({ head: 1 })")
    told = json.loads(saved(page, "This head as JSON")[0])
    np.testing.assert_allclose([row[2:] for row in told["rows"]], matrix[1].to_dense(), atol=1e-6)
    head, *rows = csv.reader(saved(page, "This head as CSV")[0].splitlines())
    assert (len(head), len(rows)) == (272, 300)


def test_measures_of_all_heads(open_page):  # noqa: F811
    view, records = text_view()
    page = open_page(view)
    head, *rows = csv.reader(saved(page, "Measures of all heads as CSV")[0].splitlines())
    assert head[:4] == ["layer", "name", "head", "entropy"]
    assert head[-2:] == ["induction", "duplicate token"]
    wanted = torch.cat([record.matrix.entropy().mean(-1) for record in records])
    np.testing.assert_allclose([float(row[3]) for row in rows], wanted, atol=1e-5)


def test_words_stay_words_in_a_spreadsheet(open_page):  # noqa: F811
    words = ["=1+1", '"', "a,b", "-", "line\nend"]
    page = open_page(mirada.view(torch.softmax(torch.randn(1, 5, 5), -1), labels=words))
    text, _ = saved(page, "This query's row as CSV")
    assert '"\'=1+1"' in text
    assert [row[1] for row in csv.reader(text.splitlines(keepends=True))][2:5] == ['"', "a,b", "-"]
    assert [row[1] for row in json.loads(saved(page, "This query's row as JSON")[0])["rows"]] == words


def test_numbers_that_a_page_has_not_are_not_made_up(open_page):  # noqa: F811
    matrix = mirada.AttentionMatrix(torch.randn(2, 1200, 32), torch.randn(2, 1200, 32))
    page = open_page(mirada.view(matrix), budget=0.4)
    page.get_by_text("Save", exact=True).click()
    page.get_by_role("button", name="This head as CSV").click()
    page.get_by_text("single weights are not in it").wait_for()


def test_the_address_says_what_is_shown_and_back_takes_it_back(open_page):  # noqa: F811
    page = open_page(text_view()[0])
    tab(page, "Map")
    ask(page, "() => eye.state.set({ head: 2, query: 6, key: 3 })")
    page.wait_for_url("**#map/L0/H2/q6/k3")
    tab(page, "Tokens")
    page.keyboard.press("]")
    page.wait_for_url("**#tokens/L1/H2/q6/k3")
    page.go_back()
    page.wait_for_url("**#map/L0/H2/q6/k3")
    state = "() => ['view', 'layer', 'head', 'query', 'key'].map((name) => eye.state.get(name))"
    assert ask(page, state) == ["map", 0, 2, 6, 3]
    page.go_back()
    page.wait_for_function("() => location.hash === ''")
    assert ask(page, state)[:2] == ["heads", 0]


@pytest.mark.parametrize(
    ("address", "state"),
    [
        ("#map/L1/H2/q6/k3", ["map", 1, 2, 6, 3, 3]),
        ("#tokens/L1/H0/q2/k0/on0.2", ["tokens", 1, 0, 2, 0, 2]),
        ("#map/L0/H1/q2/k0/on0.2/together/max/in0.1", ["map", 0, 1, 2, 0, 2]),
        ("#map/L99/H99/q99999/k7", ["map", 1, 2, 12, 7, 3]),
        ("#<img src=x>/Lx/q-1/on9", ["heads", 0, 0, 0, 0, 3]),
    ],
)
def test_a_page_opens_where_its_address_says(open_page, address, state):  # noqa: F811
    page = open_page(text_view()[0], address=address)
    told = ask(page, "() => ['view', 'layer', 'head', 'query', 'key'].map((name) => eye.state.get(name))")
    assert [*told, ask(page, "() => eye.state.get('heads').size")] == state
