"""The documentation site: it builds without a warning or a network, and its pages hold what they need."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.docs


def pages(site: Path) -> dict[str, str]:
    return {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.html")}


def test_every_text_is_a_page(site):
    texts = {str(path.relative_to(ROOT / "docs").with_suffix(".html")) for path in (ROOT / "docs").rglob("*.md")}
    assert texts <= set(pages(site))


def test_no_page_loads_anything_from_elsewhere(site):
    for name, page in pages(site).items():
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)", page)
        loaded += re.findall(r"<link\b[^>]*\brel=\"(?:stylesheet|preload|icon)\"[^>]*\bhref=\"([^\"]+)", page)
        assert not [address for address in loaded if re.match(r"(?:https?:)?//", address)], name


def test_every_picture_has_alternative_text(site):
    for name, page in pages(site).items():
        for picture in re.findall(r"<img\b[^>]*>", page):
            assert re.search(r'\balt="(?!_images/|\.\./_images/)[^"]{10,}"', picture), f"{name}: {picture}"


def test_the_first_lesson_says_what_its_cells_computed(site):
    lesson = " ".join(re.sub(r"<[^>]+>", "", pages(site)["lessons/1-five-rows.html"]).split())
    assert "row 3 takes 17 % from row 1 and 35 % from row 4" in lesson
    assert "0.2046, 0.1989, 0.1989, 0.1989, 0.1989" in lesson  # what the original write-up of this lesson prints


def test_each_hidden_answer_is_right_and_each_attempt_in_sight_gets_a_hint(site):
    checked = {name: page for name, page in pages(site).items() if "mirada.check" in page and "lessons" in page}
    assert {"before-attention.html", "lessons/1-five-rows.html"} <= set(checked)
    for name, page in checked.items():
        answers = re.findall(r"<details class=\"[^\"]*\bhide\b[^\"]*\">(.*?)</details>", page, re.DOTALL)
        in_sight = re.sub(r"<details class=\"[^\"]*\bhide\b[^\"]*\">.*?</details>", "", page, flags=re.DOTALL)
        assert any("right: " in answer for answer in answers), name
        assert not any("not yet: " in answer for answer in answers), name
        assert "right: " not in in_sight, name
        for answer in answers:
            given = re.findall(r">check</span>\s*<span class=\"o\">\.", answer)
            assert answer.count("right: ") == len(given), name
