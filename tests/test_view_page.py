"""The saved page, in a browser that reaches no network."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import mirada
from mirada import masks
from mirada.viewer.page import length_without
from mirada.viewer.payload import about as described
from mirada.viewer.payload import describe
from mirada.viewer.script import module, part

pytestmark = pytest.mark.browser

WORDS = ["the", "cat", "sat", "on", "the", "mat", "because", "it", "was", "tired", "of", "the", "dog"]
ROOT = "document.querySelector('.mirada').shadowRoot"
EYE = "document.querySelector('.mirada').eye"


class Records:
    def __init__(self, name, matrix, value=None):
        self.name, self.matrix, self.value = name, matrix, value


@pytest.fixture
def open_page(browser, tmp_path):
    """Opens a view's saved page; whatever the page complains about or asks for fails the test."""
    contexts, complaints = [], []

    def opened(view, *, scheme="light", width=1280, height=800, budget=20.0, address=""):
        path = view.save(tmp_path / "page.html", budget=budget)
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": height}, accept_downloads=True
        )
        contexts.append(context)
        context.set_offline(True)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request", lambda request: complaints.append(request.url) if request.url[:4] in ("http", "ws:/") else None
        )
        page.goto(path.as_uri() + address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def tab(page, name):
    page.get_by_role("tab", name=name, exact=True).click()


def text_view(mask=None, layers=2, heads=3, words=WORDS, width=8):
    torch.manual_seed(1)
    count = len(words)
    parts = [torch.randn(3, heads, count, width) for _ in range(layers)]
    rule = masks.causal(count) if mask is None else mask
    records = [Records(f"layers.{n}", mirada.AttentionMatrix(q, k, rule), v) for n, (q, k, v) in enumerate(parts)]
    return mirada.view(records, labels=words, title="A sentence"), records


def ask(page, expression, *arguments):
    return page.evaluate(
        f"async ([...given]) => {{ const eye = {EYE}; return await ({expression})(...given); }}", list(arguments)
    )


# --- every number is the model's ---


RULES = [
    masks.causal(13),
    masks.sliding_window(2, 3),
    masks.causal(13) & ~masks.sliding_window(0, 0),
    masks.dense(torch.linspace(-2, 2, 169).reshape(13, 13)),
    masks.dense(torch.arange(13) < 9),
]


ALL = """async () => {
    const head = eye.layers[1].head(2);
    return Promise.all([...Array(13).keys()].map(async (at) => [...await head.ONE(at)]));
}"""


@pytest.mark.parametrize("rule", RULES)
def test_rows_columns_and_edges_are_the_models(open_page, rule):
    view, records = text_view(rule)
    page = open_page(view)
    of = records[1].matrix[2].to_dense()
    rows = ask(
        page,
        ALL.replace("ONE", "row"),
    )
    np.testing.assert_allclose(rows, of, atol=1e-6)
    columns = ask(
        page,
        ALL.replace("ONE", "column"),
    )
    np.testing.assert_allclose(np.array(columns).T, of, atol=1e-6)
    entropy, received = ask(
        page, "async () => { const e = await eye.layers[1].head(2).edges(); return [[...e.entropy], [...e.received]]; }"
    )
    np.testing.assert_allclose(entropy, records[1].matrix[2].entropy(), atol=1e-5)
    np.testing.assert_allclose(received, records[1].matrix[2].received(), atol=1e-5)


TILES = """async (cell, r, c) => {
    const tile = await eye.layers[0].head(1).tile(cell, r, c);
    return tile && { rows: tile.rows, columns: tile.columns, values: [...tile.values] };
}"""


@pytest.mark.parametrize(
    ("length", "budget", "kind"),  # megabytes beside those of the page itself
    [(600, 20.0, "vectors"), (600, 0.28, "vectors"), (1000, 0.03, "cells"), (1200, 20.0, "vectors")],
)
def test_tiles_equal_tile_at_every_level(open_page, length, budget, kind):
    torch.manual_seed(2)
    of = mirada.AttentionMatrix(torch.randn(2, length, 16), torch.randn(2, length, 16), masks.causal(length))
    view = mirada.view(of)
    bare = length_without(described(view.scene, [describe(layer) for layer in view.scene.layers])) / 1e6
    page = open_page(view, budget=bare + budget)
    about = ask(page, "() => eye.layers[0].about")
    assert about["kind"] == kind
    checked = 0
    for cell in (1, 2, 4, 8, 16, 32):
        tile = ask(page, TILES, cell, 0, 0)
        if tile is None:
            assert cell < about["cell"]
            continue
        size = min(256 * cell, length) // cell * cell
        whole = size // cell
        values = np.array(tile["values"]).reshape(tile["rows"], tile["columns"])[:whole, :whole]
        wanted = of.tile((0, size), (0, size), (whole, whole))[1].numpy()
        error = 1 / 510 if cell in about.get("levels", ()) else about["error"]
        assert (np.abs(values - wanted) <= (error * 1.01) * wanted.max(-1, keepdims=True) + 2e-6).all()
        checked += 1
    assert checked >= 2


def test_the_precision_is_stated_and_kept(open_page):
    view, records = text_view(words=[str(n) for n in range(200)], layers=4, heads=8, width=32)
    page = open_page(view, budget=1.1)
    about = ask(page, "() => eye.layers[3].about")
    assert about["bits"] < 16
    assert f"in {about['bits']} bits, within 1/" in page.locator(".precision").text_content()
    row = ask(page, "async () => [...await eye.layers[3].head(5).row(150)]")
    true = records[3].matrix[5].to_dense()[150].numpy()
    assert np.abs(row - true).max() <= about["error"] * true.max() + 1e-6


def test_given_weights_are_shown_as_they_are(open_page):
    weights = torch.softmax(torch.randn(2, 5, 7), -1)
    page = open_page(mirada.view({"cross": weights}, labels=(list("abcde"), list("ABCDEFG"))))
    np.testing.assert_allclose(
        ask(page, "async () => [...await eye.layers[0].head(1).row(3)]"), weights[1, 3], atol=1e-7
    )
    tab(page, "Steps")
    page.get_by_text("only its weights are").wait_for()


# --- the views ---


def test_heads_are_sorted_filtered_and_opened(open_page):
    view, records = text_view(layers=3, heads=4)
    page = open_page(view)
    cards = page.locator(".card")
    page.get_by_text("12 of 12 heads").wait_for()
    page.get_by_label("Measure").select_option("previous")
    previous = torch.stack([layer.matrix.to_dense().diagonal(-1, 1, 2).mean(-1) for layer in records])
    best = int(previous.argmax())
    assert cards.first.get_attribute("aria-label").startswith(f"layers.{best // 4}, head {best % 4}: ")
    assert f"{100 * previous.max():.0f} %" in cards.first.text_content()
    page.get_by_label("from the lowest").fill("60")
    span = previous.max() - previous.min()
    left = int((previous >= previous.min() + 0.6 * span).sum())
    page.get_by_text(f"{left} of 12 heads").wait_for()
    assert page.locator(".card:visible").count() == left
    cards.first.click()
    assert page.get_by_role("tab", name="Map").get_attribute("aria-selected") == "true"
    assert ask(page, "() => [eye.state.get('layer'), eye.state.get('head')]") == [best // 4, best % 4]


def test_arrow_keys_go_from_head_to_head(open_page):
    page = open_page(text_view()[0])
    page.get_by_text("6 of 6 heads").wait_for()
    page.locator(".card").first.focus()
    for key, head in (("ArrowRight", 1), ("ArrowDown", 4), ("ArrowLeft", 3), ("ArrowUp", 0), ("End", 5)):
        page.keyboard.press(key)
        label = ask(page, "() => document.querySelector('.mirada').shadowRoot.activeElement.getAttribute('aria-label')")
        assert label.startswith(f"layers.{head // 3}, head {head % 3}")


def test_the_cross_hair_tells_the_exact_weight(open_page):
    view, records = text_view()
    page = open_page(view)
    tab(page, "Map")
    page.locator(".map canvas").focus()
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    readout = page.locator(".map .readout")
    page.wait_for_function(f"() => {ROOT}.querySelector('.readout').textContent.startsWith('query 5 ')")
    page.get_by_text("→ key 3").wait_for()
    assert abs(float(readout.get_attribute("data-weight")) - float(records[0].matrix[0].to_dense()[5, 3])) < 1e-6
    assert "\u201c\u2068mat\u2069\u201d" in readout.text_content()


def test_the_map_is_zoomed_and_dragged(open_page):
    page = open_page(mirada.view(mirada.AttentionMatrix(torch.randn(700, 8), torch.randn(700, 8))))
    assert page.get_by_role("tab", name="Map").get_attribute("aria-selected") == "true"
    place = "() => ({ ...eye.made.map.place })"
    before = ask(page, place)
    page.mouse.move(640, 400)
    for _ in range(6):
        page.mouse.wheel(0, -200)
    page.wait_for_timeout(100)
    closer = ask(page, place)
    assert closer["scale"] > 8 * before["scale"]
    page.mouse.down()
    page.mouse.move(540, 350, steps=4)
    page.mouse.up()
    moved = ask(page, place)
    assert moved["x"] - closer["x"] == pytest.approx(100 / closer["scale"], rel=0.05)
    page.locator(".map canvas").focus()
    page.keyboard.press("0")
    assert ask(page, place) == before


def test_a_token_shows_what_it_attends_to_and_what_attends_to_it(open_page):
    view, records = text_view()
    page = open_page(view)
    tab(page, "Tokens")
    page.locator(".token").nth(8).hover()
    mean = records[0].matrix.to_dense().mean(0)
    best = mean[8].argsort(descending=True)[:3].tolist()
    details = page.locator(".details")
    page.wait_for_function(f"() => {ROOT}.querySelectorAll('.details ol').length === 2")
    found = [
        [row.strip() for row in rows]
        for rows in (details.locator("ol").nth(n).locator(".listed").all_text_contents() for n in (0, 1))
    ]
    assert found[0][:3] == [WORDS[n] for n in best]
    assert found[1][0] == WORDS[int(mean[:, 8].argmax())]
    share = details.locator("ol").first.locator(".figure").first.text_content()
    assert float(share.split()[0]) == pytest.approx(100 * float(mean[8].max()), abs=0.6)


def test_a_click_holds_a_token(open_page):
    page = open_page(text_view()[0])
    tab(page, "Tokens")
    tokens = page.locator(".token")
    tokens.nth(4).click()
    tokens.nth(9).hover()
    assert page.locator(".pointed").text_content().endswith("query 4")
    page.locator(".text-scroll").press("Escape")
    tokens.nth(10).hover()
    page.get_by_text("query 10").wait_for()


def test_heads_are_switched_by_click_and_isolated_by_double_click(open_page):
    view, records = text_view()
    page = open_page(view)
    tab(page, "Tokens")
    page.get_by_role("button", name="head 1").click()
    page.get_by_text("mean of 2 heads").wait_for()
    page.get_by_role("button", name="head 2").dblclick()
    assert ask(page, "() => [...eye.state.get('heads')]") == [2]
    page.locator(".token").nth(7).hover()
    page.get_by_text("query 7").wait_for()
    best = int(records[0].matrix[2].to_dense()[7].argmax())
    page.wait_for_function(f"() => {ROOT}.querySelector('.details .listed').textContent === '{WORDS[best]}'")
    page.get_by_role("button", name="head 2").dblclick()
    assert ask(page, "() => eye.state.get('heads').size") == 3


def test_layers_by_keyboard(open_page):
    page = open_page(text_view(layers=3)[0])
    tab(page, "Tokens")
    page.keyboard.press("]")
    assert page.locator(".layer-name option:checked").text_content() == "L1"
    page.keyboard.press("[")
    page.keyboard.press("[")
    assert page.locator(".layer-name option:checked").text_content() == "L2"
    page.keyboard.press("1")
    assert page.get_by_role("tab", name="Heads").get_attribute("aria-selected") == "true"


def test_source_and_target_stand_in_two_columns(open_page):
    weights = torch.softmax(torch.randn(1, 3, 4), -1)
    page = open_page(mirada.view(weights, labels=(["un", "deux", "trois"], ["one", "two", "three", "four"])))
    tab(page, "Tokens")
    page.locator(".column").nth(1).locator(".token").nth(2).hover()
    page.get_by_text("is attended to by").wait_for()
    best = int(weights[0, :, 2].argmax())
    assert page.locator(".details .listed").first.text_content() == ["un", "deux", "trois"][best]


def test_steps_unfold_with_the_real_numbers(open_page):
    view, records = text_view()
    page = open_page(view)
    tab(page, "Steps")
    page.get_by_label("query").fill("6")
    page.get_by_label("query").press("Enter")
    page.get_by_text("keys 0–7 of 13").wait_for()
    steps = mirada.trace(records[0].matrix.query[0], records[0].matrix.key[0], records[0].value[0], masks.causal(13))
    sections = page.locator(".step")

    def shown(n):
        return [text.replace("−", "-") for text in sections.nth(n).locator(".figure").all_text_contents()]

    page.wait_for_function(f"() => {ROOT}.querySelectorAll('.step').length === 7")
    np.testing.assert_allclose([float(text) for text in shown(2)], steps.scores[6, :8], atol=1e-4)
    np.testing.assert_allclose([float(text) for text in shown(3)], steps.scaled[6, :8], atol=1e-4)
    assert shown(4)[7] == "-∞ hidden"
    np.testing.assert_allclose([float(text.split()[0]) for text in shown(5)], steps.weights[6, :8], atol=1e-5)
    context = sections.nth(6).locator(".total .cell").all_text_contents()
    np.testing.assert_allclose([float(text.replace("−", "-")) for text in context], steps.context[6], atol=0.006)
    page.get_by_role("button", name="From the start").click()
    assert sections.locator("visible=true").count() == 0 or page.locator(".step[data-folded]").count() == 6
    page.get_by_role("button", name="Next step").click()
    assert page.locator(".step[data-folded]").count() == 5
    page.get_by_role("button", name="later keys").click()
    page.get_by_text("keys 8–12 of 13").wait_for()


def test_an_image_shows_what_a_patch_attends_to(open_page):
    torch.manual_seed(3)
    records = [mirada.AttentionMatrix(torch.randn(4, 17, 8), torch.randn(4, 17, 8)) for _ in range(2)]
    page = open_page(mirada.view(records, image=torch.rand(28, 28), labels=["class", *(f"p{n}" for n in range(16))]))
    tab(page, "Image")
    box = page.locator(".plate").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.1)  # the patch at row 1, column 4
    mean = records[0].to_dense().mean(0)[4]
    best = int(mean.argmax())
    where = "class" if best == 0 else f"row {(best - 1) // 4 + 1}, column {(best - 1) % 4 + 1}"
    page.get_by_text(f"row 1, column 4 attends most to {where} (").wait_for()
    page.get_by_label("Show").select_option("rollout")
    rolled = torch.eye(17)[4]
    for layer in reversed(records):
        rolled = 0.5 * rolled + 0.5 * rolled @ layer.to_dense().mean(0)
    page.get_by_text(f"Colours run from {rolled[1:].min():.4f} to {rolled[1:].max():.4f}").wait_for()


# --- text, looks, files ---

STRANGE = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "שלום עולם", "مرحبا", "👩🏽‍🚀", "\u202eabc",
    "x" * 10_000, "", " ", "\n", "</script>", "&lt;", "\ud800", "a\u0000b",
]  # fmt: skip


