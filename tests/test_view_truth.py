"""What the page shows belongs to the head, layer, query and key that it names."""

from __future__ import annotations

import pytest
import torch

import mirada
from test_view_page import ROOT, WORDS, ask, open_page, tab, text_view  # noqa: F401

pytestmark = pytest.mark.browser


def readout(page):
    return page.locator(".map .readout").get_attribute("data-weight")


def told(page, weight):
    page.wait_for_function(
        f"wanted => Math.abs(Number({ROOT}.querySelector('.map .readout').dataset.weight ?? NaN) - wanted) < 1e-6",
        arg=float(weight),
        timeout=5000,
    )


def test_the_maps_sentence_follows_head_layer_query_and_key(open_page):  # noqa: F811
    view, records = text_view()
    page = open_page(view)
    tab(page, "Map")
    page.locator(".map canvas").press("ArrowDown")
    told(page, records[0].matrix[0].to_dense()[1, 0])
    page.get_by_role("button", name="head 2").click()
    told(page, records[0].matrix[2].to_dense()[1, 0])
    page.get_by_role("button", name="layer after").click()
    told(page, records[1].matrix[2].to_dense()[1, 0])
    tab(page, "Steps")
    page.get_by_label("query").fill("6")
    page.get_by_label("query").press("Enter")
    tab(page, "Map")
    told(page, records[1].matrix[2].to_dense()[6, 0])
    assert "query 6" in page.locator(".map .readout").text_content()


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_the_wheel_keeps_the_token_under_the_pointer(open_page, share):  # noqa: F811
    page = open_page(mirada.view(torch.softmax(torch.randn(1, 344, 344), -1)))
    under = "(x, y) => { const { x: j, y: i } = eye.made.map.tokenAt({ x, y }); return [i, j]; }"
    plot = ask(
        page, "() => { const { left, top } = eye.made.map.plot; return { left, top, ...eye.made.map.drawn() }; }"
    )
    x, y = plot["left"] + share * plot["width"], plot["top"] + share * plot["height"]
    before = ask(page, under, x, y)
    box = page.locator(".map canvas").bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + y)
    for delta in [*[-120] * 8, *[120] * 4]:
        page.mouse.wheel(0, delta)
    page.wait_for_timeout(100)
    after = ask(page, under, x, y)
    # The pointer's place on the canvas is a whole number of pixels.
    assert max(abs(a - b) for a, b in zip(before, after, strict=True)) < 1.5
    told_query = int(page.locator(".map .readout").text_content().split()[1])
    assert abs(told_query - after[0] + 0.5) <= 1.5


def test_tokens_turn_to_the_query_of_another_view(open_page):  # noqa: F811
    words = [f"word{n}" for n in range(600)]
    page = open_page(mirada.view(torch.softmax(torch.randn(1, 600, 600), -1), labels=words), height=500)
    tab(page, "Tokens")
    page.locator(".token").nth(5).hover()
    tab(page, "Map")
    ask(page, "() => eye.state.set({ query: 500 })")
    tab(page, "Tokens")
    page.get_by_text("query 500").wait_for()
    scroller, token = page.locator(".text-scroll").bounding_box(), page.locator(".token.here").bounding_box()
    assert page.locator(".token.here").text_content() == "word500"
    assert scroller["y"] <= token["y"] <= scroller["y"] + scroller["height"] - token["height"]


# One pixel of a canvas, read from a copy: the page's own canvas stays as it is.
DOT = """((canvas, x, y) => {
    const copy = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    copy.drawImage(canvas, Math.round(x), Math.round(y), 1, 1, 0, 0, 1, 1);
    return [...copy.getImageData(0, 0, 1, 1).data];
})"""

SHADE = """(at) => {
    const view = eye.made.tokens, box = view.keyBoxes[at], ratio = window.devicePixelRatio;
    return DOT(view.behind, (box.x + 2) * ratio, (box.y + box.height / 2) * ratio);
}""".replace("DOT", DOT)


