"""What can be tried by hand with a run: draw a digit, type digits, drag corners, edit a matrix and its mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mirada.exhibits.calls import calls
from mirada.systems import patches
from mirada.systems.counting import LENGTH
from mirada.tracing import trace
from mirada.viewer.playground import Trial

if TYPE_CHECKING:
    from mirada.experiment import Run

_LARGEST = 1e6  # of what may be typed


def trials(run: Run, beside: Run | None = None) -> dict[str, Trial]:
    """What can be tried with a run; `beside` is a second one of squares, to compare with."""
    makers: dict[str, Callable[[], Trial]] = {
        "pixels": lambda: _draw(run, run.data.images.classes, run.data.images.test_images, _pixel_looks(run)),
        "patches": lambda: _draw(run, run.data.classes, run.data.test_images, _patch_looks(run)),
        "squares": lambda: _corners([one for one in (run, beside) if one is not None]),
        "counting": lambda: _digits(run),
    }
    return {"try": makers[run.name]()} if run.name in makers else {}


# --- draw a digit ---

Looks = Callable[[Tensor, int], Tensor]


def _draw(run: Run, classes: Sequence[str], images: Tensor, looks: tuple[tuple[int, int], Looks] | None) -> Trial:
    height, width = images.shape[-2:]
    grid, look = looks if looks is not None else (None, None)

    @torch.no_grad()
    def answer(given: Mapping[str, Any]) -> Mapping[str, Any]:
        pixels = _numbers(given, "pixels", (height * width,), 0, 255)
        image = pixels.round().to(torch.uint8).view(1, height, width)
        found: dict[str, Any] = {"probabilities": run.model(image).softmax(-1)[0].tolist(), "looks": None}
        if grid is not None and look is not None:
            query = int(_numbers(given, "query", (), 0, math.prod(grid) - 1))
            found["looks"] = look(image, query).tolist()
        return found

    about = {"size": [height, width], "classes": list(classes), "grid": grid, "example": images[0].flatten().tolist()}
    return Trial("draw", answer, about)


def _pixel_looks(run: Run) -> tuple[tuple[int, int], Looks]:
    def look(image: Tensor, query: int) -> Tensor:
        model: Any = run.model
        attend, sequence = model.attend, model.sequence(image)
        return (attend.query(sequence[:, query : query + 1]) @ attend.key(sequence).mT).softmax(-1)[0, 0]

    return tuple(run.data.images.size), look


def _patch_looks(run: Run) -> tuple[tuple[int, int], Looks] | None:
    """The last layer's heads, averaged; None where patches don't look at each other."""
    model: Any = run.model
    among_features = isinstance(model, patches.Bare) and isinstance(model.attend, patches.FeatureAttention)
    if not isinstance(model, patches.Bare | patches.Transformer) or among_features:
        return None
    height, width = run.data.size

    def look(image: Tensor, query: int) -> Tensor:
        with calls(model) as records:
            model(image)
        return records[-1].matrix.rows([query]).mean(0)[0]

    return (height // model.patch, width // model.patch), look


# --- type ten digits ---


def _digits(run: Run) -> Trial:
    @torch.no_grad()
    def answer(given: Mapping[str, Any]) -> Mapping[str, Any]:
        text = str(given.get("digits", ""))
        if len(text) != LENGTH or not (text.isascii() and text.isdigit()):
            raise ValueError(f"{LENGTH} digits are wanted")
        logits, weights = run.model(torch.tensor([[int(digit) for digit in text]]))
        return {"probability": float(logits.sigmoid()), "weights": weights[0, 0].tolist()}

    example = "".join(str(digit) for digit in run.data.test[0][0].tolist())
    return Trial("digits", answer, {"count": LENGTH, "example": example, "question": "more 2s than 4s?"})


# --- drag two corners ---


def _corners(runs: Sequence[Run]) -> Trial:
    @torch.no_grad()
    def answer(given: Mapping[str, Any]) -> Mapping[str, Any]:
        points = _numbers(given, "points", (2, 2), -10, 10)
        return {"finished": [_finished(run, points) for run in runs]}

    return Trial("corners", answer, {"example": runs[0].data.test.source[0, :2].tolist()})


def _finished(run: Run, points: Tensor) -> dict[str, Any]:
    longest = run.data.test.source.shape[1]
    source = torch.zeros(1, longest, 2)
    source[0, :2] = points
    predicted, weights = run.model(source, torch.tensor([2]))  # (1, 2, 2); (1, 2, S) or (heads, 1, 2, S) or None
    if weights is not None:
        weights = weights.reshape(-1, 2, longest).mean(0)[:, :2].tolist()
    return {"name": f"attention: {run.settings.attention}", "points": predicted[0].tolist(), "weights": weights}


# --- edit the matrix and its mask ---


def matrix_trial(example: Tensor) -> Trial:
    """The mechanism on a matrix that is query, key and value at once."""

    def answer(given: Mapping[str, Any]) -> Mapping[str, Any]:
        rows = example.shape[0]
        x = _numbers(given, "matrix", tuple(example.shape), -_LARGEST, _LARGEST)
        mask = _numbers(given, "mask", (rows, rows), 0, 1) > 0.5
        scale = float(_numbers(given, "scale", (), -_LARGEST, _LARGEST))
        steps = trace(x, x, x, mask, scale=scale)
        masked = [[None if math.isinf(value) else value for value in row] for row in steps.masked.tolist()]
        return {
            "scores": steps.scores.tolist(), "masked": masked,
            "weights": steps.weights.tolist(), "context": steps.context.tolist(),
        }  # fmt: skip

    return Trial("matrix", answer, {"example": example.tolist()})


def _numbers(given: Mapping[str, Any], name: str, shape: tuple[int, ...], least: float, most: float) -> Tensor:
    try:
        numbers = torch.tensor(given.get(name), dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{name} must be numbers") from None
    if tuple(numbers.shape) != shape or not bool(((numbers >= least) & (numbers <= most)).all()):
        raise ValueError(f"{name} must be numbers of shape {shape} from {least:g} to {most:g}")
    return numbers
