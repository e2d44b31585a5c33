"""Several runs of one system side by side: what they differ in, how they learned, what they reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from rich.table import Table

from mirada import plots
from mirada.experiment import Run
from mirada.plots.style import CYCLE, INK, SMALL, TEXT, headline, quiet
from mirada.systems import Comparable
from mirada.training.settings import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES = ("-", "--", ":", "-.")
_ROW = 6  # small pictures side by side


@dataclass(frozen=True, eq=False)
class Compared:
    """One run among others."""

    run: Run
    number: int
    """From 0, as the runs were given."""
    label: str
    differs: Mapping[str, str]
    """The settings in which the runs differ, as they are typed."""
    parameters: int
    best_epoch: int
    reached: Mapping[str, float]
    """What the best epoch reports on the test split; where there is none, on validation."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs of one system; `table` for rich to print, `figure` for matplotlib."""

    runs: tuple[Compared, ...]
    split: str
    best: str
    """The metric that chose the epochs."""

    @property
    def table(self) -> Table:
        """A row for each run."""
        first, metrics = self.runs[0], list(self.runs[0].reached)
        columns = [*first.differs] or ["run"]
        table = Table(*columns, box=None, padding=(0, 2, 0, 0))
        for name in ("parameters", "best epoch", *(f"{self.split} {metric}" for metric in metrics)):
            table.add_column(name, justify="right")
        for one in self.runs:
            reached = (_written(metric, one.reached[metric]) for metric in metrics)
            names = one.differs.values() if first.differs else [one.label]
            table.add_row(*names, f"{one.parameters:,}", str(one.best_epoch), *reached)
        return table

    @property
    def figure(self) -> Figure:
        """How the runs learned, what they reach, and, where the system has a picture for it, what they attend to."""
        system = self.runs[0].run.system
        draw = system.compared if isinstance(system, Comparable) else None
        rows = -(-len(self.runs) // _ROW) if draw else 0
        height = max(2.6, 1.2 + 0.26 * len(self.runs))
        page = plots.figure(9.6, height + 2.0 * rows, f"{len(self.runs)} runs of {self.runs[0].run.name}")
        above, *below = page.subfigures(
            1 + bool(rows), 1, height_ratios=[height, 2.0 * rows][: 1 + bool(rows)], squeeze=False
        )[:, 0]
        left, right = above.subplots(1, 2, width_ratios=[1.25, 1])
        self._curves(left)
        self._reached(right)
        if draw:
            axes = list(below[0].subplots(rows, min(_ROW, max(4, len(self.runs))), squeeze=False).flat)
            for ax, one in zip(axes, self.runs, strict=False):
                caption = draw(one.run, ax)
                below[0].suptitle(caption, x=0.01, ha="left", fontsize=TEXT, color=INK)
                ax.set_title(
                    one.label.replace(", ", ",\n"),
                    loc="left",
                    fontsize=SMALL,
                    color=_colour(one.number),
                    fontweight="bold",
                )
            for ax in axes[len(self.runs) :]:
                ax.set_axis_off()
        return page

    def _curves(self, ax: Axes) -> None:
        for one in self.runs:
            lines = [line for line in one.run.metrics if line["split"] == "validation"]
            epochs, values = [line["epoch"] for line in lines], [line[self.best] for line in lines]
            ax.plot(epochs, values, color=_colour(one.number), linestyle=_style(one.number), linewidth=1.6)
        quiet(ax)
        if self.runs[0].run.system.METRICS[self.best] == "falls":
            ax.set_yscale("log")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
        ax.set_xlabel("epoch", fontsize=SMALL, color=INK)
        headline(ax, f"validation {self.best}, by epoch")

    def _reached(self, ax: Axes) -> None:
        places = range(len(self.runs))
        values = [one.reached[self.best] for one in self.runs]
        colours = [_colour(number) for number in places]
        ax.barh(places, values, color=colours, height=0.62)
        for place, value in zip(places, values, strict=True):
            ax.annotate(
                f" {_written(self.best, value)}", (value, place), va="center", fontsize=SMALL, color=INK, zorder=4
            )
        ax.set_yticks(places, [one.label for one in self.runs])
        ax.invert_yaxis()
        ax.margins(x=0.18)
        quiet(ax)
        ax.grid(False, axis="y")
        headline(ax, f"{self.split} {self.best} of the best epoch")


def compare(runs: Sequence[Run]) -> Comparison:
    """Put runs of one system side by side.

    Args:
        runs: at least two.

    Raises:
        ValueError: fewer than two, runs of different systems, or a run that has not ended its first epoch.

    >>> import mirada, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     runs = [
    ...         mirada.train("squares", out=f"{folder}/{p}", epochs=1, teacher_forcing=p, progress=False)
    ...         for p in (0.0, 1.0)
    ...     ]
    ...     [one.label for one in compare(runs).runs]
    ['teacher-forcing 0', 'teacher-forcing 1']
    """
    if len(runs) < 2:
        raise ValueError(f"runs: {len(runs)} given, at least 2 are compared")
    names = {run.name for run in runs}
    if len(names) > 1:
        raise ValueError(f"runs of {' and of '.join(sorted(names))}: only runs of one system are compared")
    settings = [plain(run.settings) for run in runs]
    differing = [name for name in settings[0] if len({str(one[name]) for one in settings}) > 1]
    found = [run.evaluate() for run in runs]
    split = "test" if "test" in found[0] else "validation"
    best = runs[0].system.BEST
    choose = max if runs[0].system.METRICS[best] == "rises" else min
    compared = []
    for number, (run, given, splits) in enumerate(zip(runs, settings, found, strict=True)):
        lines = [line for line in run.metrics if line["split"] == "validation"]
        if not lines:
            raise ValueError(f"{run.folder.path} has not ended its first epoch: go on with it (--resume)")
        chosen = choose(lines, key=lambda line: line[best])
        differs = {name.replace("_", "-"): _typed(given[name]) for name in differing}
        told = {name: value for name, value in differs.items() if given[name.replace("-", "_")] is not None}
        label = ", ".join(f"{name} {value}" for name, value in (told or differs).items()) or run.folder.path.name
        size = sum(parameter.numel() for parameter in run.model.parameters())
        compared.append(Compared(run, number, label, differs, size, chosen["epoch"], splits[split]))
    return Comparison(tuple(compared), split, best)


def _typed(value: Any) -> str:
    return "default" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _written(metric: str, value: float) -> str:
    return f"{100 * value:.1f} %" if metric.endswith("accuracy") else f"{value:.4f}"


def _colour(number: int) -> str:
    return CYCLE[number % len(CYCLE)]


def _style(number: int) -> str:
    return _STYLES[number // len(CYCLE) % len(_STYLES)]