def test_strange_tokens_are_text(open_page):
    count = len(STRANGE)
    page = open_page(mirada.view(torch.softmax(torch.randn(2, count, count), -1), labels=STRANGE, title="<b>bold</b>"))
    assert page.locator(".title").text_content() == "<b>bold</b>"
    tab(page, "Tokens")
    shown = page.locator(".token").all_text_contents()
    assert shown[:6] == STRANGE[:6]
    assert shown[10:12] == STRANGE[10:12]
    assert shown[12] == "?"
    assert page.locator(".token img, .token script").count() == 0
    wide = page.locator(".token").nth(6).bounding_box()
    assert wide["width"] < 500
    page.locator(".token").nth(6).hover()
    page.get_by_text("10,000 characters").wait_for()
    tab(page, "Map")
    page.locator(".map canvas").press("ArrowDown")
    page.get_by_text("query 7 ").wait_for()


@pytest.mark.parametrize("kind", ["PNG", "SVG"])
@pytest.mark.parametrize("name", ["Heads", "Map", "Tokens", "Steps"])
def test_every_view_is_saved_as_a_picture(open_page, tmp_path, name, kind):
    page = open_page(text_view(words=[*WORDS[:-1], "\u0001<b>"])[0])
    tab(page, name)
    page.wait_for_timeout(200)
    with page.expect_download() as coming:
        page.get_by_text("Save", exact=True).click()
        page.get_by_role("button", name=f"Save this view as {kind}").click()
    data = (tmp_path / "saved").write_bytes(coming.value.path().read_bytes()) and (tmp_path / "saved").read_bytes()
    if kind == "PNG":
        from PIL import Image

        with Image.open(tmp_path / "saved") as picture:
            assert picture.size[0] == 2560
            assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3)[::97], axis=0)) > 20
    else:
        from xml.etree import ElementTree

        assert ElementTree.fromstring(data).tag.endswith("svg")


