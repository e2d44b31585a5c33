"""Multi-head self-attention on image patches, beside an MLP.

An image is cut into 16 patches, in reading order; each is a token whose features are its pixels. Five models show what
attention brings, and what it needs around it (held-out accuracy on MNIST, best of 5 epochs, seed 42):

    model     what it is                                  parameters   constant   one-cycle
    mlp       no attention: all pixels, one hidden layer     623,290     97.7 %      98.4 %
    wide      16 heads that each see the whole patch         163,915     96.0 %      97.6 %
    narrow    heads that share the patch's pixels             17,650          –           –
    features  what the write-up really ran (see below)       163,915     96.5 %           –
    block     a whole transformer block around the heads      47,946          –      98.4 %

One bare layer of attention stays behind the MLP: its patches have no places, and nothing but a ReLU comes after it.
With an embedding, places, residuals, norms and a feed-forward around it, attention draws level with the MLP, with a
thirteenth of the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from mirada import plots
from mirada.data.batches import Batch, in_order, shuffled
from mirada.data.images import Images, Name, load_images
from mirada.matrix import attention
from mirada.nn import MultiHeadAttention, WideMultiHeadAttention
from mirada.systems._asked import asked_images, share_bars, titled, verdicts
from mirada.training.loop import Direction, Recipe, Sums
from mirada.training.settings import Between
from mirada.viewer import Exhibit, picked
from mirada.viewer.playground import Trial, drawing
from mirada.watching import watch
from mirada.watching.session import heads_apart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mirada.experiment import Run

SUMMARY = "Multi-head self-attention on image patches, beside an MLP."
METRICS: Mapping[str, Direction] = {"loss": "falls", "accuracy": "rises", "macro_accuracy": "rises"}
BEST = "accuracy"


@dataclass(frozen=True, kw_only=True)
class Settings(Recipe):
    """The recipe of this lesson."""

    epochs: int | None = None  # pyright: ignore[reportIncompatibleVariableOverride] - a number once it is made
    """Passes over the training data; default: 5 for mnist and fashion, 30 for digits, which are forty times fewer."""
    learning_rate: float = 0.003
    """Adam's learning rate; the peak of a one-cycle schedule."""
    schedule: Literal["constant", "onecycle"] | None = None  # pyright: ignore[reportIncompatibleVariableOverride] - likewise
    """Keep the learning rate, or raise it and lower it again; default: constant for mnist and fashion, as the original
    write-up of this lesson, onecycle for digits."""
    data: Name = "digits"
    """The images: digits are embedded (8×8), mnist and fashion are 28×28."""
    data_dir: Path | None = None
    """Folder with the four IDX files of mnist or fashion; without it they are downloaded once."""
    batch_size: Annotated[int, Between(1, 10_000)] = 64
    """Images in a step, shuffled."""
    model: Literal["mlp", "wide", "narrow", "features", "block"] = "wide"
    """mlp: no attention; wide: each head sees a whole patch; narrow: heads share its pixels; features: attention among
    pixel positions; block: a whole transformer block."""
    patch: Annotated[int | None, Between(1, 28)] = None
    """Pixels a side of a patch, or from top to bottom with patch_width; default: a quarter of the image."""
    patch_width: Annotated[int | None, Between(1, 28)] = None
    """Pixels of a patch from left to right; default: patch."""
    heads: Annotated[int | None, Between(1, 256)] = None
    """Heads of attention; default: 16 for wide and features, 4 for block, as many as a patch has rows for narrow."""
    blocks: Annotated[int, Between(1, 100)] = 1
    """Transformer blocks after one another, for block."""

    def __post_init__(self) -> None:
        small = self.data == "digits"
        for name, default in {"epochs": 30 if small else 5, "schedule": "onecycle" if small else "constant"}.items():
            if getattr(self, name) is None:
                # Written into the settings, so that a run's folder says how it was trained.
                object.__setattr__(self, name, default)
        super().__post_init__()
        self._refuse_what_is_ignored()

    def _refuse_what_is_ignored(self) -> None:
        """An option that the chosen model does not have would be ignored in silence."""
        for name in ("patch", "patch_width", "heads"):
            if self.model == "mlp" and getattr(self, name) is not None:
                raise ValueError(f"{name}={getattr(self, name)}: model='mlp' has no {name}; choose another model")
        if self.model != "block" and self.blocks != 1:
            raise ValueError(f"blocks={self.blocks}: model={self.model!r} has one layer; use model=block")


