"""What a person sees while a model is trained: a bar with live metrics, and one line an epoch that stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

# Seconds between two readings of the metrics: each waits for the device and draws, which a step has no time for.
_PAUSE = 0.2


def words(metrics: Mapping[str, float]) -> str:
    """The metrics in a line.

    >>> words({"loss": 0.41238, "accuracy": 0.91})
    'loss 0.4124, accuracy 91.00 %'
    """
    return ", ".join(
        f"{name.replace('_', ' ')} {f'{100 * value:.2f} %' if name.endswith('accuracy') else f'{value:.4g}'}"
        for name, value in metrics.items()
    )


class Display:
    """Shows the epochs of a training on the terminal; only its lines where there is none, nothing unless `shown`."""

    def __init__(self, epochs: int, steps: int, *, shown: bool) -> None:
        self.epochs = epochs
        self.console = Console(quiet=not shown, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[metrics]}"),
            console=self.console,
            auto_refresh=False,
            transient=True,
            disable=not (shown and self.console.is_terminal),
        )
        self.task = self.progress.add_task("", total=steps, metrics="")
        self._next = 0.0

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.stop()

    def begin(self, epoch: int) -> None:
        """Start the bar of an epoch."""
        self.progress.reset(self.task, description=f"epoch {epoch}/{self.epochs}", metrics="")

    def step(self, number: int, metrics: Callable[[], Mapping[str, float]]) -> None:
        """Move the bar, now and then; only then are the metrics computed."""
        if self.progress.disable or perf_counter() < self._next:
            return
        self.progress.update(self.task, completed=number, metrics=words(metrics()), refresh=True)
        self._next = perf_counter() + _PAUSE

    def line(self, text: str) -> None:
        """Print a line that stays."""
        self.console.print(text)