def test_the_theme_follows_the_system_and_can_be_turned(open_page):
    page = open_page(text_view()[0], scheme="dark")
    paper = "getComputedStyle(document.querySelector('.mirada').shadowRoot.querySelector('.frame')).backgroundColor"
    assert page.evaluate(paper) == "rgb(16, 22, 27)"
    page.keyboard.press("t")
    assert page.evaluate(paper) == "rgb(251, 250, 246)"
    page.get_by_role("button", name="light or dark").click()
    assert page.evaluate(paper) == "rgb(16, 22, 27)"


def test_any_number_of_heads_keeps_distinct_colours(open_page):
    page = open_page(mirada.view(torch.softmax(torch.randn(96, 3, 3), -1)))
    colours = ask(
        page,
        "() => [...eye.chips.children].map((chip) => chip.style.getPropertyValue('--head'))",
    )
    assert len(set(colours)) == 96


def test_a_text_from_right_to_left_is_laid_out_and_walked_so(open_page):
    words = ["שלום", "עולם", "יפה", ",", "BERT", "של", "המילים"]
    page = open_page(mirada.view(torch.softmax(torch.randn(1, 7, 7), -1), labels=words))
    tab(page, "Tokens")
    places = [token.bounding_box()["x"] for token in page.locator(".token").all()]
    assert places == sorted(places, reverse=True)
    page.locator(".text-scroll").press("ArrowLeft")
    page.get_by_text("query 1").wait_for()


