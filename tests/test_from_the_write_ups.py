"""The page "From the write-ups": each row computed again, and the page as it would be written."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("from_the_write_ups", DOCS / "from_the_write_ups.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def page() -> ModuleType:
    return program()


def rows() -> list:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MIRADA_MNIST", raising=False)  # what depends on it has a test of its own
        return list(program().rows())


ROWS = rows()


def test_every_row_of_the_five_is_there():
    counted = [sum(row.write_up == number for row in ROWS) for number in ("000", "001", "002", "003", "004")]
    assert counted == [17, 20, 18, 32, 11]
    assert all(row.where and row.what for row in ROWS)
    assert not [row.what for row in ROWS if "tests/" in row.where]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.write_up}-{row.lines}" for row in ROWS])
def test_the_digits_of_the_write_up_or_the_reason_why_not(row):
    if row.why:
        assert row.why.endswith(".")
    elif row.printed:
        assert row.found == row.printed
    assert row.verdict in ("same", "there", "different")


def test_every_command_and_option_that_it_names_is_there():
    from mirada import systems

    known = {f"--{name.replace('_', '-')}" for system in systems.names() for name in fields(systems.get(system))}
    text = " ".join(row.where for row in ROWS)
    named = set(re.findall(r"--[a-z][a-z-]+", text)) - {"--help"}
    assert named
    assert named <= known | {"--data-dir"}


def fields(system: ModuleType) -> list[str]:
    import dataclasses

    return [field.name for field in dataclasses.fields(system.Settings)]


def test_the_page_is_what_the_program_writes(page, monkeypatch):
    monkeypatch.delenv("MIRADA_MNIST", raising=False)
    assert (DOCS / "from-the-write-ups.md").read_text(encoding="utf-8") == page.page()


@pytest.mark.mnist
def test_what_depends_on_mnist_is_what_its_files_give(page):
    assert json.loads((DOCS / "from_the_write_ups.json").read_text()) == page.on_mnist()
