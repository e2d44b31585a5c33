"""Figures of the page: small enough for the letters to be read on a phone, first = 1 as in the text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from mirada import plots
from mirada.systems.squares import walk
from mirada.tour.page import Picture, Span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mirada.experiment import Run
    from mirada.systems.walkthrough import Step

# Two dots of the picture to each of the page's, so that letters are sharp on fine screens too.
_DPI = 200


def picture(figure: Figure, alt: str, caption: str, span: Span = "whole") -> Picture:
    """Draw a figure for the page."""
    return Picture(png=plots.png(figure, _DPI), alt=alt, caption=caption, span=span)


def panels(step: Step, captions: Sequence[str]) -> list[Picture]:
    """The matrices of a step of the walkthrough between queries and keys, a picture each, rows and columns from 1."""
    found = []
    for panel, caption in zip(step.panels, captions, strict=False):
        rows, columns = panel.numbers.shape
        page = plots.figure(3.4, 3.1)
        ax = plots.heatmap(
            panel.numbers,
            ax=page.add_subplot(),
            values=panel.values,
            hidden=panel.hidden,
            limits=(0, 1),
            row_labels=range(1, rows + 1),
            column_labels=range(1, columns + 1),
            title=panel.title,
        )
        ax.set_xlabel("key", fontsize=8)
        ax.set_ylabel("query", fontsize=8)
        percents = "; ".join(
            " ".join(f"{100 * share:.0f}" for share in row) for row in panel.numbers.nan_to_num().tolist()
        )
        found.append(picture(page, f"{panel.title}, percent by row: {percents}.", caption, "third"))
    return found


def learning(run: Run, key: str, caption: str, log: bool = False) -> Picture:
    """One curve of a run by epoch."""
    page = plots.figure(4.2, 3.0)
    plots.curves(run.metrics, key, ax=page.add_subplot(), log=log)
    return picture(page, f"{key} by epoch, a line for each split.", caption, "half")


@torch.no_grad()
def finished_squares(run: Run, caption: str, count: int = 6) -> Picture:
    """Test squares as a run finishes them."""
    model, test = run.model, run.data.test
    points, _ = model(test.source[:count], test.lengths[:count])  # (count, 2, 2)
    page, axes = plots.panels(2, count // 2, width=1.4, height=1.4)
    for n, ax in enumerate(axes):
        plots.corners(walk(test, n), points[n], ax=ax)
    return picture(
        page, f"{count} squares: given corners filled, true ones hollow, red the predictions.", caption, "half"
    )
