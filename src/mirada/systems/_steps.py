"""What a walk through a mechanism is made of: steps, each a sentence or two and some matrices, told and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.rule import Rule
from rich.text import Text
from torch import Tensor

from mirada import plots
from mirada.tables import MatrixTable, plain_text
from mirada.tracing import Trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Up to this many cells a side, their numbers can be read in a picture.
_WRITTEN = 12


@dataclass(frozen=True, eq=False)
class Panel:
    """One matrix of a step: printed as a table, drawn as cells."""

    title: str
    numbers: Tensor
    rows: str | Sequence[str] = "query"
    columns: str | Sequence[str] = "key"
    values: Literal["decimals", "percents", "whole"] = "decimals"
    hidden: Tensor | None = None

    @property
    def is_scored(self) -> bool:
        """Whether it holds scores or weights, which share their colours within a step."""
        return self.columns == "key" and self.values != "whole"

    @property
    def written(self) -> Literal["decimals", "percents"] | list[list[str]] | None:
        """What its picture writes into the cells."""
        if max(self.numbers.shape) > _WRITTEN:
            return None
        if self.values == "whole":
            return [[f"{number:.0f}" for number in row] for row in self.numbers.tolist()]
        return self.values


@dataclass(frozen=True, eq=False)
class Step:
    """One step: a sentence or two, and one or more matrices side by side."""

    name: str
    title: str
    explanation: str
    panels: tuple[Panel, ...]
    draw: Callable[[], Figure] | None = None
    """What is drawn in place of the matrices."""

    @property
    def table(self) -> RenderableType:
        """The matrices as tables, for rich to print; side by side where the terminal is wide enough."""
        tables = (
            Group(
                Text(panel.title, style="italic"),
                MatrixTable(panel.numbers, panel.rows, panel.columns, panel.values, panel.hidden),
            )
            for panel in self.panels
        )
        return Columns(tables, padding=(1, 4))

    @property
    def picture(self) -> Figure:
        """The matrices as cells, side by side on one page; those of queries and keys share a scale of colours."""
        if self.draw is not None:
            return self.draw()
        wide = [_inches(panel.numbers.shape[1], 0.5) for panel in self.panels]
        high = max(_inches(panel.numbers.shape[0], 0.42, least=0.9) for panel in self.panels)
        page = plots.figure(sum(wide) + 0.6 * len(wide), high + 1.2, self.title)
        scored = [panel.numbers.flatten() for panel in self.panels if panel.is_scored]
        shared = torch.cat([torch.zeros(1), *scored])
        shared = shared[shared.isfinite()]
        limits = (float(shared.min()), float(shared.max()))
        for ax, panel in zip(
            page.subplots(1, len(wide), width_ratios=wide, squeeze=False)[0], self.panels, strict=True
        ):
            plots.heatmap(
                panel.numbers,
                ax=ax,
                values=panel.written,
                hidden=panel.hidden,
                limits=limits if panel.is_scored else None,
                row_labels=None if isinstance(panel.rows, str) else panel.rows,
                column_labels=None if isinstance(panel.columns, str) else panel.columns,
                title=panel.title,
            )
            ax.set_ylabel(panel.rows if isinstance(panel.rows, str) else "", fontsize=8)
            ax.set_xlabel((panel.columns or "feature") if isinstance(panel.columns, str) else "", fontsize=8)
        return page


@dataclass(frozen=True, eq=False)
class Walk:
    """All steps, in order. `walk["percents"]` is one of them; `print(walk)` tells them all."""

    steps: tuple[Step, ...]
    traces: dict[str, Trace] = field(default_factory=dict)
    """By mask (none, padding, no-peek, both): every step of the attention under it, (N, ...)."""

    def __getitem__(self, name: str) -> Step:
        return {step.name: step for step in self.steps}[name]

    def __str__(self) -> str:
        return plain_text(self.__rich__())

    def __rich__(self) -> Group:
        parts: list[RenderableType] = []
        for number, step in enumerate(self.steps, start=1):
            heading = Rule(Text(f"{number}  {step.title}", style="bold"), align="left", style="dim")
            parts += [heading, Text(step.explanation), Text(), step.table, Text()]
        return Group(*parts)

    def show(self, console: Console | None = None) -> None:
        """Print all steps, as wide as the terminal."""
        (console or Console()).print(self)

    def save(self, folder: str | Path) -> list[Path]:
        """Write every step's picture into a folder, 01-input.png and so on; gives their paths.

        Raises:
            OSError: the folder can't be made or written.
        """
        return [
            plots.save(step.picture, Path(folder) / f"{number:02}-{step.name}.png")
            for number, step in enumerate(self.steps, start=1)
        ]


def _inches(cells: int, each: float, least: float = 1.7) -> float:
    return min(max(cells * each, least), 5.2)
