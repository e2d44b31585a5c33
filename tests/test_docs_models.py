"""Lessons 5 to 7 say what their cells computed, and it is what they claim."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

pytestmark = pytest.mark.docs


def words(site: Path, page: str) -> str:
    """A page's text without its frames, in one line."""
    text = re.sub(r'srcdoc="[^"]*"', "", (site / page).read_text())
    return " ".join(unescape(re.sub(r"<[^>]+>", "", text)).split())


def numbers(pattern: str, text: str) -> list[float]:
    """The numbers that a sentence of the page states."""
    found = re.search(pattern, text)
    assert found, pattern
    return [float(number) for number in found.groups()]


def test_the_fifth_lesson_shows_what_the_original_write_up_prints(site):
    lesson = words(site, "lessons/5-remembering-a-square.html")
    printed = ["[ 0.0832, -0.0356], [ 0.3105, -0.5263]", "-0.2339, 0.4702", "-0.0226, 0.4628", "0.2265, 0.4529"]
    printed += ["0.1968, -0.2809", "0.3913, -0.6853", "0.0569, 0.4821", "0.3953, 0.6047", "0.0403, 0.3409"]
    printed += ["0.4254, 0.5746", "0.2138, -0.3175", "0.5475, 0.0875, -1.2350", "0.5557, 0.3508, 0.0935"]
    printed += ["0.5706, -0.0993", "1.10 · 0.68 · 0.73 = 0.55"]
    assert not [sentence for sentence in printed if sentence not in lesson]


def test_attention_removes_the_bottleneck_in_the_fifth_lesson(site):
    lesson = words(site, "lessons/5-remembering-a-square.html")
    none, single = numbers(r"the error falls from (0\.\d+) to (0\.\d+)", lesson)
    assert single < 0.02 < 0.25 < none
    (always,) = numbers(r"always forced has (0\.\d+)", lesson)
    (never,) = numbers(r"never forced (0\.\d+)", lesson)
    (half,) = numbers(r"met both (0\.\d+)", lesson)
    assert half < min(always, never)


def test_each_part_of_the_transformer_is_needed_as_the_sixth_lesson_says(site):
    lesson = words(site, "lessons/6-a-whole-transformer.html")
    (whole,) = numbers(r"The transformer reaches (0\.\d+) in use", lesson)
    leak, leak_in_use = numbers(r"With teacher forcing the error is (0\.\d+), less .*? the error is (0\.\d+)", lesson)
    (no_positions,) = numbers(r"The error stays at (0\.\d+)", lesson)
    zeros, zeros_without = numbers(r"needs the positions: (0\.\d+) with them, and (0\.\d+) without", lesson)
    assert max(whole, no_positions, zeros) < 0.013
    assert leak < 0.01
    assert leak_in_use > 0.05
    assert zeros_without > 0.2


@pytest.mark.smollm2
def test_ablating_the_strongest_induction_head_ends_the_copying(site):
    lesson = words(site, "lessons/6-a-whole-transformer.html")
    before, after = numbers(r"Without head 18\.6 alone, the loss rises from (\d\.\d+) to (\d\.\d+) nats", lesson)
    assert before == pytest.approx(2.84, abs=0.01)
    assert after == pytest.approx(5.18, abs=0.01)


def test_the_seventh_lesson_holds_attention_against_what_was_measured(site):
    lesson = words(site, "lessons/7-what-attention-does-not-say.html")
    (median,) = numbers(r"the probabilities move by less than (0\.\d+)", lesson)
    (without_attention,) = numbers(r"Without any attention the model reaches (\d+\.\d) %", lesson)
    before, after = numbers(r"The error rises from (0\.\d+) to (\d\.\d+)", lesson)
    assert median < 0.01, "shuffled weights change little where the task needs no attention"
    assert without_attention > 90
    assert after > 50 * before, "and much where it does"
    received, gradient = numbers(r"Attention agrees by (0\.\d+), attention × gradient by (0\.\d+)", lesson)
    (ink,) = numbers(r"The ink alone agrees by (0\.\d+)", lesson)
    assert max(received, gradient) < ink
    share, rank = numbers(r"puts (\d+) % on one token in each row. By its effect it is number (\d+) of 72", lesson)
    assert share > 95
    assert rank > 24


def test_the_worksheet_is_open_and_its_second_sheet_is_filled_in(site):
    worksheet, answers = (site / "worksheet.html").read_text(), (site / "worksheet-answers.html").read_text()
    assert worksheet.count('class="open"') == answers.count('class="answer"') > 20
    assert 'class="answer"' not in worksheet
    assert all(number in answers for number in ("0.1185", "0.6085", "0.348", "0.180"))  # scores, a weight, the context
    assert not any(f">{number}<" in worksheet for number in ("0.6085", "0.348", "0.180"))
