"""Two attentions beside each other: runs, models, prompts, before and after an edit."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

import mirada
from mirada.viewer import measures
from mirada.viewer.queries import Answers
from test_view_page import EYE, ROOT, WORDS, ask, open_page, tab, text_view  # noqa: F401

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


# --- in a browser ---


def two_runs():
    _, base = text_view(layers=2, heads=3)
    torch.manual_seed(5)
    tuned = [mirada.AttentionMatrix(r.matrix.query + 0.5, r.matrix.key, r.matrix.mask) for r in base]
    others = ["a", *WORDS[1:]]
    labels = {"base": WORDS, "tuned": others}
    return mirada.view({"base": base, "tuned": tuned}, labels=labels, compare=True), base, tuned


@pytest.mark.browser
def test_the_cross_hair_tells_both_weights_and_the_change(open_page):  # noqa: F811
    view, base, tuned = two_runs()
    page = open_page(view)
    tab(page, "Compare")
    ask(page, "() => eye.state.set({ layer: 1, head: 2, query: 6, key: 0 })")
    wanted = [float(of[1].matrix[2].to_dense()[6, 0]) if of is base else float(of[1][2].to_dense()[6, 0])
              for of in (base, tuned)]  # fmt: skip
    page.wait_for_function(
        f"""(wanted) => ({ROOT}.querySelector('.compare > .readout').dataset.weights ?? "").split(" ").map(Number)
            .every((weight, n) => Math.abs(weight - wanted[n]) < 1e-6)""",
        arg=wanted,
    )
    sentence = page.locator(".compare > .readout").text_content()
    assert f"change {wanted[1] - wanted[0]:+.6f}".replace("-", "−") in sentence
    assert "“\u2068the\u2069” / “\u2068a\u2069”" in sentence


@pytest.mark.browser
def test_the_third_map_is_the_difference(open_page):  # noqa: F811
    view, base, tuned = two_runs()
    page = open_page(view)
    tab(page, "Compare")
    values = ask(
        page, "async () => Array.from((await eye.made.compare.maps[2].layers()[0].head(1).tile(1, 0, 0)).values)"
    )
    wanted = tuned[0][1].to_dense() - base[0].matrix[1].to_dense()
    np.testing.assert_allclose(np.array(values).reshape(13, 13), wanted, atol=1e-6)
    assert page.get_by_text("tuned − base").count() == 1
    page.get_by_role("img", name="Colour scale: change; weight of a key").wait_for()


@pytest.mark.browser
def test_three_maps_move_as_one_on_one_scale(open_page):  # noqa: F811
    page = open_page(two_runs()[0])
    tab(page, "Compare")
    canvas = page.locator(".compare canvas")
    page.wait_for_function(f"() => {ROOT}.querySelectorAll('.compare .ramp').length === 2")
    box = canvas.nth(2).bounding_box()
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    for _ in range(4):
        page.mouse.wheel(0, -200)
    as_one = "(map, _, [first]) => map.at === first.at && map.place.scale > 30"
    page.wait_for_function(f"() => {EYE}.made.compare.maps.every({as_one})")
    places = ask(page, "() => eye.made.compare.maps.map((map) => [map.place.x, map.place.y, map.place.scale])")
    assert places[0] == places[1] == places[2]
    largest = ask(page, "() => eye.made.compare.maps.map((map) => map.largest)")
    assert largest[0] == largest[1]


@pytest.mark.browser
def test_heads_begin_with_what_changed_most_and_open_both_maps(open_page):  # noqa: F811
    view, base, tuned = two_runs()
    page = open_page(view)
    changes = [
        0.5 * (b.to_dense() - a.matrix.to_dense()).abs().sum(-1).mean(-1) for a, b in zip(base, tuned, strict=True)
    ]
    best = int(torch.cat(changes).argmax())
    page.get_by_text("6 of 6 heads: ½ Σ").wait_for()
    assert page.locator(".card-words").first.text_content() == f"L{best // 3}·{best % 3}"
    page.locator(".card").first.click()
    assert ask(page, "() => eye.state.get('view')") == "compare"


@pytest.mark.browser
def test_every_other_view_shows_one_of_the_two(open_page):  # noqa: F811
    view, base, tuned = two_runs()
    page = open_page(view)
    tab(page, "Map")
    for name, matrix in (("tuned", tuned[0]), ("base", base[0].matrix)):
        page.get_by_role("button", name=name, exact=True).click()
        ask(page, "() => eye.state.set({ query: 8, key: 3 })")
        page.wait_for_function(
            f"(to) => 1e-6 > Math.abs(Number({ROOT}.querySelector('.map .readout').dataset.weight ?? NaN) - to)",
            arg=float(matrix[0].to_dense()[8, 3]),
        )
        assert page.get_by_role("button", name=name, exact=True).get_attribute("aria-pressed") == "true"
    tab(page, "Tokens")
    page.get_by_role("button", name="tuned", exact=True).click()
    assert page.locator(".token").first.text_content() == "a"