# --- data ---


def load(settings: Settings) -> Images:
    """All training images to train with; the test images are held out."""
    return load_images(settings.data, settings.data_dir)


def steps(settings: Settings, data: Images) -> int:
    """Every image once an epoch, the last batch may be smaller."""
    return math.ceil(len(data.train_images) / settings.batch_size)


def batches(settings: Settings, data: Images) -> Callable[[Generator], Iterable[Batch]]:
    """One epoch."""
    return lambda generator: shuffled((data.train_images, data.train_labels), settings.batch_size, generator)


def held_out(settings: Settings, data: Images) -> dict[str, Callable[[], Iterable[Batch]]]:
    """The best epoch is chosen by what it is judged by, as in the write-up: optimistically biased."""
    return {"validation": lambda: in_order((data.test_images, data.test_labels), size=100)}


def final(settings: Settings, data: Images) -> dict[str, Callable[[], Iterable[Batch]]]:
    """No images are left to test with."""
    return {}


def cut(images: Tensor, patch: int | tuple[int, int]) -> Tensor:
    """Images (N, H, W) uint8 as patches (a side, or height and width) in reading order, (N, P, h·w), from 0 to 1.

    >>> cut(torch.arange(16, dtype=torch.uint8).view(1, 4, 4), 2).mul(255).int()
    tensor([[[ 0,  1,  4,  5],
             [ 2,  3,  6,  7],
             [ 8,  9, 12, 13],
             [10, 11, 14, 15]]], dtype=torch.int32)
    """
    high, wide = (patch, patch) if isinstance(patch, int) else patch
    tiles = (images / 255).unflatten(2, (-1, wide)).unflatten(1, (-1, high))  # (N, H/h, h, W/w, w)
    return tiles.transpose(2, 3).flatten(3).flatten(1, 2)  # (N, P, h·w)


# --- models: images (N, H, W) uint8 to logits (N, classes) ---


