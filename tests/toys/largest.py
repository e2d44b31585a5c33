"""Which of five numbers is the largest? A learned query finds it: a template for a system of your own.

Copy this file into `mirada/systems`; its name is the system's name. Nothing else has to be touched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from mirada import plots
from mirada.data.batches import Batch, in_order
from mirada.nn import QueryAttention
from mirada.training.loop import Direction, Recipe, Sums
from mirada.training.settings import Between
from mirada.viewer import Exhibit, picked
from mirada.watching import watch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mirada.experiment import Run

SUMMARY = "One learned query that finds the largest of five numbers."
METRICS: Mapping[str, Direction] = {"loss": "falls", "accuracy": "rises"}
BEST = "loss"

LENGTH = 5  # numbers in a sequence


@dataclass(frozen=True, kw_only=True)
class Settings(Recipe):
    """The recipe of this system: each field is an option of `mirada train`, the string below it its help."""

    epochs: int = 10
    """Rounds of training; after each, the model is measured."""
    learning_rate: float = 0.01
    """Adam's learning rate; the peak of a one-cycle schedule."""
    threads: int | None = 1
    """CPU threads to compute with."""
    batch_size: Annotated[int, Between(1, 10_000)] = 64
    """Sequences in a step, fresh ones every time."""
    width: Annotated[int, Between(1, 256)] = 8
    """Features that a number is embedded in."""


# --- data: sequences (N, 5, 1), from −1 to 1 ---


def load(settings: Settings) -> dict[str, Tensor]:
    """The sequences that are measured by; those to train with are drawn as they are needed."""
    return {"validation": draw(1_000, Generator().manual_seed(17)), "test": draw(1_000, Generator().manual_seed(19))}


def draw(count: int, generator: Generator) -> Tensor:
    """Sequences of numbers, (count, 5, 1)."""
    return 2 * torch.rand(count, LENGTH, 1, generator=generator) - 1


def steps(settings: Settings, data: dict[str, Tensor]) -> int:
    """A round is as long as we like: there is no end to the data."""
    return 50


def batches(settings: Settings, data: dict[str, Tensor]) -> Callable[[Generator], Iterable[Batch]]:
    """One epoch. All that is random comes from the generator, so that a seed gives the same run."""
    count = steps(settings, data) * settings.batch_size
    return lambda generator: in_order((draw(count, generator),), settings.batch_size)


def held_out(settings: Settings, data: dict[str, Tensor]) -> dict[str, Callable[[], Iterable[Batch]]]:
    """Chooses the best epoch."""
    return {"validation": lambda: in_order((data["validation"],), size=500)}


def final(settings: Settings, data: dict[str, Tensor]) -> dict[str, Callable[[], Iterable[Batch]]]:
    """Judges it."""
    return {"test": lambda: in_order((data["test"],), size=500)}


# --- model ---


class Finder(nn.Module):
    """Embeds each number; one query attends to the five; its context, a single number, is the answer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(1, width), nn.Tanh())
        self.attend = QueryAttention(width, value_dim=1)

    def forward(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The largest of numbers (N, 5, 1) as (N,), and the weights (N, 5)."""
        context, weights = self.attend(self.embed(numbers), need_weights=True)  # (N, 1, 1), (N, 1, 5)
        return context[:, 0, 0], weights[:, 0]


def build(settings: Settings, data: dict[str, Tensor]) -> Finder:
    """The model."""
    return Finder(settings.width)


# --- what is measured ---


def measure(model: nn.Module, batch: Batch) -> Sums:
    """Sums over a batch."""
    (numbers,) = batch
    found, weights = model(numbers)  # (N,), (N, 5)
    largest, place = numbers[..., 0].max(-1)  # (N,) each
    return {
        "loss": functional.mse_loss(found, largest, reduction="sum"),
        "count": torch.tensor(len(numbers)),
        "right": (weights.argmax(-1) == place).sum(),
    }


def report(sums: Sums) -> dict[str, float]:
    """Mean squared error, and in how many sequences the largest number gets the most attention."""
    return {"loss": float(sums["loss"] / sums["count"]), "accuracy": float(sums["right"] / sums["count"])}


# --- pictures ---


def pictures(run: Run) -> Iterator[tuple[str, Figure]]:
    """How training went, and what the query attends to in eight sequences."""
    page = plots.figure(8.4, 3.2, "Learning")
    for ax, metric in zip(page.subplots(1, 2), METRICS, strict=True):
        plots.curves(run.metrics, metric, ax=ax, log=metric == "loss")
    yield "learning", page
    yield "attention", show(run, run.data["test"][:8], "The weight of each number: the larger, the more")


@torch.no_grad()
def show(run: Run, numbers: Tensor, title: str) -> Figure:
    """The weights of sequences (N, 5, 1) as cells, the numbers written in them."""
    _, weights = run.model(numbers)  # (N, 5)
    page = plots.figure(4.5, 1 + 0.4 * len(numbers), title)
    texts = [[f"{number:+.2f}" for number in row] for row in numbers[..., 0].tolist()]
    plots.heatmap(weights, ax=page.add_subplot(), values=texts, limits=(0, 1), column_labels=range(1, LENGTH + 1))
    return page


@torch.no_grad()
def compared(run: Run, ax: Axes) -> str:
    """Beside other runs: the weights of one test sequence."""
    numbers = run.data["test"][:1]  # (1, 5, 1)
    _, weights = run.model(numbers)  # (1, 5)
    plots.heatmap(weights, ax=ax, values=[[f"{number:+.2f}" for number in numbers.flatten().tolist()]], limits=(0, 1))
    return "One test sequence: the weight of each number"


# --- prediction ---


def example(settings: Settings) -> list[str]:
    """Five numbers."""
    return ["0.1", "-0.3", "0.9", "0", "0.5"]


@torch.no_grad()
def predict(run: Run, inputs: list[str]) -> tuple[str, Figure]:
    """The largest of five numbers.

    Raises:
        ValueError: not five numbers from −1 to 1.
    """
    try:
        numbers = [float(text) for text in inputs]
    except ValueError:
        numbers = []
    if len(numbers) != LENGTH or not all(math.isfinite(number) and abs(number) <= 1 for number in numbers):
        raise ValueError(
            f"got {' '.join(inputs)!r}, wanted {LENGTH} numbers from -1 to 1: for example 0.1 -0.3 0.9 0 0.5"
        )
    sequence = torch.tensor(numbers).view(1, LENGTH, 1)
    found, _ = run.model(sequence)
    text = f"the largest is about {float(found):.2f}"
    return text, show(run, sequence, text)


# --- the interactive view ---


@torch.no_grad()
def exhibit(run: Run, example: int = 0) -> Exhibit:
    """What the query attends to in one test sequence.

    Raises:
        ValueError: no such test sequence.
    """
    numbers = picked(run.data["test"], example)  # (5, 1)
    with watch(run.model) as records:
        run.model(numbers[None])
    return Exhibit(records, (["the query"], [f"{number:+.2f}" for number in numbers[:, 0].tolist()]), "largest")
