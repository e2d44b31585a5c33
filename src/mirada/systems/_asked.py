"""What the image systems share in answering for images that a user asks about."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from torch import Tensor

from mirada.data.given import given_image
from mirada.data.images import Images
from mirada.plots.style import BLUE, GREEN, INK, RED, TEXT, headline, quiet


def asked_images(inputs: Sequence[str], images: Images) -> tuple[Tensor, list[int | None]]:
    """The images that the words stand for, (N, H, W) uint8, and their labels where known.

    Raises:
        ValueError: no word at all, or one that stands for no image.
    """
    if not inputs:
        raise ValueError(
            "image: none given, wanted an index into the test images, random, or the path of a .png, .npy or .csv"
        )
    given = [given_image(text, images) for text in inputs]
    for image in given:
        if image.note:
            print(image.note)
    return torch.stack([image.pixels for image in given]), [image.label for image in given]


def verdicts(names: Sequence[str], probabilities: Tensor, labels: Sequence[int | None], classes: Sequence[str]) -> str:
    """What a model makes of images, a line for each.

    Args:
        names: what they were asked for by.
        probabilities: (N, classes).
        labels: what they are, None where it is not known.
        classes: the names of the classes.

    >>> print(verdicts(["7", "a.png"], torch.tensor([[0.05, 0.7, 0.25], [0.9, 0.1, 0.0]]), [1, None], "abc"))
    7: b (70 %), else c (25 %); right
    a.png: a (90 %), else b (10 %)
    """
    lines = []
    for name, row, label in zip(names, probabilities, labels, strict=True):
        (first, second), (best, next_best) = (part.tolist() for part in row.topk(2))
        line = f"{name}: {classes[best]} ({100 * first:.0f} %), else {classes[next_best]} ({100 * second:.0f} %)"
        if label is not None:
            line += "; right" if label == best else f"; wrong, it is {classes[label]}"
        lines.append(line)
    return "\n".join(lines)


def titled(ax: Axes, name: str, label: int | None, guess: int, classes: Sequence[str]) -> None:
    """Write "label/prediction" above an image, green when right and red when wrong; without a label the prediction.

    >>> from mirada.plots import figure
    >>> ax = figure(1, 1).add_subplot()
    >>> titled(ax, "7", 1, 2, "abc")
    >>> ax.get_title(loc="left")
    '7: b/c'
    """
    colour = INK if label is None else GREEN if label == guess else RED
    told = classes[guess] if label is None else f"{classes[label]}/{classes[guess]}"
    ax.set_title(f"{name}: {told}", loc="left", fontsize=TEXT, color=colour, pad=6)


def share_bars(ax: Axes, probabilities: Tensor, classes: Sequence[str]) -> Axes:
    """Draw what a model makes of one image, (classes,), as a bar for each class."""
    ax.barh(range(len(classes)), probabilities.tolist(), color=BLUE, height=0.7)
    ax.set_yticks(range(len(classes)), classes)
    ax.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    ax.invert_yaxis()
    quiet(ax)
    headline(ax, "probability")
    return ax