def test_long_tokens_are_cut_between_characters(open_page):
    words = ["x" * length + "\U0001f680" * 200 for length in (59, 79, 199)]
    page = open_page(mirada.view(torch.softmax(torch.randn(1, 3, 3), -1), labels=words))
    tab(page, "Tokens")
    page.get_by_text("is attended to by").wait_for()
    assert page.evaluate(f"{ROOT}.querySelector('.stage').textContent.isWellFormed()")


HEADINGS = (
    f"[...{ROOT}.querySelectorAll('h1, h2, h3, h4')].filter(h => h.ariaHidden !== 'true').map(h => +h.tagName[1])"
)
NAMELESS = f"""[...{ROOT}.querySelectorAll('button, input, select, [tabindex="0"], [role=img]')]
    .filter(e => e.checkVisibility() && !(e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent.trim()))
    .map(e => e.outerHTML)"""


def test_every_view_can_be_heard(open_page):
    """One main part, headings that go down a level at a time, a name for all that can be reached."""
    records = [Records("one", mirada.AttentionMatrix(*torch.randn(2, 3, 16, 8)), torch.randn(3, 16, 8))]
    page = open_page(mirada.view(records, image=torch.rand(8, 8)))
    assert page.get_by_role("main").count() == 1
    for name in ("Heads", "Map", "Tokens", "Image", "Steps"):
        tab(page, name)
        page.wait_for_timeout(200)
        levels = page.evaluate(HEADINGS)
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))
        assert page.evaluate(NAMELESS) == []
        assert page.get_by_role("tabpanel", name=name).count() == 1


