"""The loop: epochs of Adam, the best one kept, and a state to go on from after every one of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Annotated, Literal

import torch
from torch import Generator, nn
from torch.optim.lr_scheduler import OneCycleLR

from mirada.training import processes
from mirada.training.checkpoint import Keeper, State
from mirada.training.optimizer import Adam
from mirada.training.processes import Batch as Batch
from mirada.training.processes import Measure
from mirada.training.processes import Sums as Sums
from mirada.training.progress import Display, words
from mirada.training.run import Folder
from mirada.training.settings import Between, check_ranges

Batches = Callable[[Generator], Iterable[Batch]]
Splits = Mapping[str, Callable[[], Iterable[Batch]]]
Report = Callable[[Sums], dict[str, float]]


Direction = Literal["falls", "rises"]
"""What a metric does while a model gets better."""

_THREADS = max(64, 4 * (os.cpu_count() or 1))
Seed = Annotated[int, Between(0, 2**63 - 1)]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained. A system's settings extend it; with a `__post_init__` of their own they call this one.

    A field with a `Between` is checked against it.
    """

    epochs: Annotated[int, Between(1, 10**9)] = 10
    """Passes over the training data."""
    learning_rate: float = 1e-3
    """Adam's learning rate; the peak of a one-cycle schedule."""
    schedule: Literal["constant", "onecycle"] = "constant"
    """Keep the learning rate, or raise it and lower it again over the whole training."""
    seed: Seed = 42
    """Where all random numbers start: the same seed gives the same run."""
    model_seed: Seed | None = None
    """Where the model's first weights are drawn from; default: from the seed."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    """Where to compute; auto takes the best that is there."""
    threads: Annotated[int | None, Between(1, _THREADS)] = None
    """CPU threads to compute with; default: as many as torch takes. More than one make a small model slower."""
    patience: Annotated[int | None, Between(1, 10**9)] = None
    """Stop after this many epochs in a row that bring no better validation; default: never."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate}: a number above 0 is needed")


class DivergedError(ArithmeticError):
    """The loss is no longer a number."""


class Tally:
    """Running sums that never make the device wait.

    >>> tally = Tally()
    >>> tally.add({"loss": torch.tensor(1.5), "count": torch.tensor(2)})
    >>> tally.add({"loss": torch.tensor(0.5), "count": torch.tensor(2)})
    >>> tally.sums()
    {'loss': tensor(2., dtype=torch.float64), 'count': tensor(4., dtype=torch.float64)}
    """

    def __init__(self) -> None:
        self._sums: Sums = {}
        self._new: list[Sums] = []

    def add(self, sums: Sums) -> None:
        """Add the sums of one batch."""
        # Kept for later: stacking 128 of them at once costs a tenth of 128 additions.
        self._new.append({key: value.detach() if value.requires_grad else value for key, value in sums.items()})
        if len(self._new) == 128:
            self.sums()

    def sums(self) -> Sums:
        """The sums up to now, in float64 where the device has it."""
        for key in self._new[0] if self._new else ():
            new = torch.stack([sums[key] for sums in self._new])
            total = new.sum(0, dtype=torch.float32 if new.is_mps else torch.float64)
            self._sums[key] = self._sums[key] + total if key in self._sums else total
        self._new.clear()
        return dict(self._sums)


def evaluate(
    model: nn.Module, batches: Iterable[Batch], *, measure: Measure, report: Report, place: torch.device
) -> dict[str, float]:
    """What the system reports over some batches, without gradients and with the model in eval mode."""
    model.eval()
    measured, tally = processes.measured(model, measure, place), Tally()
    with torch.no_grad():
        for batch in batches:
            tally.add(measured(batch))
    return report(processes.total(tally.sums(), place))


