"""Bare self-attention on every pixel: one head, no bias, no positions.

An image becomes the sequence of its pixels, each a vector of one number. Every pixel attends to every other; its
context takes its place, and one linear layer names the class from all contexts.

With one channel, attention can say little. A pixel is known by how much more ink it has than usual at its place; its
query is that deviation times one number, its key that deviation times another. So the weights follow from deviations
alone: a pixel with as much ink as usual attends to all alike, an unusual one to those that are unusual in the same
way, or in the opposite one. Only the linear layer, with weights of its own for each, keeps places apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from mirada import plots
from mirada.data.batches import Batch, in_order, with_replacement
from mirada.data.images import Images, Name, load_images, split
from mirada.nn import SelfAttention
from mirada.plots.style import CYCLE, INK, SMALL, headline, quiet
from mirada.systems._asked import asked_images, share_bars, titled, verdicts
from mirada.training.loop import Direction, Recipe, Seed, Sums
from mirada.training.settings import Between
from mirada.viewer import Exhibit, picked
from mirada.viewer.playground import drawing
from mirada.watching import watch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mirada.experiment import Run

SUMMARY = "Bare self-attention on every pixel: one head, no bias, no positions."
METRICS: Mapping[str, Direction] = {"loss": "falls", "bits": "falls", "accuracy": "rises", "batch_accuracy": "rises"}
BEST = "loss"


@dataclass(frozen=True, kw_only=True)
class Settings(Recipe):
    """The recipe of this lesson."""

    epochs: int | None = None  # pyright: ignore[reportIncompatibleVariableOverride] - a number once it is made
    """Passes over as many images as there are to train with; default: 128 for mnist and fashion, as the original
    write-up, 30 for digits."""
    learning_rate: float = 0.01
    """Adam's learning rate; the peak of a one-cycle schedule."""
    threads: int | None = 1
    """CPU threads to compute with: more than one only get into each other's way here."""
    data: Name = "digits"
    """The images: digits are embedded (8×8), mnist and fashion are 28×28."""
    data_dir: Path | None = None
    """Folder with the four IDX files of mnist or fashion; without it they are downloaded once."""
    batch_size: Annotated[int, Between(1, 10_000)] = 16
    """Images in a step, drawn with replacement."""
    split_seed: Seed = 42
    """Where the split into training and validation images is drawn from; the method's first author used 46525."""
    scaling: Literal["writeup", "std"] | None = None
    """What the centred pixels are divided by: std: their standard deviation; writeup: the standard deviation of the
    pixels' variances, as the original write-up does. Default: writeup for mnist and fashion, std for digits."""

    def __post_init__(self) -> None:
        small = self.data == "digits"
        for name, default in {"epochs": 30 if small else 128, "scaling": "std" if small else "writeup"}.items():
            if getattr(self, name) is None:
                # Written into the settings, so that a run's folder says how it was trained.
                object.__setattr__(self, name, default)
        super().__post_init__()


# --- data ---


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Images, (N, H, W) uint8, and labels, (N,), of each split."""

    train: Batch
    validation: Batch
    test: Batch
    images: Images


def load(settings: Settings) -> Data:
    """5/6 of the training images to train with, 1/6 to validate with; the test images stay apart."""
    images = load_images(settings.data, settings.data_dir)
    train, validation = split(len(images.train_images), settings.split_seed)
    return Data(
        train=(images.train_images[train], images.train_labels[train]),
        validation=(images.train_images[validation], images.train_labels[validation]),
        test=(images.test_images, images.test_labels),
        images=images,
    )


def steps(settings: Settings, data: Data) -> int:
    """As many steps an epoch as draw about as many images as there are: 3,125 on MNIST."""
    return max(1, len(data.train[0]) // settings.batch_size)


def batches(settings: Settings, data: Data) -> Callable[[Generator], Iterable[Batch]]:
    """One epoch."""
    return lambda generator: with_replacement(data.train, settings.batch_size, steps(settings, data), generator)


def held_out(settings: Settings, data: Data) -> dict[str, Callable[[], Iterable[Batch]]]:
    """What chooses the best epoch, in batches that stay in the cache."""
    return {"validation": lambda: in_order(data.validation, size=100)}


def final(settings: Settings, data: Data) -> dict[str, Callable[[], Iterable[Batch]]]:
    """What the best epoch is tested with, once."""
    return {"test": lambda: in_order(data.test, size=100)}


def statistics(images: Tensor, scaling: Literal["writeup", "std"]) -> tuple[Tensor, Tensor]:
    """Every pixel's mean, (H, W), and the one number to divide by, from the training images (N, H, W)."""
    total = squares = torch.zeros(images[0].numel(), dtype=torch.float64)
    for some in images.flatten(1).split(250):  # so few that float32 holds the sums of squares exactly
        pixels = some.float()
        total, squares = total + pixels.sum(0), squares + pixels.square().sum(0)
    count = len(images)
    mean, spread = total / count, squares - total.square() / count  # (H·W,) each
    # A slip of the original write-up, kept as its default: the deviation, over pixels, of their *variances*, in
    # squared grey levels. At 4978.2 for MNIST it leaves inputs of a few hundredths, and attention that starts
    # out all but even.
    slip, standard = (spread / (count - 1)).std(), (spread.sum() / (images.numel() - 1)).sqrt()
    return mean.float().view_as(images[0]), (standard if scaling == "std" else slip).float()