def test_a_shade_means_the_same_weight_everywhere(open_page):  # noqa: F811
    even, one = torch.full((64, 64), 1 / 64), torch.eye(64)
    page = open_page(mirada.view(torch.stack([even, one])))
    tab(page, "Tokens")
    alphas = []
    for head in (0, 1):
        ask(page, "(head) => eye.state.set({ heads: new Set([head]), head, query: 40 })", head)
        page.get_by_text(f"weight in head {head}").wait_for()
        page.wait_for_timeout(150)
        alphas.append(ask(page, SHADE, 40)[3])
    assert alphas[0] < alphas[1] / 4  # √(1/64) = 1/8


STRIPE = """(at, head, heads) => {
    const view = eye.made.tokens, box = view.keyBoxes[at], ratio = window.devicePixelRatio;
    const x = box.x + ((head + 0.5) * box.width) / heads;
    return DOT(view.behind, x * ratio, (box.y + box.height + 2) * ratio);
}""".replace("DOT", DOT)


def test_stripes_tell_which_head_attends_to_a_word(open_page):  # noqa: F811
    weights = torch.eye(5)[torch.tensor([[1] * 5, [2] * 5, [3] * 5])]  # head h attends to key h + 1
    page = open_page(mirada.view(weights, labels=["alpha", "bravo", "charlie", "delta", "echo"]))
    tab(page, "Tokens")
    ask(page, "() => eye.state.set({ query: 4 })")
    page.get_by_text("query 4").wait_for()
    page.wait_for_timeout(150)
    for head in range(3):
        for key in range(1, 4):
            assert (ask(page, STRIPE, key, head, 3)[3] > 200) == (key == head + 1)