def fit(
    model: nn.Module,
    *,
    recipe: Recipe,
    batches: Batches,
    steps: int,
    held_out: Splits,
    measure: Measure,
    report: Report,
    folder: Folder,
    metrics: Mapping[str, Direction] | None = None,
    best: str = "loss",
    final: Splits | None = None,
    resume: bool = False,
    progress: bool = True,
) -> None:
    """Train a model, and leave it on the CPU, in eval mode, with the weights of its best epoch.

    Under torchrun every batch is shared out among the processes; the first one writes.

    Args:
        model: what is trained, in place.
        recipe: epochs, learning rate, and so on.
        batches: one epoch of batches, drawn with a CPU generator that starts from the recipe's seed.
        steps: how many batches that is.
        held_out: splits to measure after each epoch; "validation" among them chooses the best one.
        measure: the sums over a batch (see `Sums`); "loss" / "count" is what the gradient is taken of. What it draws
            at random it draws once for the whole batch, so that the processes of torchrun draw the same.
        report: what sums say, as numbers: "loss" and others.
        folder: keeps the metrics, the best weights, and the state to go on from.
        metrics: what `report` gives, by name, and whether it falls or rises as the model gets better; the loss alone if
            left out.
        best: the one of these that chooses the epoch by its validation.
        final: splits to measure at the end, with the best weights.
        resume: go on from the folder's state, if it has any.
        progress: show a bar and a line for each epoch.

    Raises:
        DivergedError: something that is reported is no longer a finite number. The folder keeps what was good.
        RunError: the folder can't be read or written.
        ValueError: no such device here, not as many batches as `steps`, other metrics than were named, or no split
            "validation".
    """
    metrics = metrics or {"loss": "falls"}
    if best not in metrics:
        raise ValueError(f"best={best!r} is not among the metrics {', '.join(metrics)}")
    if "validation" not in held_out:
        raise ValueError(
            f"held_out has the splits {', '.join(held_out) or 'none'}: 'validation' chooses the best epoch"
        )
    place = processes.device(recipe.device)
    # Which process is the first is known once they are joined, so the order of these two matters.
    with (
        _threads(recipe.threads),
        processes.joined(place),
        Display(recipe.epochs, steps, shown=progress and processes.is_first()) as display,
    ):
        state = _begun(model, recipe, steps, place)
        keeper = Keeper(folder, state)
        if resume:
            display.line(f"{folder.path}: {keeper.take_up(recipe.epochs)}")
            if not state.done:  # the final splits of a run that is trained on are measured anew
                state.metrics = [line for line in state.metrics if line["split"] not in (final or {})]
        course = _Course(state, measure, _checked(report, metrics), display)
        while not (state.done or _is_over(state, recipe)):
            state.epoch += 1
            display.begin(state.epoch)
            lines = {"train": course.train(batches, steps)}
            lines |= {split: course.evaluate(split, of()) for split, of in held_out.items()}
            value = lines["validation"][best]
            is_best = state.note(value if metrics[best] == "falls" else -value)
            display.line(_epoch_line(state, recipe, lines, is_best))
            keeper.keep()
        if not state.done:
            state.finish()
            lines = {split: course.evaluate(split, of(), state.best_epoch) for split, of in (final or {}).items()}
            display.line(_last_line(state, lines))
        keeper.keep(now=True)
        processes.wait()
        model.to("cpu").eval()


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute with so many CPU threads for as long as this lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begun(model: nn.Module, recipe: Recipe, steps: int, place: torch.device) -> State:
    model.to(place)
    optimizer = Adam(model.parameters(), lr=recipe.learning_rate, fused=True)
    schedule = None
    if recipe.schedule == "onecycle":
        schedule = OneCycleLR(optimizer, max_lr=recipe.learning_rate, total_steps=recipe.epochs * steps)
    torch.manual_seed(recipe.seed)
    return State(model, optimizer, schedule, Generator().manual_seed(recipe.seed), place)


def _checked(report: Report, metrics: Mapping[str, Direction]) -> Report:
    """The report, which must give the metrics that were named."""

    def checked(sums: Sums) -> dict[str, float]:
        reported = report(sums)
        if set(reported) != set(metrics):
            raise ValueError(f"report gives {', '.join(reported)}; the metrics named are {', '.join(metrics)}")
        return reported

    return checked


class _Course:
    """One training: trains and measures, and notes the metrics of both."""

    def __init__(self, state: State, measure: Measure, report: Report, display: Display) -> None:
        self.state, self.measure, self.report, self.display = state, measure, report, display
        self.learner = processes.learner(state.model, measure, state.place)

    def train(self, batches: Batches, steps: int) -> dict[str, float]:
        """One epoch."""
        began = perf_counter()
        optimizer, schedule, tally = self.state.optimizer, self.state.schedule, Tally()
        self.state.model.train()
        number, losses = 0, []
        for number, batch in enumerate(batches(self.state.generator), start=1):
            if number > steps:
                break
            sums = self.learner(batch)
            processes.mean_loss(sums).backward()
            optimizer.step()
            optimizer.zero_grad()
            if schedule:
                schedule.step()
            losses.append((sums["loss"].detach(), sums["count"]))
            tally.add(sums)
            self.display.step(number, lambda: self.report(tally.sums()))
        if number != steps:
            raise ValueError(f"steps={steps}, but an epoch has {'more' if number > steps else number} batches")
        self.state.note_losses(losses)
        return self._note("train", self.report(processes.total(tally.sums(), self.state.place)), began)

    def evaluate(self, split: str, batches: Iterable[Batch], epoch: int | None = None) -> dict[str, float]:
        """One split, with the weights as they are."""
        began, state = perf_counter(), self.state
        metrics = evaluate(state.model, batches, measure=self.measure, report=self.report, place=state.place)
        return self._note(split, metrics, began, epoch)

    def _note(self, split: str, metrics: dict[str, float], began: float, epoch: int | None = None) -> dict[str, float]:
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise DivergedError(
                    f"epoch {self.state.epoch}: {split} {name} became {value}; try a smaller --learning-rate "
                    "(what was kept before is untouched)"
                )
        epoch = epoch or self.state.epoch
        self.state.metrics.append(
            {"epoch": epoch, "split": split, **metrics, "seconds": round(perf_counter() - began, 4)}
        )
        return metrics


def _is_over(state: State, recipe: Recipe) -> bool:
    waited = state.epoch - state.best_epoch
    return state.epoch >= recipe.epochs or (recipe.patience is not None and waited >= recipe.patience)


def _epoch_line(state: State, recipe: Recipe, lines: Mapping[str, Mapping[str, float]], is_best: bool) -> str:
    width = len(str(recipe.epochs))
    parts = " | ".join(f"{split}: {words(metrics)}" for split, metrics in lines.items())
    return f"epoch {state.epoch:{width}}/{recipe.epochs} | {parts}{' | best' if is_best else ''}"


def _last_line(state: State, lines: Mapping[str, Mapping[str, float]]) -> str:
    return " | ".join([f"best epoch {state.best_epoch}", *(f"{split}: {words(m)}" for split, m in lines.items())])
