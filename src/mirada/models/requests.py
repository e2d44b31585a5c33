"""What the live page of a model sends, checked: nothing of it is trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_TOKENS = 4096
"""Texts up to here are run as they are typed."""
_MOST_TEXT = 100_000


@dataclass(frozen=True)
class Request:
    """What a page sent, checked."""

    text: str | None
    chat: bool
    written: tuple[int, ...]
    off: tuple[tuple[int, int], ...]
    cut: tuple[tuple[int, int], ...]
    temperature: float
    top: int
    tab: str
    turn: int
    beside: Request | None = None
    """Another text, whose probabilities are shown before this one's."""


def read(given: Mapping[str, Any]) -> Request:
    """What was sent, if all of it is of the right kind; else a ValueError."""
    text = given.get("text")
    if text is not None and not (isinstance(text, str) and len(text) <= _MOST_TEXT):
        raise ValueError(f"text: wanted a string of at most {_MOST_TEXT} characters")
    temperature = given.get("temperature", 1.0)
    if not isinstance(temperature, int | float) or not 0.01 <= temperature <= 100:
        raise ValueError("temperature: wanted a number from 0.01 to 100")
    beside = given.get("beside")
    if beside is not None and not isinstance(beside, dict):
        raise ValueError("beside: wanted a text to compare with, as an object")
    return Request(
        text,
        bool(given.get("chat")),
        tuple(_integers(given.get("written", []), 1, "written")),
        tuple((a, b) for a, b in _pairs(given, "off")),
        tuple((a, b) for a, b in _pairs(given, "cut")),
        float(temperature),
        integer({"top": given.get("top", 6)}, "top", 101, least=1),
        str(given.get("tab", ""))[:40],
        integer({"turn": given.get("turn", 0)}, "turn", 1 << 53),
        None
        if beside is None
        else read({key: beside.get(key) for key in ("text", "chat")} | {"written": beside.get("written", [])}),
    )


def _pairs(given: Mapping[str, Any], name: str) -> list[list[int]]:
    pairs = given.get(name, [])
    if not isinstance(pairs, list) or len(pairs) > 100_000:
        raise ValueError(f"{name}: wanted pairs of whole numbers")
    return [_integers(pair, 2, name) for pair in pairs]


def _integers(numbers: Any, count: int, name: str) -> list[int]:
    good = isinstance(numbers, list) and (count == 1 or len(numbers) == count) and len(numbers) <= MOST_TOKENS
    if not good or any(type(one) is not int or not 0 <= one < 1 << 31 for one in numbers):
        raise ValueError(f"{name}: wanted whole numbers")
    return numbers


def integer(given: Mapping[str, Any], name: str, below: int, least: int = 0) -> int:
    """A whole number from ``least`` up, less than ``below``."""
    number = given.get(name)
    if type(number) is not int or not least <= number < below:
        raise ValueError(f"{name}: wanted a whole number from {least} to {below - 1}")
    return number
