"""One learned query that has to find out what matters: are there more 2s than 4s?

A single query, the same for every sequence, attends to its ten digits. The model is not told which digits count; it
shows in what it learns to attend to. After 10,000 steps all of 100,000 fresh sequences are answered right, and shown
each digit once, the query gives 81 % of its attention to 2 and 4.

That share is a habit of the model that `model_seed` draws, not a law. The task only asks for a sum in which the other
digits weigh the same: they may keep their weight if their values lie in the middle. And at this learning rate no number
moves by more than a half. Six other draws answer as well, with shares from 53 % to 92 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from mirada import plots
from mirada.data.batches import Batch, in_order
from mirada.data.counts import generate
from mirada.nn import QueryAttention
from mirada.plots.style import FAINT, INK, ORANGE, RED, SMALL, headline, quiet
from mirada.training.loop import Direction, Recipe, Seed, Sums
from mirada.training.settings import Between
from mirada.viewer import Exhibit, picked
from mirada.viewer.playground import digits as typed_digits
from mirada.watching import watch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mirada.experiment import Run

SUMMARY = "One learned query that finds the digits that matter: more 2s than 4s?"
METRICS: Mapping[str, Direction] = {"loss": "falls", "accuracy": "rises"}
BEST = "loss"

DIGITS, LENGTH, WIDTH, HIDDEN = 10, 10, 5, 200
_DRAWN = 10**7  # sequences: 0.8 GB


@dataclass(frozen=True, kw_only=True)
class Settings(Recipe):
    """The recipe of this lesson."""

    epochs: int = 20
    """Rounds of training; after each, the model is measured."""
    learning_rate: float = 5e-5
    """Adam's learning rate; the peak of a one-cycle schedule."""
    threads: int | None = 1
    """CPU threads to compute with: more than one only get into each other's way here."""
    model_seed: Seed | None = 0
    """Where the model's first weights are drawn from."""
    steps_per_epoch: Annotated[int, Between(1, 100_000)] = 500
    """Steps in a round."""
    batch_size: Annotated[int, Between(1, 10_000)] = 500
    """Sequences in a step, fresh ones every time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps_per_epoch * self.batch_size > _DRAWN:
            raise ValueError(
                f"steps_per_epoch={self.steps_per_epoch}, batch_size={self.batch_size}: an epoch is drawn at once, "
                f"at most {_DRAWN:,} sequences"
            )


# --- data ---


@dataclass(frozen=True)
class Data:
    """Sequences to measure by; those to train with are drawn as they are needed."""

    validation: Batch
    test: Batch


def load(settings: Settings) -> Data:
    """10,000 sequences to choose the best epoch by, 100,000 to judge it by."""
    return Data(
        validation=generate(10_000, Generator().manual_seed(17)),
        test=generate(100_000, Generator().manual_seed(19)),
    )


def steps(settings: Settings, data: Data) -> int:
    """As the settings say: there is no end to the data."""
    return settings.steps_per_epoch


def batches(settings: Settings, data: Data) -> Callable[[Generator], Iterable[Batch]]:
    """One epoch of fresh (digits, answer), drawn at once."""
    count = settings.steps_per_epoch * settings.batch_size
    return lambda generator: in_order(generate(count, generator), settings.batch_size)


def held_out(settings: Settings, data: Data) -> dict[str, Callable[[], Iterable[Batch]]]:
    """Chooses the best epoch."""
    return {"validation": lambda: in_order(data.validation, size=10_000)}


def final(settings: Settings, data: Data) -> dict[str, Callable[[], Iterable[Batch]]]:
    """Judges it."""
    return {"test": lambda: in_order(data.test, size=10_000)}


# --- model ---


class Counter(nn.Module):
    """Embeds the digits, lets one learned query attend to them, and judges its context, one number."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(DIGITS, WIDTH)
        self.attention = QueryAttention(WIDTH, value_dim=1)
        self.judge = nn.Sequential(nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))

    def forward(self, digits: Tensor) -> tuple[Tensor, Tensor]:
        """The logits (N, 1) of "more 2s than 4s", and the weights (N, 1, S), for digits (N, S)."""
        context, weights = self.attention(self.embed(digits), need_weights=True)  # (N, 1, 1), (N, 1, S)
        return self.judge(context[:, 0]), weights

    def answer(self, digits: Tensor) -> Tensor:
        """The same logits in half the time, to learn by.

        A digit's score and value do not depend on where it stands, and there are only ten of them. So each is worked
        out once, and of a sequence it matters how often it holds each digit: its context
        Σ e^score · value / Σ e^score is the ratio of two sums over ten digits.
        """
        scores, values = self.table()  # (10,), (10,)
        times = scores.new_zeros(len(digits), DIGITS).scatter_add_(
            1, digits, torch.ones_like(digits, dtype=scores.dtype)
        )
        shares = (scores - scores.max()).exp()  # (10,)
        told, total = (times @ torch.stack([shares * values, shares], 1)).split(1, -1)  # (N, 1) each
        return self.judge(told / total)

    def table(self) -> tuple[Tensor, Tensor]:
        """The score and the value of each digit, (10,) each."""
        key, value = self.attention.remember(self.embed.weight)  # (10, 5), (10, 1)
        scores = self.attention.query @ key.mT / math.sqrt(WIDTH)  # (1, 10)
        return scores[0], value[:, 0]


