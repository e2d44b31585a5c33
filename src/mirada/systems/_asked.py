"""What the image systems share in answering for images that a user asks about."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from torch import Tensor

from mirada.data.given import given_image
from mirada.data.images import Images
from mirada.plots.style import BLUE, headline, quiet


def asked_images(inputs: Sequence[str], images: Images) -> tuple[Tensor, list[int | None]]:
    """The images that the words stand for, (N, H, W) uint8, and their labels where known.

    Raises:
        ValueError: no word at all, or one that stands for no image.
    """
    if not inputs:
        raise ValueError("image: none given, wanted an index into the test images or the path of a .png, .npy or .csv")
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
        labels: what they are, None where nobody knows.
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


def share_bars(ax: Axes, probabilities: Tensor, classes: Sequence[str]) -> Axes:
    """Draw what a model makes of one image, (classes,), as a bar for each class."""
    ax.barh(range(len(classes)), probabilities.tolist(), color=BLUE, height=0.7)
    ax.set_yticks(range(len(classes)), classes)
    ax.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    ax.invert_yaxis()
    quiet(ax)
    headline(ax, "probability")
    return ax
