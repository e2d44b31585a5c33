"""Something to try by hand in a live view: the page sends what the hand did, and shows what comes back.

`drawing`, `digits`, `corners` and `matrix` make a trial of a function of tensors; what the page sends is checked here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

Kind = Literal["draw", "digits", "corners", "matrix", "language"]


@dataclass(frozen=True)
class Trial:
    """What a page offers, and who answers.

    ===========  ======================================  ====================================================
    kind         the page sends                          and gets
    ===========  ======================================  ====================================================
    ``draw``     ``pixels`` (H·W) 0 … 255, ``query``     ``probabilities``, ``weights`` (P) of that patch or null
    ``digits``   ``digits``, a string                    ``probability``, ``weights``
    ``corners``  ``points``, two of [x, y]               ``finished``: one {name, points, weights} a model
    ``matrix``   ``matrix``, ``mask``, ``scale``         ``scores``, ``masked``, ``weights``, ``context``
    ``language`` as `mirada.models.playground` has it    the same, and a scene that takes the place of the page's
    ===========  ======================================  ====================================================

    ``answer`` raises a ValueError where it can't take what was sent.
    """

    kind: Kind
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the page must know: sizes, names, an example."""


def offered(trials: Mapping[str, Trial]) -> dict[str, Any]:
    """What a page must know of some trials."""
    return {"trials": {name: {"kind": trial.kind, **trial.about} for name, trial in trials.items()}}


def drawing(
    probabilities: Callable[[Tensor], Tensor],
    attended: Callable[[Tensor, int], Tensor] | None,
    *,
    grid: tuple[int, int] | None,
    classes: Sequence[str],
    example: Tensor,
) -> Trial:
    """Draw an image, and see what a model makes of it.

    Args:
        probabilities: from an image (1, H, W) uint8 to one number a class, (classes,).
        attended: from the image and a query's number to the weights of the keys, (P,).
        grid: rows and columns of the tokens that the image is made of, P in all. Both are None where no parts of the
            image attend to each other.
        classes: names.
        example: the image (H, W) uint8 that the sheet begins with.
    """
    size = height, width = (example.shape[-2], example.shape[-1])

    @torch.no_grad()
    def answer(given: Mapping[str, Any]) -> Mapping[str, Any]:
        pixels = numbers(given, "pixels", (height * width,), 0, 255)
        image = pixels.round().to(torch.uint8).view(1, height, width)
        found: dict[str, Any] = {"probabilities": probabilities(image).tolist(), "weights": None}
        if attended is not None and grid is not None:
            query = int(numbers(given, "query", (), 0, math.prod(grid) - 1))
            found["weights"] = attended(image, query).tolist()
        return found

    about = {
        "size": list(size),
        "classes": list(classes),
        "grid": grid,
        "example": example.flatten().tolist(),
    }
    return Trial("draw", answer, about)


def digits(judge: Callable[[Tensor], tuple[Tensor, Tensor]], *, example: Tensor, question: str) -> Trial:
    """Type digits, and have a question about them judged.

    Args:
        judge: from digits (S,) to a probability and the weights of the digits, (S,).
        example: the digits (S,) that the page begins with.
        question: what the probability is of.
    """
    count = len(example)

    @torch.no_grad()
    def answer(given: Mapping[str, Any]) -> Mapping[str, Any]:
        text = str(given.get("digits", ""))
        if len(text) != count or not (text.isascii() and text.isdigit()):
            raise ValueError(f"{count} digits are wanted")
        probability, weights = judge(torch.tensor([int(digit) for digit in text]))
        return {"probability": float(probability), "weights": weights.tolist()}

    shown = "".join(str(digit) for digit in example.tolist())
    return Trial("digits", answer, {"count": count, "example": shown, "question": question})


def corners(
    finish: Sequence[tuple[str, Callable[[Tensor], tuple[Tensor, Tensor | None]]]], *, example: Tensor
) -> Trial:
    """Drag two corners of a square, and see how models finish it.

    Args:
        finish: each model's name, and its function from points (2, 2) to the two that follow, (2, 2), and to what each
            of these attends to, (2, 2), or None.
        example: the points (2, 2) that the page begins with.
    """

    @torch.no_grad()
    def answer(given: Mapping[str, Any]) -> Mapping[str, Any]:
        points = numbers(given, "points", (2, 2), -10, 10)
        finished = []
        for name, model in finish:
            predicted, weights = model(points)
            weights = None if weights is None else weights.tolist()
            finished.append({"name": name, "points": predicted.tolist(), "weights": weights})
        return {"finished": finished}

    return Trial("corners", answer, {"example": example.tolist()})


_LARGEST = 1e6  # of what may be typed into a matrix


def matrix(attend: Callable[[Tensor, Tensor, float], Mapping[str, Tensor]], *, example: Tensor) -> Trial:
    """Edit the numbers that attend to each other, and which query may attend to which key.

    Args:
        attend: from numbers (L, E), a mask (L, L), True = may attend, and a scale to "scores", "masked", "weights" and
            "context".
        example: the numbers (L, E) that the page begins with.
    """
    rows = len(example)

    def answer(given: Mapping[str, Any]) -> Mapping[str, Any]:
        x = numbers(given, "matrix", tuple(example.shape), -_LARGEST, _LARGEST)
        mask = numbers(given, "mask", (rows, rows), 0, 1) > 0.5
        scale = float(numbers(given, "scale", (), -_LARGEST, _LARGEST))
        found = {name: tensor.tolist() for name, tensor in attend(x, mask, scale).items()}
        masked = [[None if math.isinf(score) else score for score in row] for row in found["masked"]]  # JSON has no −∞
        return found | {"masked": masked}

    return Trial("matrix", answer, {"example": example.tolist()})


def numbers(given: Mapping[str, Any], name: str, shape: tuple[int, ...], least: float, most: float) -> Tensor:
    """The numbers that a page sent under a name; ValueError where they are none, or others than were wanted."""
    try:
        found = torch.tensor(given.get(name), dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{name} must be numbers") from None
    if tuple(found.shape) != shape or not bool(((found >= least) & (found <= most)).all()):
        raise ValueError(f"{name} must be numbers of shape {shape} from {least:g} to {most:g}")
    return found
