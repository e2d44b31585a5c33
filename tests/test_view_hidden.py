"""A pair that a mask hides is not a pair of weight 0: −0 in every answer, hatched in the page."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import mirada
from mirada import masks
from mirada.viewer import hidden
from mirada.viewer.queries import Answers
from mirada.viewer.scene import scene
from test_view_page import EYE, Records, ask, open_page, tab  # noqa: F401
from test_view_words import LABELS, NUMBERS, serve_page  # noqa: F401

COUNT = 11
BIAS = torch.where(torch.rand(COUNT, COUNT, generator=torch.manual_seed(5)) < 0.3, -torch.inf, 0.5)
RULES = {
    "causal": masks.causal(COUNT),
    "window": masks.sliding_window(2, 1),
    "both": masks.causal(COUNT) & masks.sliding_window(4, 0),
    "holes": masks.causal(COUNT) & ~masks.sliding_window(1, 1),
    "documents": masks.documents([0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]),
    "keys": masks.dense(torch.arange(COUNT) < 7),
    "bias": masks.dense(BIAS),
    "heads": masks.dense(torch.rand(2, COUNT, COUNT, generator=torch.manual_seed(6)) < 0.6),
    "nothing": masks.dense(torch.arange(COUNT)[:, None] > 2),
}


def attention(rule):
    torch.manual_seed(3)
    return mirada.AttentionMatrix(torch.randn(2, COUNT, 4), torch.randn(2, COUNT, 4), rule)


def unseen(rule):
    visible, _ = rule.materialise((2,), COUNT, COUNT)
    return ~visible.expand(2, COUNT, COUNT)


def is_hidden(values):
    return (values == 0) & np.signbit(values)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("cell", [1, 2, 4, 16])
def test_a_cell_is_hidden_where_every_pair_is(rule, cell):
    layer = scene(attention(RULES[rule])).layers[0]
    edges = [min(n * cell, COUNT) for n in range(-(-COUNT // cell) + 1)]
    for head in (0, 1):
        found = hidden.of_head(layer, head)
        assert found is not None
        away = unseen(RULES[rule])[head]
        wanted = torch.tensor(
            [[bool(away[a:b, c:d].all()) for c, d in itertools.pairwise(edges)] for a, b in itertools.pairwise(edges)]
        )
        assert torch.equal(found.cells(edges, edges), wanted)


@pytest.mark.parametrize("rule", RULES)
def test_every_answer_of_a_server_marks_what_is_hidden(rule):
    answers = Answers(scene(attention(RULES[rule])))
    away = unseen(RULES[rule])[1].numpy()

    def asked(question, **given):
        return np.frombuffer(answers.answer(question, {"layer": 0, "head": 1} | given), "<f4")

    for at in range(COUNT):
        np.testing.assert_array_equal(is_hidden(asked("row", query=at)), away[at])
        np.testing.assert_array_equal(is_hidden(asked("column", key=at)), away[:, at])
    assert is_hidden(asked("entry", query=0, key=10))[0] == away[0, 10]
    np.testing.assert_array_equal(is_hidden(asked("tile", cell=1, row=0, column=0)), away.flatten())
    thumbs = asked("overview")[4 * 2 :].reshape(2, COUNT, COUNT)
    np.testing.assert_array_equal(is_hidden(thumbs), unseen(RULES[rule]).numpy())


def test_words_are_hidden_where_all_their_tokens_are():
    answers = Answers(scene(attention(masks.causal(COUNT)), labels=LABELS))
    rows = [
        np.frombuffer(answers.answer("row", {"layer": 0, "head": 0, "query": i, "reading": "words"}), "<f4")
        for i in range(8)
    ]
    np.testing.assert_array_equal(is_hidden(np.array(rows)), np.triu(np.ones((8, 8), bool), 1))


def test_a_softcapped_matrix_keeps_what_its_mask_hides():
    of = mirada.AttentionMatrix(torch.randn(2, 5, 4), torch.randn(2, 5, 4), masks.causal(5), softcap=10.0)
    row = np.frombuffer(Answers(scene(of)).answer("row", {"layer": 0, "head": 0, "query": 1}), "<f4")
    assert is_hidden(row).tolist() == [False, False, True, True, True]


# --- the page ---

ZEROS = """async (head, ...given) => {
    const found = await eye.layers[0].head(head).ASKED;
    return [...(found.rows ? found.values : found)].map((weight) => Object.is(weight, -0));
}"""


@pytest.mark.browser
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["vectors", "weights"])
def test_a_saved_page_knows_what_is_hidden(open_page, rule, kind):  # noqa: F811
    matrix = attention(RULES[rule])
    if kind == "weights":  # formed in Python, as of a softcap
        matrix = mirada.AttentionMatrix(matrix.query, matrix.key, RULES[rule], softcap=30.0)
    page = open_page(mirada.view(matrix))
    assert ask(page, "() => eye.layers[0].about.kind") == kind
    away = unseen(RULES[rule]).numpy()
    for head in (0, 1):
        tile = ask(page, ZEROS.replace("ASKED", "tile(1, 0, 0)"), head)
        np.testing.assert_array_equal(np.array(tile).reshape(COUNT, COUNT), away[head])
        np.testing.assert_array_equal(ask(page, ZEROS.replace("ASKED", "row(4)"), head), away[head, 4])
        np.testing.assert_array_equal(ask(page, ZEROS.replace("ASKED", "column(9)"), head), away[head, :, 9])
        layer = scene(matrix).layers[0]
        edges = [*range(0, COUNT, 4), COUNT]
        of_head = hidden.of_head(layer, head)
        assert of_head is not None
        coarse = ask(page, ZEROS.replace("ASKED", "tile(4, 0, 0)"), head)
        np.testing.assert_array_equal(np.array(coarse).reshape(3, 3), of_head.cells(edges, edges))


@pytest.mark.browser
@pytest.mark.parametrize("rule", [masks.causal(1000), masks.documents([n // 300 for n in range(1000)])])
def test_a_page_of_cells_knows_which_are_hidden(open_page, rule):  # noqa: F811
    of = mirada.AttentionMatrix(torch.randn(1, 1000, 64), torch.randn(1, 1000, 64), rule)
    page = open_page(mirada.view(of), budget=0.27)
    about = ask(page, "() => eye.layers[0].about")
    assert about["kind"] == "cells"
    cell = about["cell"]
    edges = [*range(0, 1000, cell), 1000]
    found = np.array(ask(page, ZEROS.replace("ASKED", f"tile({cell}, 0, 0)"), 0)).reshape(len(edges) - 1, -1)
    of_head = hidden.of_head(scene(of).layers[0], 0)
    assert of_head is not None
    np.testing.assert_array_equal(found, of_head.cells(edges, edges))


COLOURS = """(canvas, x, y, side) => {
    const ratio = window.devicePixelRatio, size = Math.round(side * ratio);
    const copy = new OffscreenCanvas(size, size).getContext('2d', { willReadFrequently: true });
    copy.drawImage(canvas, Math.round(x * ratio), Math.round(y * ratio), size, size, 0, 0, size, size);
    const dots = new Uint32Array(copy.getImageData(0, 0, size, size).data.buffer);
    return new Set(dots).size;
}"""
# A corner of a cell, beside its number; the middle of a token's box.
ON_MAP = """(i, j) => {
    const map = eye.made.map, [x, y] = map.middle(i, j), corner = map.place.scale / 2 - 4;
    return COLOURS(map.canvas, x - corner, y - corner, 12);
}""".replace("COLOURS", f"({COLOURS})")
IN_TOKENS = """(at) => {
    const view = eye.made.tokens, box = view.keyBoxes[at];
    return COLOURS(view.behind, box.x + 1, box.y + 3, 14);
}""".replace("COLOURS", f"({COLOURS})")


@pytest.mark.browser
@pytest.mark.parametrize("host", ["saved", "live"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_hidden_pairs_are_hatched_and_zeros_are_not(open_page, serve_page, host, scheme):  # noqa: F811
    query = torch.full((1, 6, 1), 400.0)
    key = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])[None, :, None]
    of = mirada.AttentionMatrix(query, key, masks.causal(6), scale=1.0)  # all attend to the first key, with weight 1
    view = mirada.view(of, labels=[f"word{n}" for n in range(6)])
    page = open_page(view, scheme=scheme) if host == "saved" else serve_page(view)
    ask(page, "() => eye.state.set({ query: 3, key: 5 })")
    tab(page, "Map")
    page.get_by_text("query 3 “\u2068word3\u2069” → key 5 “\u2068word5\u2069”: hidden by the mask").wait_for()
    page.locator(".map").get_by_text("hidden by the mask", exact=True).wait_for()
    ask(page, "() => eye.state.set({ query: 5, key: 5 })")
    page.wait_for_function(f"() => {{ const eye = {EYE}; return ({ON_MAP})(3, 5) > 1; }}")
    assert ask(page, ON_MAP, 3, 1) == 1
    tab(page, "Tokens")
    ask(page, "() => eye.state.set({ query: 4 })")
    page.get_by_text("query 4").wait_for()
    page.wait_for_function(f"() => {{ const eye = {EYE}; return ({IN_TOKENS})(5) > 1; }}")
    assert ask(page, IN_TOKENS, 2) == 1
    page.locator(".tokens").get_by_text("hidden by the mask", exact=True).wait_for()


@pytest.mark.browser
def test_small_maps_let_the_hatching_through(open_page):  # noqa: F811
    page = open_page(mirada.view(attention(RULES["holes"])))
    page.wait_for_function("document.querySelector('.mirada').shadowRoot.querySelector('.card canvas').width === 11")
    alphas = ask(
        page,
        """() => {
            const copy = new OffscreenCanvas(11, 11).getContext('2d', { willReadFrequently: true });
            copy.drawImage(eye.frame.querySelectorAll('.card canvas')[1], 0, 0);
            return [...copy.getImageData(0, 0, 11, 11).data].filter((_, n) => n % 4 === 3);
        }""",
    )
    np.testing.assert_array_equal(np.array(alphas).reshape(11, 11) == 0, unseen(RULES["holes"])[1])