class MLP(nn.Module):
    """No attention: every pixel weighed against every hidden unit."""

    def __init__(self, pixels: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(pixels, pixels)
        self.classify = nn.Linear(pixels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self.classify(functional.relu(self.hidden(images.flatten(1) / 255)))


class Bare(nn.Module):
    """One layer of attention, nothing around it."""

    def __init__(self, attend: nn.Module, pixels: int, patch: tuple[int, int], classes: int) -> None:
        super().__init__()
        self.patch = patch
        self.attend = attend
        self.classify = nn.Linear(pixels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        context = self.attend(cut(images, self.patch))  # (N, P, E)
        return self.classify(functional.relu(context).flatten(1))  # (N, classes)

    def weights(self, images: Tensor) -> list[Tensor]:
        """The weights of the layer, (N, heads, P, P)."""
        return [self.attend(cut(images, self.patch), need_weights=True)[1]]


class FeatureAttention(nn.Module):
    """Wide heads in which the features of all tokens attend to each other.

    A slip of the original write-up, kept on purpose. It meant `WideMultiHeadAttention`, but on (N, P, E, heads)
    swapped axes 1 and 3, which gives (N, heads, E, P) and not (N, heads, P, E). So a feature, here a place
    within the patch, is described by its values in all P patches, and attends to the other places: E×E weights.
    Later that was studied in its own right, as cross-covariance attention (El-Nouby et al. 2021, "XCiT"). The
    last reshape lays the result out as if the axes were in order, and so mixes places; the layers after it learn
    from what they get.
    """

    def __init__(self, embed_dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(embed_dim, embed_dim * heads)
        self.key = nn.Linear(embed_dim, embed_dim * heads)
        self.value = nn.Linear(embed_dim, embed_dim * heads)
        self.out = nn.Linear(embed_dim * heads, embed_dim)

    def forward(self, x: Tensor, *, need_weights: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Tokens (N, P, E) to tokens (N, P, E); with `need_weights` also (N, heads, E, E)."""
        query, key, value = (self._swapped(layer(x)) for layer in (self.query, self.key, self.value))
        told = attention(query, key, value, need_weights=need_weights)  # scaled by 1/√P
        context, weights = told if isinstance(told, tuple) else (told, None)  # (N, heads, E, P), (N, heads, E, E)
        output = self.out(context.reshape(*x.shape[:2], -1))  # (N, P, E)
        return output if weights is None else (output, weights)

    def _swapped(self, x: Tensor) -> Tensor:
        """(N, P, E·heads) as (N, heads, E, P)."""
        return x.unflatten(-1, (-1, self.heads)).transpose(1, 3)


class Block(nn.Module):
    """A pre-norm transformer block (Xiong et al. 2020): attention among the tokens, then a feed-forward on each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(width)
        self.attend = MultiHeadAttention(width, heads)
        self.norm_features = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, *, need_weights: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """Tokens (N, P, width) to tokens; with `need_weights` also (N, heads, P, P)."""
        told = self.attend(self.norm_tokens(x), need_weights=need_weights)
        context, weights = told if isinstance(told, tuple) else (told, None)
        x = x + context  # (N, P, width)
        x = x + self.feed_forward(self.norm_features(x))  # (N, P, width)
        return x if weights is None else (x, weights)


class Transformer(nn.Module):
    """What the bare layer lacks: an embedding, places, residuals, norms, a feed-forward (Dosovitskiy et al. 2021)."""

    WIDTH = 64

    def __init__(self, pixels: int, patch: tuple[int, int], classes: int, *, heads: int, blocks: int) -> None:
        super().__init__()
        self.patch = patch
        tokens = pixels // math.prod(patch)
        self.embed = nn.Linear(math.prod(patch), self.WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(tokens, self.WIDTH))
        self.blocks = nn.ModuleList(Block(self.WIDTH, heads) for _ in range(blocks))
        self.classify = nn.Linear(tokens * self.WIDTH, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        x = self.embed(cut(images, self.patch)) + self.places  # (N, P, width)
        for block in self.blocks:
            x = block(x)
        return self.classify(x.flatten(1))  # (N, classes)

    def weights(self, images: Tensor) -> list[Tensor]:
        """The weights of every block, (N, heads, P, P) each."""
        x, seen = self.embed(cut(images, self.patch)) + self.places, []
        for block in self.blocks:
            x, weights = block(x, need_weights=True)
            seen.append(weights)
        return seen


def build(settings: Settings, data: Images) -> nn.Module:
    """The model that the settings name, for images of this size.

    Raises:
        ValueError: the patch does not divide the image, or narrow heads do not divide its features.
    """
    pixels, classes = math.prod(data.size), len(data.classes)
    if settings.model == "mlp":
        return MLP(pixels, classes)
    patch = size_of_patch(settings, data.size)
    if settings.model == "block":
        return Transformer(pixels, patch, classes, heads=settings.heads or 4, blocks=settings.blocks)
    attend = {"wide": WideMultiHeadAttention, "narrow": MultiHeadAttention, "features": FeatureAttention}
    heads = settings.heads or (patch[0] if settings.model == "narrow" else 16)
    return Bare(attend[settings.model](math.prod(patch), heads), pixels, patch, classes)


def size_of_patch(settings: Settings, size: tuple[int, int]) -> tuple[int, int]:
    """Height and width: squares, a quarter of the image's height where that divides both sides, else of each side.

    >>> size_of_patch(Settings(), (28, 28)), size_of_patch(Settings(), (28, 20))
    ((7, 7), (7, 5))
    """
    quarters = [max(1, side // 4) for side in size]
    high = settings.patch or quarters[0]
    wide = settings.patch_width or (high if settings.patch or size[1] % high == 0 else quarters[1])
    for name, patch, side in (("patch", high, size[0]), ("patch_width", wide, size[1])):
        if side % patch:
            of = size[0] if settings.patch_width else math.gcd(*size)  # one number must divide both sides
            of = side if name == "patch_width" and settings.patch_width else of
            fitting = ", ".join(str(n) for n in range(1, of + 1) if of % n == 0)
            name = name if settings.patch_width else "patch"
            raise ValueError(f"{name}={patch} does not divide images of {size[0]}×{size[1]}, wanted one of {fitting}")
    return high, wide


# --- what is measured ---


def measure(model: nn.Module, batch: Batch) -> Sums:
    """Sums over a batch; how many were seen and right of each class."""
    images, labels = batch
    logits = model(images)  # (N, classes)
    classes = logits.shape[-1]
    return {
        "loss": functional.cross_entropy(logits, labels, reduction="sum"),
        "count": torch.tensor(len(labels)),
        "right": labels[logits.argmax(-1) == labels].bincount(minlength=classes),  # (classes,)
        "seen": labels.bincount(minlength=classes),  # (classes,)
    }


def report(sums: Sums) -> dict[str, float]:
    """Loss in nats, the share of images that are named right, and the same as the mean over classes."""
    seen = sums["seen"] > 0
    return {
        "loss": float(sums["loss"] / sums["count"]),
        "accuracy": float(sums["right"].sum() / sums["count"]),
        "macro_accuracy": float((sums["right"][seen] / sums["seen"][seen]).mean()),
    }


# --- pictures ---


def pictures(run: Run) -> Iterator[tuple[str, Figure]]:
    """What goes in, how training went, what comes out, and per head, what each patch attends to."""
    model, data = run.model, run.data
    batch = data.train_images[: min(64, run.settings.batch_size)]  # (N, H, W)
    given = [data.classes[label] for label in data.train_labels[: len(batch)].tolist()]
    shape = " × ".join(map(str, batch.shape))
    yield "training", plots.grid(batch, given, title=f"Images to train with, and their labels: {shape}")
    images, labels = data.test_images[:64], data.test_labels[:64]
    names = [data.classes[label] for label in labels.tolist()]
    yield "images", plots.grid(images, names, title="Images that the model has not been trained on")
    if isinstance(model, Bare | Transformer):
        page = plots.figure(3.6, 3.9)
        plots.patches(images[0], model.patch, ax=page.add_subplot(), title=_cut_as(images, model.patch))
        yield "patches", page
    yield "learning", learning(run)
    with torch.no_grad():
        predictions = [data.classes[guess] for guess in model(images).argmax(-1).tolist()]
    right = sum(name == guess for name, guess in zip(names, predictions, strict=True))
    title = f"label/prediction: {right} of {len(names)} are right"
    yield "predictions", plots.grid(images, names, predictions, title=title)
    if isinstance(model, Bare | Transformer):
        yield from gazes(model, images[:1], names[0])


def learning(run: Run) -> Figure:
    """Loss and accuracy by epoch."""
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    best = max(line["accuracy"] for line in run.metrics if line["split"] == "validation")
    title = f"{run.settings.model}: {parameters:,} parameters, {100 * best:.1f} % of held-out images right"
    page = plots.figure(8.4, 3.2, title)
    for ax, key in zip(page.subplots(1, 2), ("loss", "accuracy"), strict=True):
        plots.curves(run.metrics, key, ax=ax)
    return page


def gazes(model: Bare | Transformer, image: Tensor, name: str) -> Iterator[tuple[str, Figure]]:
    """For one image (1, H, W): each head of each layer as small images, one for each patch that attends."""
    with torch.no_grad():
        layers = model.weights(image)  # (1, heads, P, P) each; for features (1, heads, E, E)
    for number, weights in enumerate(layers, start=1):
        where, of = (f"gaze-{number}", f" in block {number}") if len(layers) > 1 else ("gaze", "")
        if _among_features(model):
            mean = cut(image, model.patch)[0].mean(0).unflatten(0, model.patch)  # (h, w)
            title = f"What each place in a patch attends to, head by head, over the mean patch of one image ({name})"
            yield where, plots.gazes(mean, weights[0], patch=1, title=title)
        else:
            title = f"What each patch of one image ({name}) attends to{of}, head by head"
            yield where, plots.gazes(image[0], weights[0], patch=model.patch, title=title)


def _cut_as(images: Tensor, patch: tuple[int, int]) -> str:
    """What a picture of patches shows, with the shape that the model gets."""
    tokens = cut(images[:1], patch)  # (1, P, E)
    return f"One image is a sequence of {tokens.shape[1]} patches\nof {patch[0]}×{patch[1]} = {tokens.shape[2]} pixels"


def compared(run: Run, ax: Axes) -> str:
    """Beside other runs: what the patches of one test image attend to, all of them and all heads together."""
    model, image = run.model, run.data.test_images[0]
    received = torch.zeros(image.numel())
    if isinstance(model, Bare | Transformer) and not _among_features(model):
        with torch.no_grad():
            received = model.weights(image[None])[-1][0].mean((0, 1))  # (P,)
        plots.over_image(image, received - received.min(), patch=model.patch, ax=ax)
    else:
        plots.over_image(image, received, ax=ax)
    return "One held-out image: what its patches attend to, all of them and all heads of the last layer together"


def _among_features(model: nn.Module) -> bool:
    return isinstance(model, Bare) and isinstance(model.attend, FeatureAttention)


# --- prediction ---


def example(settings: Settings) -> list[str]:
    """Test images that `predict` takes."""
    return ["0", "1", "2"]


def predict(run: Run, inputs: list[str]) -> tuple[str, Figure]:
    """Name images, test images by their index or files, and show what the model attended to.

    Raises:
        ValueError: an input is no index and no image of the right size.
    """
    model, classes = run.model, run.data.classes
    images, labels = asked_images(inputs, run.data)
    with torch.no_grad():
        probabilities = model(images).softmax(-1)  # (N, classes)
    # Attention among the places in a patch has no place in the image that it could be laid over.
    drawable = isinstance(model, Bare | Transformer) and not _among_features(model)
    page, axes = plots.panels(len(images), 4 if drawable else 2, width=2.5, height=2.7)
    guesses = probabilities.argmax(-1).tolist()
    rows = [axes[start : start + len(axes) // len(images)] for start in range(0, len(axes), len(axes) // len(images))]
    for n, (image, row, (picture, *attended, bars)) in enumerate(zip(images, probabilities, rows, strict=True)):
        if isinstance(model, Bare | Transformer):
            plots.patches(image, model.patch, ax=picture)
        else:
            plots.over_image(image, torch.zeros(image.numel()), ax=picture)
        titled(picture, str(inputs[n]), labels[n], guesses[n], classes)
        if isinstance(model, Bare | Transformer) and attended:
            last_layer(model, image, attended)
        share_bars(bars, row, classes)
    return verdicts(inputs, probabilities, labels, classes), page


def last_layer(model: Bare | Transformer, image: Tensor, axes: list[Axes]) -> None:
    """Draw what all patches of an image (H, W) attend to, and what each does, as the mean of the last layer's heads."""
    with torch.no_grad():
        weights = model.weights(image[None])[-1][0].mean(0)  # (P, P)
    received = weights.mean(0)  # (P,)
    title = f"all patches together: {100 * received.min():.0f} to {100 * received.max():.0f} % each"
    plots.over_image(image, received - received.min(), patch=model.patch, ax=axes[0], title=title)
    plots.gaze(image, weights, patch=model.patch, ax=axes[1], title="each patch attends to")


# --- the interactive view ---


@torch.no_grad()
def exhibit(run: Run, example: int = 0) -> Exhibit:
    """What the patches of one test image attend to, in every head, and a sheet to draw another image on.

    Raises:
        ValueError: no such test image, or a model without attention.
    """
    model, data = run.model, run.data
    if not isinstance(model, Bare | Transformer):
        raise ValueError("this run's model is mlp, which has no attention to look at: train another (--model)")
    image = picked(data.test_images, example)  # (H, W)
    # Each head with its own queries, keys and values, as the lesson draws it.
    with heads_apart(model.modules()), watch(model) as records:
        model.weights(image[None])
    token = "place" if _among_features(model) else "patch"
    names = [f"{token} {n + 1}" for n in range(records[0].shape[-1])]
    shown, patch = (None, None) if _among_features(model) else (image, model.patch)
    title = f"patches, {run.settings.model}: a {data.classes[data.test_labels[example]]}"
    return Exhibit(records, (names, names), title, shown, patch, {"try": sheet(run)})


def last_attention(model: Bare | Transformer, image: Tensor, query: int) -> Tensor:
    """What one patch of an image (1, H, W) attends to, the mean of the last layer's heads: (P,)."""
    return model.weights(image)[-1][0, :, query].mean(0)


def sheet(run: Run) -> Trial:
    """Draw an image: what the model makes of it, and what a patch attends to, the mean of the last layer's heads."""
    model, data = run.model, run.data
    attended: Callable[[Tensor, int], Tensor] | None = None
    grid = None
    if isinstance(model, Bare | Transformer) and not _among_features(model):
        height, width = data.size
        grid = height // model.patch[0], width // model.patch[1]
        attended = partial(last_attention, model)
    return drawing(
        lambda image: model(image).softmax(-1)[0],
        attended,
        grid=grid,
        classes=data.classes,
        example=data.test_images[0],
    )
