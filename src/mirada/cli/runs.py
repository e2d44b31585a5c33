"""`mirada evaluate`, `mirada predict` and `mirada plot`: what can be asked of a run.

Under torchrun the first process alone answers: there is little to share out, and one answer is wanted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from mirada import experiment, plots
from mirada.comparison import compare
from mirada.training.processes import is_launched_first

RunFolder = Annotated[Path, Parameter(help="Folder that keeps the run.")]


def evaluate(run: RunFolder, /) -> None:
    """Measure a run again: its best weights on every split that was held out."""
    if not is_launched_first():
        return
    measured = experiment.load(run).evaluate()
    kinds = list(dict.fromkeys(kind for metrics in measured.values() for kind in metrics))
    table = Table("split", *kinds, box=None, padding=(0, 2, 0, 0))
    for split, metrics in measured.items():
        table.add_row(split, *(f"{metrics[kind]:.4f}" if kind in metrics else "" for kind in kinds))
    Console().print(table)


def predict(
    run: RunFolder,
    /,
    *inputs: Annotated[str, Parameter(help="What to ask about, as the system takes it.", allow_leading_hyphen=True)],
) -> None:
    """Give a run some inputs, and see what it answers and attends to."""
    if not is_launched_first():
        return
    asked = experiment.load(run)
    text, figure = asked.predict(inputs)
    print(text)
    print(asked.folder.save_picture("prediction", plots.png(figure)))


def plot(
    run: RunFolder,
    /,
    *others: Annotated[
        Path, Parameter(help="More runs of the same system: all are compared, in a table and a figure.")
    ],
    out: Annotated[Path, Parameter(help="The figure of a comparison.")] = Path("runs/comparison.png"),
) -> None:
    """Draw the pictures of a run, or compare several."""
    if not is_launched_first():
        return
    if not others:
        for path in experiment.load(run).plot():
            print(path)
        return
    comparison = compare([experiment.load(folder) for folder in (run, *others)])
    Console().print(comparison.table)
    print(plots.save(comparison.figure, out))
