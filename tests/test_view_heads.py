"""Heads as a finding aid: measures of each head, from the matrices and from Python."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import mirada
from mirada import summaries
from mirada.viewer import measures
from mirada.viewer.numbers import edges, of_heads
from mirada.viewer.payload import prepare
from mirada.viewer.queries import Answers
from mirada.viewer.scene import scene
from test_view_page import EYE, ROOT, Records, ask, open_page, text_view  # noqa: F401
from test_view_page import WORDS as SENTENCE

# Query 3 ("a" again) attends to what followed the first "a" with 0.6, to the "a" itself with 0.3.
COPIES = torch.tensor([[[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [1.0, 0, 0, 0], [0.3, 0.6, 0, 0.1]]])
WORDS = ["a", "b", "c", "a"]


def test_measures_of_copies_by_hand():
    shown = scene(COPIES, labels=WORDS)
    assert measures.measure(shown, 0, "induction").tolist() == pytest.approx([0.6 / 4])
    assert measures.measure(shown, 0, "duplicate").tolist() == pytest.approx([0.3 / 4])
    carried = prepare(scene(COPIES, labels=WORDS), 1e6).about["layers"][0]["measures"]
    assert carried["induction"] == pytest.approx([0.15])
    live = Answers(scene(COPIES, labels=WORDS))
    assert live.about()["layers"][0]["later"] == ("induction", "duplicate")
    answer = np.frombuffer(live.answer("measure", {"layer": "0", "name": "duplicate"}), "<f4")
    assert answer.tolist() == pytest.approx([0.075])


def test_a_text_without_copies_has_no_measures_of_them():
    for labels in (None, ["a", "b", "c", "d"]):
        shown = scene(COPIES, labels=labels)
        assert measures.later(shown, 0) == ()
        with pytest.raises(ValueError, match="no measure called 'induction'"):
            measures.measure(shown, 0, "induction")


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


# --- in a browser ---

in_browser = pytest.mark.browser


@in_browser
@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["encoder.layer.0.attention.self", "encoder.layer.1.attention.self"], ["L0", "L1"]),
        (["transformer.h.0.attn", "transformer.h.1.attn"], ["L0", "L1"]),
        (["0", "1"], ["L0", "L1"]),
        (["before", "after"], ["before", "after"]),
        (["attention", "attention"], ["attention", "attention"]),
        (
            ["m.encoder.layers.0.self_attn", "m.decoder.layers.0.self_attn", "m.decoder.layers.0.encoder_attn"],
            ["encoder L0 · self", "decoder L0 · self", "decoder L0 · cross"],
        ),
        (
            ["encoder.block.0.layer.0.SelfAttention", "decoder.block.0.layer.0.SelfAttention",
             "decoder.block.0.layer.1.EncDecAttention"],
            ["encoder L0 · self", "decoder L0 · self", "decoder L0 · cross"],
        ),
        (
            ["vision_tower.encoder.layers.0.self_attn", "language_model.layers.0.self_attn"],
            ["vision_tower encoder L0", "L0"],
        ),
    ],
)  # fmt: skip
def test_layers_have_short_names_that_tell_them_apart(open_page, names, short):  # noqa: F811
    page = open_page(mirada.view([Records(name, mirada.AttentionMatrix(*torch.randn(2, 2, 4, 4))) for name in names]))
    assert page.locator(".layer-name option").all_text_contents() == short
    assert page.locator(".heads-name").all_text_contents() == short
    page.get_by_label("layer", exact=True).select_option("1")
    assert ask(page, "() => eye.state.get('layer')") == 1
    assert page.get_by_label("layer", exact=True).get_attribute("title") == names[1]


@in_browser
def test_a_table_shows_numbers_given_from_python(open_page):  # noqa: F811
    view, _ = text_view(layers=3, heads=4)
    effect = torch.arange(12.0).reshape(3, 4) - 5
    effect[1, 2] = torch.nan
    page = open_page(replace_measures(view, {"effect": effect.tolist()}))
    page.get_by_label("Show").select_option("table")
    page.get_by_label("Measure").select_option("given:effect")
    cells = page.locator(".heat-cell")
    told = cells.evaluate_all("cells => cells.map(cell => cell.ariaLabel)")
    assert told[:2] == ["L2, head 3: 6.000", "L2, head 2: 5.000"]
    page.get_by_label("Order").select_option("place")
    told = cells.evaluate_all("cells => cells.map(cell => cell.ariaLabel)")
    assert told[0] == "L0, head 0: −5.000"
    assert told[6] == "L1, head 2: none"
    page.get_by_text("11 of 12 heads, 1 without a number").wait_for()
    colours = cells.evaluate_all("cells => cells.map(cell => getComputedStyle(cell).backgroundColor)")
    assert len(set(colours)) == 12
    cells.nth(9).click()
    assert ask(page, "() => [eye.state.get('view'), eye.state.get('layer'), eye.state.get('head')]") == ["map", 2, 1]


def replace_measures(view, table):
    view.scene = replace(view.scene, measures=measures.given(table, view.scene.layers))
    return view


@in_browser
def test_the_table_is_walked_by_keyboard(open_page):  # noqa: F811
    page = open_page(text_view(layers=3, heads=4)[0])
    page.get_by_label("Show").select_option("table")
    page.get_by_label("Order").select_option("place")
    page.locator(".heat-cell").first.focus()
    for key, place in (("ArrowRight", "L0, head 1"), ("ArrowDown", "L1, head 1"), ("End", "L1, head 3")):
        page.keyboard.press(key)
        assert page.evaluate(f"{ROOT}.activeElement.ariaLabel").startswith(place)
    page.keyboard.press("Enter")
    assert ask(page, "() => [eye.state.get('view'), eye.state.get('layer'), eye.state.get('head')]") == ["map", 1, 3]


@in_browser
def test_heads_like_this_one_come_first(open_page):  # noqa: F811
    torch.manual_seed(4)
    one = torch.softmax(4 * torch.randn(20, 20), -1)
    near = 0.9 * one + 0.1 / 20
    layers = torch.softmax(4 * torch.randn(2, 3, 20, 20), -1)
    layers[0, 1], layers[1, 2] = one, near
    page = open_page(mirada.view(list(layers)))
    ask(page, "() => eye.state.set({ layer: 0, head: 1 })")
    page.get_by_label("Measure").select_option("like")
    page.get_by_text("likeness to L0 · head 1").wait_for()
    words = page.locator(".card-words").all_text_contents()
    assert words[0] == "L0·1"
    assert words[2] == "L1·2"
    wanted = float((one * near).sqrt().sum(-1).mean())
    assert float(words[3].split()[0]) == pytest.approx(100 * wanted, abs=0.6)


@in_browser
def test_a_live_page_asks_a_measure_when_it_is_chosen(browser):
    from mirada.viewer.server import Server

    view, records = text_view(layers=2, heads=3)
    server = Server(view.answers())
    server.start()
    page = browser.new_page()
    try:
        asked = []
        page.on("request", lambda request: asked.append(request.url) if "/measure?" in request.url else None)
        page.goto(server.address)
        page.get_by_text("6 of 6 heads").wait_for()
        assert asked == []
        page.get_by_label("Measure").select_option("duplicate")
        page.get_by_text("6 of 6 heads: attention on earlier copies of the token").wait_for()
        assert len(asked) == 2
        ids = [SENTENCE.index(word) for word in SENTENCE]
        found = torch.stack([summaries.duplicate_token(one.matrix, ids) for one in records])
        best = int(found.argmax())
        assert page.locator(".card-words").first.text_content() == f"L{best // 3}·{best % 3}"
    finally:
        page.close()
        server.stop()


@in_browser
def test_filters_that_leave_nothing_can_be_taken_back(open_page):  # noqa: F811
    page = open_page(text_view(layers=2, heads=3)[0])
    page.get_by_label("Measure").select_option("entropy")
    page.get_by_label("from the lowest").fill("90")
    page.get_by_label("to the highest").fill("10")
    page.get_by_role("button", name="Show all heads").click()
    page.get_by_text("6 of 6 heads: ").wait_for()


@in_browser
def test_thousands_of_heads_are_painted_where_they_are_seen(open_page):  # noqa: F811
    many = [mirada.AttentionMatrix(*torch.randn(2, 32, 6, 4)) for _ in range(64)]
    page = open_page(mirada.view(many))
    page.get_by_text("2048 of 2048 heads").wait_for()
    page.wait_for_function(f"() => {EYE}.made.heads.all().some((one) => one.painted)")
    painted = ask(page, "() => eye.made.heads.all().filter((one) => one.painted).length")
    assert 32 <= painted < 700
    moves = """() => {
        let moved = 0;
        const seen = new MutationObserver((records) => { moved += records.length; });
        seen.observe(eye.made.heads.grid, { childList: true, subtree: true });
        const slider = eye.made.heads.bar.querySelector(".limits input");
        slider.value = 50;
        slider.dispatchEvent(new Event("input"));
        return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(moved))));
    }"""
    page.get_by_label("Measure").select_option("entropy")
    page.locator(".card").first.wait_for()
    assert ask(page, moves) == 0
    assert 0 < page.locator(".card:not([hidden])").count() < 2048
