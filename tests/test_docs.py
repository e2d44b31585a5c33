"""The documentation site: it builds without a warning or a network, and its pages hold what they need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.docs


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        str(ROOT / "docs"),
        str(folder),
    ]
    # The cells run in a process of their own: they too import this checkout. A proxy that answers nothing stands
    # for a network that is not there.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = os.environ | nowhere | {"PYTHONPATH": str(ROOT / "src")}
    built = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


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


def test_each_hidden_answer_is_right_and_each_shown_attempt_gets_a_hint(site):
    lesson = pages(site)["lessons/1-five-rows.html"]
    answers = re.findall(r"<details class=\"[^\"]*\bhide\b[^\"]*\">(.*?)</details>", lesson, re.DOTALL)
    checked = [answer for answer in answers if "check" in answer]
    assert sum(answer.count("right: ") for answer in checked) == 5
    assert not any("not yet: " in answer for answer in answers)
    assert lesson.count("not yet: ") == 2
