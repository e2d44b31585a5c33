"""The page "From the write-ups": each row computed again, and the page as it would be written."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("from_the_write_ups", DOCS / "from_the_write_ups.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ROWS = list(program().rows())


@pytest.mark.parametrize(("printed", "found"), [row[2:4] for row in ROWS], ids=[f"{row[0]}-{row[1]}" for row in ROWS])
def test_the_digits_of_the_write_up(printed, found):
    assert found == printed


def test_the_page_is_what_the_program_writes():
    assert (DOCS / "from-the-write-ups.md").read_text(encoding="utf-8") == program().page()
