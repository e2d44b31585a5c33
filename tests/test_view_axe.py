"""axe-core finds nothing in any view, at any width, in either theme."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

import mirada
from test_view_page import WORDS, open_page, tab, text_view  # noqa: F401

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768, 390])
def test_axe_finds_nothing_in_any_view(open_page, width, scheme):  # noqa: F811
    records = text_view(layers=2)[1]
    page = open_page(
        mirada.view({"base": records, "tuned": records[::-1]}, labels=WORDS, compare=True),
        width=width,
        height=844,
        scheme=scheme,
    )
    page.emulate_media(reduced_motion="reduce")  # what unfolds is pale for a moment
    for name in ("Heads", "table", "Compare", "Map", "Tokens", "Steps", "menu"):
        if name == "table":
            page.get_by_label("Show").select_option("table")
        elif name == "menu":
            page.get_by_text("Save", exact=True).click()
        else:
            tab(page, name)
        page.wait_for_timeout(200)
        found = Axe().run(page).response["violations"]
        assert [(name, one["id"], one["nodes"][0]["html"][:120]) for one in found] == []
