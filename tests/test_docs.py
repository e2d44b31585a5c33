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


def test_every_figure_is_drawn(site):
    """Where a page has no backend that draws it, a figure is a line of text."""
    assert [name for name, page in pages(site).items() if "Figure size" in page] == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("before-attention", "Here 1.08 × 1.24 × 0.74 = 0.99, and the angle is 42°"),
        ("before-attention", "One bit is ln 2 = 0.693 nats"),
        ("lessons/1-five-rows", "row 3 takes 17 % from row 1 and 35 % from row 4"),
        # What the original write-up of this lesson prints.
        ("lessons/1-five-rows", "0.2046, 0.1989, 0.1989, 0.1989, 0.1989"),
        ("lessons/1-five-rows", "of the scores 4 and 1 the first gets 95.3 %, of 400 and 100 it gets 100.0 %"),
        ("lessons/2-one-question", "the query gives 81.3 % of its attention to 2 and 4"),
        ("lessons/2-one-question", "with 692 learned numbers"),
        ("lessons/4-many-heads", "One head reaches 87.0 %, sixteen reach 92.0 %"),
        ("lessons/4-many-heads", "swapped axes 1 and 3 (1, 3, 4, 16) heads of features"),
        ("lessons/3-every-pixel", "94.6% of new digits right, 0.341 bits"),
        ("lessons/3-every-pixel", "with 653 learned numbers"),
        ("lessons/3-every-pixel", "the linear layer as it is, same logits: False"),
        ("lessons/2-one-question", "100.0% right without any attention"),
    ],
)
def test_a_page_says_what_its_cells_computed(site, name, sentence):
    text = " ".join(re.sub(r"<[^>]+>", "", pages(site)[f"{name}.html"]).split())
    assert sentence in text


def test_each_hidden_answer_is_right_and_each_attempt_in_sight_gets_a_hint(site):
    checked = {name: page for name, page in pages(site).items() if re.search(r">check</span>", page)}
    assert {"before-attention.html", "lessons/1-five-rows.html", "lessons/2-one-question.html"} <= set(checked)
    for name, page in checked.items():
        answers = re.findall(r"<details class=\"[^\"]*\bhide\b[^\"]*\">(.*?)</details>", page, re.DOTALL)
        hidden = r"<details class=\"[^\"]*\bhide\b[^\"]*\">.*?</details>|<iframe.*?</iframe>|<style>.*?</style>"
        in_sight = re.sub(hidden, "", page, flags=re.DOTALL)
        assert any("right: " in answer for answer in answers), name
        assert not any("not yet: " in answer for answer in answers), name
        assert "right: " not in in_sight, name
        for answer in answers:
            given = re.findall(r">check</span>\s*<span class=\"o\">\.", answer)
            assert answer.count("right: ") == len(given), name