def build(settings: Settings, data: Data) -> Counter:
    """The model: there is only one."""
    return Counter()


# --- what is measured ---


def measure(model: nn.Module, batch: Batch) -> Sums:
    """Sums over a batch."""
    digits, answer = batch
    assert isinstance(model, Counter)
    logits = model.answer(digits)  # (N, 1)
    return {
        "loss": functional.binary_cross_entropy_with_logits(logits, answer, reduction="sum"),
        "count": torch.tensor(len(digits)),
        "right": ((logits > 0) == (answer > 0)).sum(),
    }


def report(sums: Sums) -> dict[str, float]:
    """Loss in nats, and the share of sequences that are answered right."""
    return {"loss": float(sums["loss"] / sums["count"]), "accuracy": float(sums["right"] / sums["count"])}


# --- pictures ---


def pictures(run: Run) -> Iterator[tuple[str, Figure]]:
    """How training went, what the query attends to in a batch and in the ten digits, and the values there."""
    page = plots.figure(8.4, 3.2, f"{100 * run.metrics[-1]['accuracy']:.2f} % of 100,000 fresh sequences are right")
    for ax, key in zip(page.subplots(1, 2), ("loss", "accuracy"), strict=True):
        plots.curves(run.metrics, key, ax=ax, log=key == "loss")
    yield "learning", page

    with torch.no_grad():
        _, weights = run.model(torch.arange(DIGITS)[None])  # (1, 1, 10)
    page = plots.figure(
        6.4, 1.5, f"Shown each digit once, it gives {100 * share(weights):.0f} % of its attention to 2 and 4"
    )
    show(torch.arange(DIGITS)[None], weights, ax=page.add_subplot())
    yield "ten-digits", page

    digits, answers = (tensor[:12] for tensor in run.data.test)  # (12, 10), (12, 1)
    with torch.no_grad():
        _, weights = run.model(digits)  # (12, 1, 10)
        assert isinstance(run.model, Counter)
        _, values = run.model.table()  # (10,)
    page = plots.figure(6.4, 5.0, "What the query attends to, and whether there are more 2s than 4s")
    show(digits, weights, ax=page.add_subplot(), answers=["yes" if answer else "no" for answer in answers])
    yield "attention", page
    page = plots.figure(6.4, 5.0, "The values of the digits, where a weight is above 0.1")
    show(digits, weights, ax=page.add_subplot(), values=values)
    yield "values", page
    yield "three", three(run, digits, weights, values)


def three(run: Run, digits: Tensor, weights: Tensor, values: Tensor) -> Figure:
    """The weights, the values and the loss of every step side by side, as the original write-up draws them."""
    page = plots.figure(11.0, 4.2, "What the query attends to, what it gets there, and how that was learned")
    left, middle, right = page.subplots(1, 3, width_ratios=[1, 1, 1.1])
    show(digits, weights, ax=left)
    headline(left, "weights, and the digits")
    show(digits, weights, ax=middle, values=values)
    headline(middle, "values where a weight is above 0.1, blue −1 to red 1")
    if len(run.losses):
        steps = torch.linspace(1, run.settings.epochs * run.settings.steps_per_epoch, len(run.losses))
        right.plot(steps, run.losses, color=ORANGE, linewidth=0.7)
    quiet(right)
    right.set_xlabel("step", fontsize=SMALL, color=INK)
    headline(right, "training loss by step, in nats")
    return page


