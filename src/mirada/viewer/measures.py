"""Numbers of each head by which heads are found: those given from Python, and those that take a pass of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mirada import summaries
from mirada.viewer.scene import Layer, Table

LATER = ("induction", "duplicate")
"""Measures that a live page asks one by one, when a person chooses them."""


def later(layer: Layer) -> tuple[str, ...]:
    """Which of them a layer has: those of copies, where some token of a text occurs twice."""
    copies = layer.tokens is not None and len(set(layer.tokens)) < len(layer.tokens)
    return LATER if copies else ()


def measure(layer: Layer, name: str) -> Tensor:
    """One of them, (H,).

    Raises:
        ValueError: the layer has no such measure.
    """
    if name not in later(layer):
        raise ValueError(f"{layer.name} has no measure called {name[:40]!r}")
    assert layer.tokens is not None
    of_copies = {"induction": summaries.induction, "duplicate": summaries.duplicate_token}
    return of_copies[name](layer.matrix, layer.tokens).float()


def given(measures: Mapping[str, Any], layers: Sequence[Layer]) -> dict[str, Table]:
    """Numbers for each head of each layer, checked: name → layer → head; None where one is not finite.

    Args:
        measures: name → (layers, heads) as a tensor, an array or nested lists; where layers have different numbers of
            heads, a list with a row for each layer.
        layers: what they are of.

    Raises:
        ValueError: rows that are not one number for each head of each layer.
        TypeError: no mapping.
    """
    if not isinstance(measures, Mapping):
        raise TypeError(
            f"measures: got {type(measures).__name__}, wanted a dictionary: name -> (layers, heads) numbers"
        )
    return {str(name): _table(str(name), rows, layers) for name, rows in measures.items()}


def _table(name: str, rows: Any, layers: Sequence[Layer]) -> Table:
    table = [_plain(row) for row in _plain(rows)] if isinstance(_plain(rows), list) else []
    counts = [len(row) if isinstance(row, list) else 0 for row in table]
    wanted = [layer.heads for layer in layers]
    if counts != wanted:
        raise ValueError(f"measures[{name!r}]: got {_sizes(counts)}, wanted {_sizes(wanted)}: a number for each head")
    try:
        return [[number if math.isfinite(number := float(one)) else None for one in row] for row in table]
    except (TypeError, ValueError):
        raise ValueError(f"measures[{name!r}]: holds something that can't be read as a number") from None


def _plain(numbers: Any) -> Any:
    """Lists in place of tensors and arrays."""
    numbers = numbers.tolist() if hasattr(numbers, "tolist") else numbers
    return list(numbers) if isinstance(numbers, tuple) else numbers


def _sizes(counts: Sequence[int]) -> str:
    different = dict.fromkeys(counts)
    each = f"{counts[0]}" if len(different) == 1 else "/".join(map(str, counts[:12]))
    return f"{len(counts)} layers of {each} heads" if counts else "no rows"
