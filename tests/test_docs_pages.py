"""The built pages as a reader sees them: any width, light and dark, with what can be tried in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

pytestmark = [pytest.mark.docs, pytest.mark.browser]


@pytest.fixture
def open_page(browser, site):
    contexts, said = [], []

    def opened(name: str, width: int = 1280, scheme: str = "light"):
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto((site / name).as_uri())
        page.wait_for_timeout(300)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


DOCS = Path(__file__).parents[1] / "docs"
LEARN = [
    "index",
    "start",
    "before-attention",
    "teach",
    *(f"lessons/{path.stem}" for path in sorted(DOCS.glob("lessons/*.md"))),
]
PAGES = [f"{name}.html" for name in LEARN]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_window_and_axe_finds_nothing(open_page, name, width, scheme):
    page = open_page(name, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:120]) for one in found] == []


def test_what_can_be_tried_follows_the_theme_and_needs_no_bar_to_scroll(open_page):
    page = open_page("before-attention.html", 390)
    frames = [frame for frame in page.frames if frame.locator(".try").count()]
    assert len(frames) == 2
    for frame in frames:
        assert frame.evaluate("document.documentElement.scrollHeight - document.documentElement.clientHeight") == 0
        before = frame.evaluate("getComputedStyle(document.body).backgroundColor")
        page.evaluate("document.body.dataset.theme = 'dark'")
        page.wait_for_timeout(100)
        assert frame.evaluate("getComputedStyle(document.body).backgroundColor") != before
        page.evaluate("document.body.dataset.theme = 'light'")


def test_two_arrows_are_dragged_by_keyboard(open_page):
    page = open_page("before-attention.html")
    (frame,) = (frame for frame in page.frames if frame.locator(".tip").count())
    frame.locator(".handle").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    text = frame.locator(".try").text_content()
    assert "0.90 × 1.20 + 0.90 × 0.30 = 1.35" in text
    assert "1.27 × 1.24 × 0.86 = 1.35" in text


def test_scores_that_move_give_their_softmax(open_page):
    page = open_page("before-attention.html")
    (frame,) = (frame for frame in page.frames if frame.locator("input[type=range]").count())
    for n in (1, 2, 3):
        frame.get_by_label(f"score {n}").fill("2")
    assert "entropy of 1.58 bits: as spread out as 3.00 equal weights" in frame.locator(".try").text_content()