def compared(run: Run, ax: Axes) -> str:
    """Beside other runs: the weights of the ten digits, shown once each."""
    with torch.no_grad():
        _, weights = run.model(torch.arange(DIGITS)[None])  # (1, 1, 10)
    ax.bar(range(DIGITS), weights[0, 0].tolist(), color=[RED if digit in (2, 4) else FAINT for digit in range(DIGITS)])
    ax.set_xticks(range(DIGITS))
    quiet(ax)
    return "The ten digits, shown once each: the weight of each digit, 2 and 4 in red"


def show(
    digits: Tensor, weights: Tensor, *, ax: Axes, answers: list[str] | None = None, values: Tensor | None = None
) -> None:
    """Weights (N, 1, S) as cells, the digits (N, S) written in them, 2s and 4s in red; or their values (10,).

    Values are coloured on a scale from −1 to 1, and only where a weight is above 0.1.
    """
    names: dict[str, Any] = {"row_labels": answers or [""] * len(digits), "column_labels": [""] * digits.shape[1]}
    if values is None:
        texts = [[str(digit) for digit in row] for row in digits.tolist()]
        plots.heatmap(weights[:, 0], ax=ax, values=texts, red=(digits == 2) | (digits == 4), **names)
        return
    shown = values[digits] * (weights[:, 0] > 0.1)  # (N, S)
    texts = [[f"{value:+.1f}".replace("-", "−") if value else "" for value in row] for row in shown.tolist()]
    plots.heatmap(shown, ax=ax, values=texts, limits=(-1, 1), diverging=True, **names)


def share(weights: Tensor) -> float:
    """How much of the weights (1, 1, 10) of the digits 0 to 9 goes to 2 and 4."""
    return float(weights[0, 0, [2, 4]].sum())


# --- prediction ---


def example(settings: Settings) -> list[str]:
    """Ten digits that `predict` takes."""
    return ["2024193752"]


def predict(run: Run, inputs: list[str]) -> tuple[str, Figure]:
    """Answer for ten digits, given one by one or in a row, and show what the query attended to.

    Raises:
        ValueError: not ten digits.
    """
    text = "".join("".join(inputs).split())
    if len(text) != LENGTH or not set(text) <= set("0123456789"):
        raise ValueError(f"got {' '.join(inputs)!r}, wanted {LENGTH} digits: for example 2 0 2 4 1 9 7 3 5 2")
    digits = torch.tensor([[int(character) for character in text]])  # (1, 10)
    with torch.no_grad():
        logits, weights = run.model(digits)  # (1, 1), (1, 1, 10)
    certainty = float(logits.sigmoid())
    answer = "yes" if certainty > 0.5 else "no"
    shares = "  ".join(
        f"{digit}: {100 * weight:.0f} %" for digit, weight in zip(text, weights[0, 0].tolist(), strict=True)
    )
    sentence = f"more 2s than 4s? {answer} (probability {certainty:.3f})"
    page = plots.figure(6.4, 1.5, sentence)
    show(digits, weights, ax=page.add_subplot())
    return f"{sentence}\nattention  {shares}", page


# --- the interactive view ---


@torch.no_grad()
def exhibit(run: Run, example: int = 0) -> Exhibit:
    """What the query attends to in one test sequence, and ten digits to type.

    Raises:
        ValueError: no such test sequence.
    """
    digits = picked(run.data.test[0], example)  # (10,)
    with watch(run.model) as records:
        run.model(digits[None])

    def judge(digits: Tensor) -> tuple[Tensor, Tensor]:
        logits, weights = run.model(digits[None])
        return logits.sigmoid(), weights[0, 0]

    trial = typed_digits(judge, example=run.data.test[0][0], question="more 2s than 4s?")
    labels = (["the query"], [str(digit) for digit in digits.tolist()])
    return Exhibit(records, labels, "counting", trials={"try": trial})
