"""Steps: keys by their weight or in order, one to go to, no exp that overflows, one format a row."""

from __future__ import annotations

import math

import pytest
import torch

import mirada
from test_view_page import ask, open_page, tab  # noqa: F401

pytestmark = pytest.mark.browser


def names(page):
    return page.locator(".step").nth(3).locator(".row-name").all_text_contents()


def scores_page(open_page, scores):  # noqa: F811
    query, key = torch.ones(1, 1, 1), torch.tensor(scores)[None, :, None]
    page = open_page(mirada.view(mirada.AttentionMatrix(query, key, scale=1.0)))
    tab(page, "Steps")
    page.locator(".step").nth(5).wait_for()
    return page


def test_keys_come_strongest_first_or_in_order(open_page):  # noqa: F811
    page = scores_page(open_page, [float(n * 7 % 20) for n in range(20)])
    assert names(page) == [f"key {n}" for n in range(8)]
    page.locator(".steps label", has_text="Keys").locator("select").select_option("weight")
    strongest = sorted(range(20), key=lambda n: -(n * 7 % 20))
    page.get_by_text("ranks 1–8 of 20 keys").wait_for()
    assert names(page) == [f"key {n}" for n in strongest[:8]]
    figures = page.locator(".step").nth(3).locator(".figure").all_text_contents()
    assert [float(one) for one in figures] == [float(n * 7 % 20) for n in strongest[:8]]


def test_one_goes_to_a_key(open_page):  # noqa: F811
    page = scores_page(open_page, [float(n % 3) for n in range(400)])
    page.get_by_label("go to key").fill("329")
    page.get_by_label("go to key").press("Enter")
    page.get_by_text("keys 328–335 of 400").wait_for()
    assert "key 329" in names(page)


def test_large_scores_say_what_is_subtracted(open_page):  # noqa: F811
    page = scores_page(open_page, [3050.0, 3052.0, 3051.0])
    formula = page.locator(".step").nth(5).locator(".formula").text_content()
    assert "∞" not in formula
    assert "m = 3052.0000, the largest score" in formula
    assert f"/ {sum(map(math.exp, (-2, 0, -1))):.4f} =" in formula


def test_a_row_of_numbers_has_one_format(open_page):  # noqa: F811
    query, key = torch.tensor([[[0.0016, 0.0009, 1.0]]]), torch.ones(1, 2, 3)
    page = open_page(mirada.view(mirada.AttentionMatrix(query, key)))
    tab(page, "Steps")
    page.locator(".step").nth(5).wait_for()
    cells = page.locator(".step").first.locator(".strip").first.locator(".cell").all_text_contents()
    assert cells == ["0.00", "0.00", "1.00"]