CONTRASTS = """() => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
            .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    return [...ROOT.querySelectorAll('.cell')].map(e => getComputedStyle(e))
        .map(style => [light(style.color), light(style.backgroundColor)].sort((a, b) => a - b))
        .map(([dark, bright]) => (bright + 0.05) / (dark + 0.05));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_are_read_on_every_colour(open_page, scheme):
    page = open_page(text_view(width=10)[0], scheme=scheme)
    tab(page, "Steps")
    page.get_by_text("keys 0–7 of 13").wait_for()
    page.locator(".cell").first.wait_for()
    ratios = page.evaluate(CONTRASTS.replace("ROOT", ROOT))
    assert len(ratios) > 100
    assert min(ratios) >= 4.5


def test_a_head_is_isolated_by_keyboard(open_page):
    page = open_page(text_view()[0])
    tab(page, "Tokens")
    page.get_by_role("button", name="head 2").press("Shift+Enter")
    assert ask(page, "() => [...eye.state.get('heads')]") == [2]


def test_a_figure_has_a_title_and_no_controls(open_page, tmp_path):
    page = open_page(text_view()[0])
    tab(page, "Steps")
    page.get_by_label("query").fill("6")
    page.get_by_label("query").press("Enter")
    page.wait_for_function(f"() => {ROOT}.querySelector('.steps .listed').textContent === '{WORDS[6]}'")
    with page.expect_download() as coming:
        page.get_by_text("Save", exact=True).click()
        page.get_by_role("button", name="Save this view as SVG").click()
    saved = coming.value.path().read_text()
    assert f"query 6 “{WORDS[6]}”</text>" in saved
    assert ">Next step</text>" not in saved


def test_a_narrow_page_has_no_sideways_scroll(open_page):
    page = open_page(text_view()[0], width=380, height=700)
    for name in ("Heads", "Map", "Tokens", "Steps"):
        tab(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_the_policy_allows_nothing_but_the_page_itself(tmp_path):
    text = text_view()[0].save(tmp_path / "page.html").read_text()
    policy = text.split('Content-Security-Policy" content="')[1].split('"')[0]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_module_is_one_and_uses_no_markup_from_strings():
    text = module()
    assert text.count("\nexport ") == 2
    assert not [
        word
        for word in ("innerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "import ")
        if word in text
    ]
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "") + part("page.html")


def test_an_embedded_view_opens_with_what_it_was_told(browser):
    attention = mirada.AttentionMatrix(torch.randn(2, 6, 4), torch.randn(2, 6, 4))
    framed = mirada.view(attention, title="Six tokens").embed(opens={"view": "steps", "head": 1, "query": 3})
    page = browser.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.set_content(f"<!doctype html><html lang='en'><title>frame</title><main>{framed._repr_html_()}</main></html>")
    assert page.locator("iframe").get_attribute("title") == "Six tokens"
    page.frame_locator("iframe").get_by_role("tab", name="Steps", selected=True).wait_for()
    assert not errors
    page.close()
