"""Numbers of each head by which heads are found: those given from Python, and those that take a pass of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mirada import summaries
from mirada.viewer.scene import Layer, Matrix, Scene, Table

_OF_COPIES = ("induction", "duplicate")
_CHUNK = 1 << 22  # weights at a time


def later(scene: Scene, number: int) -> tuple[str, ...]:
    """Which of them a layer has: change, where it is compared; those of copies, where some token occurs twice."""
    tokens = scene.layers[number].tokens
    copies = tokens is not None and len(set(tokens)) < len(tokens)
    return (("change",) if scene.compared else ()) + (_OF_COPIES if copies else ())


@torch.no_grad()
def measure(scene: Scene, number: int, name: str) -> Tensor:
    """One of them, (H,).

    Raises:
        ValueError: the layer has no such measure.
    """
    layer, other = scene.layers[number], scene.counterpart(number)
    if name not in later(scene, number):
        raise ValueError(f"{layer.name} has no measure called {name[:40]!r}")
    if name == "change":
        assert other is not None
        return change(layer.matrix, other.matrix)
    assert layer.tokens is not None
    of_copies = {"induction": summaries.induction, "duplicate": summaries.duplicate_token}
    return of_copies[name](layer.matrix, layer.tokens).float()


def change(one: Matrix, other: Matrix) -> Tensor:
    """How far two matrices (H, L, S) are apart, (H,): ½ Σ |p − q| of each query's weights, the mean over queries.

    0 where both are the same, 1 where no query gives weight to a key in both. Queries that attend to nothing in both
    don't count.
    """
    heads, queries, keys = one.shape
    height = max(1, _CHUNK // (heads * keys))
    total, count = torch.zeros(heads, dtype=torch.float64), torch.zeros(heads)
    for start in range(0, queries, height):
        rows = torch.arange(start, min(start + height, queries))
        a, b = (matrix.rows(rows.to(matrix.device)).float().cpu() for matrix in (one, other))
        total += (a - b).abs().sum((-2, -1), dtype=torch.float64) / 2
        count += ((a != 0).any(-1) | (b != 0).any(-1)).sum(-1)
    return (total / count).float()


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