# --- model ---


class Pixels(nn.Module):
    """Images (N, H, W) uint8 to logits (N, classes)."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, scale: Tensor, classes: int) -> None:
        super().__init__()
        # Part of the weights' file: the model can name an image without the data it learned from.
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.attend = SelfAttention(1, bias=False)  # query, key, value: one number each, drawn from ±1/√1
        self.classify = nn.Linear(mean.numel(), classes)

    def sequence(self, images: Tensor) -> Tensor:
        """The pixels as the attention gets them."""
        return ((images - self.mean) / self.scale).flatten(1).unsqueeze(-1)  # (N, L, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        context = self.attend(self.sequence(images))  # (N, L, 1)
        return self.classify(context.flatten(1))  # (N, classes)

    def weights(self, images: Tensor) -> Tensor:
        """What every pixel attends to: (N, L, L), row by row."""
        _, weights = self.attend(self.sequence(images), need_weights=True)
        return weights


def build(settings: Settings, data: Data) -> Pixels:
    """The model, with the statistics of the training images."""
    mean, scale = statistics(data.train[0], settings.scaling or "writeup")
    return Pixels(mean, scale, len(data.images.classes))


# --- what is measured ---


def measure(model: nn.Module, batch: Batch) -> Sums:
    """Sums over a batch; how many were seen and right of each class.

    While it trains, also the accuracy of each batch as the original write-up averages it: over the classes that the
    batch holds, then over the batches. Sixteen images hold few of a class, so a rare mistake weighs more. Under
    torchrun a batch is here each process's share of it.
    """
    images, labels = batch
    logits = model(images)  # (N, classes)
    classes = logits.shape[-1]
    right = labels[logits.argmax(-1) == labels].bincount(minlength=classes)  # (classes,)
    seen = labels.bincount(minlength=classes)  # (classes,)
    sums = {
        "loss": functional.cross_entropy(logits, labels, reduction="sum"),
        "count": torch.tensor(len(labels)),
        "right": right,
        "seen": seen,
    }
    if model.training:
        sums |= {"batches": torch.tensor(1), "of_batches": (right / seen).nanmean()}  # 0/0 where there is none
    return sums


def report(sums: Sums) -> dict[str, float]:
    """Loss in nats and in bits; accuracy as the mean over classes, so that a rare class counts as much as a common.

    In training, `batch_accuracy` is what the original write-up calls training accuracy: the mean over batches of
    each batch's mean over classes. It lies a point or two lower. Held-out images are one batch, so there it is the
    accuracy itself.
    """
    loss = float(sums["loss"] / sums["count"])
    seen = sums["seen"] > 0
    accuracy = float((sums["right"][seen] / sums["seen"][seen]).mean())
    of_batches = float(sums["of_batches"] / sums["batches"]) if "batches" in sums else accuracy
    return {"loss": loss, "bits": loss / math.log(2), "accuracy": accuracy, "batch_accuracy": of_batches}


# --- pictures ---


def pictures(run: Run) -> Iterator[tuple[str, Figure]]:
    """How training went, what chosen pixels attend to, and the rule behind it."""
    assert isinstance(run.model, Pixels)
    divided = f"centred, then divided by {float(run.model.scale):.4f} (scaling {run.settings.scaling})"
    page = plots.figure(8.4, 3.4, f"Learning from pixels that are {divided}")
    for ax, key in zip(page.subplots(1, 2), ("bits", "accuracy"), strict=True):
        plots.curves(run.metrics, key, ax=ax)
    yield "learning", page

    images = run.data.images.test_images[:4]
    page, axes = plots.panels(len(images), 4, width=2.1, height=2.3, title="What three pixels of an image attend to")
    for row, image in enumerate(images):
        gaze(run.model, image, axes[4 * row : 4 * row + 4])
    yield "gaze", page
    yield "rule", rule(run.model, images)


def chosen(model: Pixels, image: Tensor) -> dict[str, int]:
    """Three pixels of an image (H, W): with far less ink than usual at its place, as much as usual, far more."""
    deviations = model.sequence(image[None]).flatten()  # (L,)
    return {
        "less ink": int(deviations.argmin()),
        "as usual": int(deviations.abs().argmin()),
        "more ink": int(deviations.argmax()),
    }


def gaze(model: Pixels, image: Tensor, axes: list[Axes]) -> None:
    """Draw an image, and what three of its pixels attend to: more than the least, in multiples of an even share."""
    with torch.no_grad():
        weights = model.weights(image[None])[0]  # (L, L)
    plots.over_image(image, torch.zeros(image.numel()), ax=axes[0])
    for ax, (name, pixel) in zip(axes[1:], chosen(model, image).items(), strict=True):
        shares = weights[pixel] * len(weights)  # (L,), an even share is 1
        title = f"{name}: up to {shares.max():.2g} × even"
        plots.over_image(image, shares - shares.min(), patch=1, query=pixel, ax=ax, title=title)


def rule(model: Pixels, images: Tensor) -> Figure:
    """The context of pixels, against how unusual they are: one curve for each image, the same for all its pixels."""
    with torch.no_grad():
        sequence = model.sequence(images)  # (N, L, 1)
        context = model.attend(sequence)  # (N, L, 1)
    page = plots.figure(5.6, 3.6)
    ax = page.add_subplot()
    for deviations, told, colour in zip((sequence * model.scale).flatten(1), context.flatten(1), CYCLE, strict=False):
        order = deviations.argsort()
        ax.plot(deviations[order].numpy(), told[order].numpy(), color=colour, marker=".", markersize=5, linewidth=1)
    ax.set_xlabel("ink: more than usual at its place, in grey levels", fontsize=SMALL, color=INK)
    ax.set_ylabel("context", fontsize=SMALL, color=INK)
    quiet(ax)
    headline(ax, "A pixel's context follows from its own deviation; the image sets the curve")
    return page


# --- prediction ---


def example(settings: Settings) -> list[str]:
    """Test images that `predict` takes."""
    return ["0", "1", "2"]


def predict(run: Run, inputs: list[str]) -> tuple[str, Figure]:
    """Name images, test images by their index or files, and show what three pixels of each attend to.

    Raises:
        ValueError: an input is no index and no image of the right size.
    """
    assert isinstance(run.model, Pixels)
    images, labels = asked_images(inputs, run.data.images)
    with torch.no_grad():
        probabilities = run.model(images).softmax(-1)  # (N, classes)
    page, axes = plots.panels(len(images), 5, width=2.1, height=2.3)
    for number, (name, image) in enumerate(zip(inputs, images, strict=True)):
        *pictures, bars = axes[5 * number : 5 * number + 5]
        gaze(run.model, image, pictures)
        guess = int(probabilities[number].argmax())
        titled(pictures[0], str(name), labels[number], guess, run.data.images.classes)
        share_bars(bars, probabilities[number], run.data.images.classes)
    return verdicts(inputs, probabilities, labels, run.data.images.classes), page


# --- the interactive view ---


@torch.no_grad()
def exhibit(run: Run, example: int = 0) -> Exhibit:
    """What the pixels of one test image attend to, and a sheet to draw another image on.

    Raises:
        ValueError: no such test image.
    """
    assert isinstance(run.model, Pixels)
    model, images = run.model, run.data.images
    image = picked(images.test_images, example)  # (H, W)
    with watch(model) as records:
        model.weights(image[None])
    names = [f"row {n // image.shape[1] + 1}, column {n % image.shape[1] + 1}" for n in range(image.numel())]
    sheet = drawing(
        lambda image: model(image).softmax(-1)[0],
        lambda image, query: model.weights(image)[0, query],
        grid=images.size,
        classes=images.classes,
        example=images.test_images[0],
    )
    title = f"pixels: a {images.classes[images.test_labels[example]]}"
    return Exhibit(records, (names, names), title, image, 1, {"try": sheet})
