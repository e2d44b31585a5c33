"""A matrix as a table in the terminal: numbers in columns, the middle left out where it doesn't fit."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text
from torch import Tensor

# Rows shown before the middle is left out, as many as the eye takes in at once.
_ROWS = 12


@dataclass(frozen=True, eq=False)
class MatrixTable:
    """A matrix (rows, columns) that rich can print, as wide as the terminal allows.

    >>> print(plain_text(MatrixTable(torch.tensor([[0.5, -torch.inf]]), rows="query", columns="key")))
             key 1  key 2
    query 1 0.5000     −∞
    """

    numbers: Tensor
    rows: str | Sequence[str] = ""
    """What a row is ("query" heads them query 1, query 2, ...), or a name for each."""
    columns: str | Sequence[str] = ""
    """What a column is, or a name for each."""
    values: Literal["decimals", "percents", "whole"] = "decimals"
    """Four decimals, whole percents, or whole numbers."""
    hidden: Tensor | None = None
    """Cells that may not be seen, True = hidden: printed dim. −inf always is."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._table(options.max_width)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._table(options.max_width))

    def _table(self, width: int) -> RenderableType:
        height, breadth = self.numbers.shape
        if not self.numbers.numel():
            return Text(f"{height} × {breadth}: nothing in it", style="dim")
        numbers = self.numbers.detach().cpu().double()
        hidden = numbers == -torch.inf if self.hidden is None else self.hidden.cpu() | (numbers == -torch.inf)
        row_names, column_names = _names(self.rows, height), _names(self.columns, breadth)
        rows = _ends(height, _ROWS)
        shown = numbers[[row for row in rows if row is not None]]
        write = self._writer(shown)
        cell = max(len(word) for word in (*column_names, *map(write, shown.flatten().tolist())))
        columns = _ends(breadth, max(3, (width - max(map(len, row_names))) // (cell + 1)))

        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
        table.add_column("", style="dim", no_wrap=True)
        for column in columns:
            name, least = ("⋯", 1) if column is None else (column_names[column], cell)
            table.add_column(name, justify="right", no_wrap=True, min_width=least)
        for row in rows:
            if row is None:
                table.add_row("⋮", *("⋮" for _ in columns))
                continue
            cells = (
                "⋯" if j is None else Text(write(float(numbers[row, j])), style="dim" if hidden[row, j] else "")
                for j in columns
            )
            table.add_row(row_names[row], *cells)
        return table

    def _writer(self, shown: Tensor) -> Callable[[float], str]:
        finite = shown[shown.isfinite()].abs()
        largest = float(finite.max()) if len(finite) else 0.0
        form = "{:.0f}" if self.values != "decimals" else "{:.4f}" if largest < 1e5 else "{:.3e}"
        factor = 100 if self.values == "percents" else 1

        def write(number: float) -> str:
            special = {torch.inf: "∞", -torch.inf: "−∞"}.get(number, "NaN" if number != number else None)
            return special or form.format(number * factor)

        return write


def plain_text(renderable: RenderableType, width: int = 100) -> str:
    """What rich would print, without colours, `width` columns wide.

    >>> plain_text("one line", width=10)
    'one line'
    """
    console = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def _names(names: str | Sequence[str], count: int) -> list[str]:
    return [f"{names} {number}".strip() for number in range(1, count + 1)] if isinstance(names, str) else list(names)


def _ends(count: int, most: int) -> list[int | None]:
    """All indices where there are at most `most`, else the first and the last with None for what lies between."""
    if count <= most:
        return list(range(count))
    first = most // 2
    return [*range(first), None, *range(count - (most - 1 - first), count)]