CONTRAST = """() => {
    const view = eye.made.tokens, style = getComputedStyle(view.element.getRootNode().querySelector('.frame'));
    const bytes = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const [paper, ink] = [bytes(style.backgroundColor), bytes(style.color)];
    const light = (colour) => {
        const [r, g, b] = colour.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [r, g, b, a] = SHADE;
    const under = [r, g, b].map((byte, n) => (byte * a + paper[n] * (255 - a)) / 255);
    const [dark, bright] = [light(ink), light(under)].sort((x, y) => x - y);
    return (bright + 0.05) / (dark + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_are_read_on_the_strongest_shade_of_every_head(open_page, scheme):  # noqa: F811
    page = open_page(mirada.view(torch.eye(6).expand(12, 6, 6)), scheme=scheme)
    tab(page, "Tokens")
    for head in range(12):
        ask(page, "(head) => eye.state.set({ heads: new Set([head]), head, query: 3 })", head)
        page.get_by_text(f"weight in head {head}", exact=True).wait_for()
        page.wait_for_timeout(100)
        assert ask(page, CONTRAST.replace("SHADE", f"({SHADE})(3)")) >= 4.5


def broken_weights():
    weights = torch.softmax(torch.randn(2, 6, 6), -1)
    weights[1, 3] = torch.nan
    return weights


def test_a_weight_that_is_not_finite_is_shown_as_such_and_named(open_page):  # noqa: F811
    page = open_page(mirada.view(broken_weights()))
    page.get_by_text("attention: one row of weights is not finite, first head 1, query 3, key 0 (nan).").wait_for()
    tab(page, "Map")
    ask(page, "() => eye.state.set({ head: 1, query: 3, key: 2 })")
    page.get_by_text("weight NaN").wait_for()
    page.get_by_text("not finite", exact=True).wait_for()
    page.wait_for_timeout(150)
    dot = ask(
        page,
        """() => { const map = eye.made.map, [x, y] = map.middle(3, 4), ratio = window.devicePixelRatio;
        return [...map.canvas.getContext('2d').getImageData((x - 25) * ratio, (y - 25) * ratio, 1, 1).data]; }""",
    )
    assert dot[:3] == [214, 0, 110]
    tab(page, "Tokens")
    page.get_by_text("Weights here are not finite").first.wait_for()


@pytest.mark.parametrize("where", ["query", "key"])
def test_a_query_or_key_that_is_not_finite_is_not_carried_as_zero(open_page, where):  # noqa: F811
    torch.manual_seed(0)
    parts = {"query": torch.randn(2, 40, 8), "key": torch.randn(2, 40, 8)}
    parts[where][1, 3, 2] = torch.nan
    for budget in (20.0, 0.35):
        page = open_page(mirada.view(mirada.AttentionMatrix(**parts)), budget=budget)
        row = ask(page, "async () => [...await eye.layers[0].head(1).row(3)].map(Number.isNaN)")
        assert all(row)
        entropy = ask(page, "async () => Number.isNaN((await eye.layers[0].head(1).edges()).entropy[3])")
        assert entropy


@pytest.mark.parametrize("first", [0, 3, 10])
def test_patches_among_words_lie_where_first_says(open_page, first):  # noqa: F811
    weights = torch.zeros(1, 26, 26)
    weights[..., first + 6] = 1.0
    page = open_page(mirada.view(weights, image=torch.rand(3, 16, 16), patch=4, first=first))
    tab(page, "Image")
    page.get_by_text("attends most to row 2, column 3 (100 %)").wait_for()


ASKED = """async () => {
    const layer = eye.layers[0], asked = [];
    const fail = async (query) => { asked.push(query); throw new Error("no answer"); };
    for (const one of eye.layers) one.rollout = fail;
    const image = eye.made.image;
    image.way = "rollout";
    await image.look();
    return [asked.length, image.words.textContent];
}"""


def test_a_rollout_that_fails_leaves_no_other_picture_under_its_name(open_page):  # noqa: F811
    page = open_page(mirada.view(torch.softmax(torch.randn(3, 2, 16, 16), -1).unbind(), image=torch.rand(3, 16, 16)))
    tab(page, "Image")
    page.get_by_text("attends most to").wait_for()
    assert ask(page, ASKED) == [1, "no answer"]
    paint = "() => eye.made.image.overlay.getContext('2d').getImageData(3, 3, 1, 1).data[3]"
    assert ask(page, paint) == 0


def test_a_list_says_nothing_but_its_words(open_page):  # noqa: F811
    page = open_page(text_view()[0])
    tab(page, "Tokens")
    page.locator(".token").nth(8).hover()
    page.get_by_text("is attended to by").wait_for()
    assert "null" not in page.locator(".details").text_content()


def test_a_query_that_may_see_nothing_says_so(open_page):  # noqa: F811
    page = open_page(mirada.view(torch.tensor([[[0.0, 0.0], [0.5, 0.5]]])))
    tab(page, "Tokens")
    page.get_by_text("every weight is 0, as where a mask hides all keys").first.wait_for()


def test_keys_are_heard_on_a_fresh_page_and_after_a_head_was_opened(open_page):  # noqa: F811
    page = open_page(text_view(layers=3)[0])
    page.keyboard.press("]")
    assert ask(page, "() => eye.state.get('layer')") == 1
    page.keyboard.press("1")
    page.locator(".card").nth(4).click()
    assert ask(page, "() => eye.state.get('view')") == "map"
    page.keyboard.press("3")
    assert ask(page, "() => eye.state.get('view')") == "tokens"
    page.keyboard.press(".")
    assert ask(page, "() => eye.state.get('head')") == 2


def test_the_focus_stays_in_tokens_when_a_listed_word_is_chosen(open_page):  # noqa: F811
    page = open_page(text_view()[0])
    tab(page, "Tokens")
    page.locator(".token").nth(8).click()
    page.locator(".details li button").first.press("Enter")
    page.keyboard.press("Home")
    page.get_by_text("query 0").wait_for()


def test_a_patch_is_held_and_let_go_by_keyboard(open_page):  # noqa: F811
    page = open_page(mirada.view(torch.softmax(torch.randn(1, 16, 16), -1), image=torch.rand(3, 16, 16)))
    tab(page, "Image")
    page.locator(".plate").press("Enter")
    assert page.locator(".plate[data-held]").count() == 1
    page.locator(".plate").press("Escape")
    assert page.locator(".plate[data-held]").count() == 0
