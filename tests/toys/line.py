"""A system as small as one can be, with all that `mirada.systems` asks of one: on which side of a line is a point?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy

from mirada.training.loop import Batch, Recipe, Sums

SUMMARY = "On which side of a line a point lies."
METRICS = {"loss": "falls", "accuracy": "rises"}
BEST = "loss"


@dataclass(frozen=True, kw_only=True)
class Settings(Recipe):
    epochs: int = 4
    learning_rate: float = 0.02
    size: int = 8
    """Items of a batch."""
    items: int = 37
    """Items to train with."""
    hidden: Literal["narrow", "wide"] = "narrow"
    """How many units."""
    place: Path | None = None
    """Where more points lie."""
    model_seed: int | None = 23


def load(settings: Settings) -> tuple[Tensor, Tensor]:
    points = torch.randn(settings.items + 21, 2, generator=Generator().manual_seed(3))
    return points, (points.sum(1) > 0.3).long()


class Model(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(2, width), nn.Linear(width, 2)
        self.spare = nn.Linear(2, 2)  # no use is ever made of it

    def forward(self, points: Tensor) -> Tensor:
        state = self.hidden(points)
        # a coin of the model's own, as teacher forcing throws one
        if self.training and torch.rand(()) < 0.5:
            state = state.tanh()
        return self.out(state.tanh())


def build(settings: Settings, data: tuple[Tensor, Tensor]) -> Model:
    return Model({"narrow": 4, "wide": 8}[settings.hidden])


def steps(settings: Settings, data: tuple[Tensor, Tensor]) -> int:
    return -(-settings.items // settings.size)


def batches(settings: Settings, data: tuple[Tensor, Tensor]) -> Callable[[Generator], Iterable[Batch]]:
    def epoch(generator: Generator) -> Iterator[Batch]:
        for index in torch.randperm(settings.items, generator=generator).split(settings.size):
            yield data[0][index], data[1][index]

    return epoch


def held_out(settings: Settings, data: tuple[Tensor, Tensor]) -> dict[str, Callable[[], Iterable[Batch]]]:
    points, sides = data[0][settings.items : -1], data[1][settings.items : -1]
    return {"validation": lambda: zip(points.split(7), sides.split(7), strict=True)}


def final(settings: Settings, data: tuple[Tensor, Tensor]) -> dict[str, Callable[[], Iterable[Batch]]]:
    return {"test": lambda: [(data[0][-1:], data[1][-1:])]}  # a single item: fewer than processes


def measure(model: nn.Module, batch: Batch) -> Sums:
    points, sides = batch
    guesses = model(points)
    return {
        "loss": cross_entropy(guesses, sides, reduction="sum"),
        "count": torch.tensor(len(points)),
        "right": (guesses.argmax(1) == sides).sum(),
    }


def report(sums: Sums) -> dict[str, float]:
    return {"loss": float(sums["loss"] / sums["count"]), "accuracy": float(sums["right"] / sums["count"])}


def pictures(run: Any) -> Iterator[tuple[str, Figure]]:
    figure = Figure(figsize=(2, 2))
    figure.subplots().plot([line["loss"] for line in run.metrics])
    yield "loss", figure


def compared(run: Any, ax: Axes) -> str:
    ax.plot([line["loss"] for line in run.metrics])
    return "Loss"


def example(settings: Settings) -> list[str]:
    return ["0.5,-0.5"]


def predict(run: Any, inputs: list[str]) -> tuple[str, Figure]:
    points = torch.tensor([[float(number) for number in text.split(",")] for text in inputs])
    return str(run.model(points).argmax(1).tolist()), Figure()


def exhibit(run: Any, example: int) -> Any:
    raise ValueError("line has no attention to look at")
