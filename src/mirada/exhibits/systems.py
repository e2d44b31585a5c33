"""The attention of each system on one example, ready for the view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mirada import masks
from mirada.dense import DenseAttention
from mirada.exhibits.calls import Attended, calls
from mirada.exhibits.trials import matrix_trial, trials
from mirada.matrix import AttentionMatrix
from mirada.systems import patches
from mirada.viewer import Exhibit
from mirada.watching import watch

if TYPE_CHECKING:
    from mirada.experiment import Run


@torch.no_grad()
def exhibit(run: Run, example: int = 0, beside: Run | None = None) -> Exhibit:
    """The attention of a run on one of its test examples, and what can be tried by hand with it.

    Args:
        run: of any system.
        example: which of the test examples.
        beside: a second run of squares, to finish the same square by hand.

    Raises:
        ValueError: no such example, a model without attention, or two runs that have nothing to do with each other.
        RunError: the run has no weights, or some that don't fit.
    """
    if beside is not None and {run.name, beside.name} != {"squares"}:
        raise ValueError(f"beside={beside.folder.path}: only two runs of squares can be looked at together")
    if run.name not in _EXHIBITS:
        raise ValueError(f"{run.name} has nothing prepared to look at: watch its model, run.model, with mirada.watch")
    return replace(_EXHIBITS[run.name](run, example), trials=trials(run, beside))


def walkthrough() -> Exhibit:
    """The worked example: five rows that are query, key and value at once, unscaled."""
    x = torch.arange(50.0).view(5, 10) / 100
    names = [f"row {n + 1}" for n in range(5)]
    rule = masks.padding([4], keys=5)
    visible, _ = rule.materialise((1,), 5, 5)
    layer = Attended("walkthrough", AttentionMatrix(x[None], x[None], visible, scale=1.0), x[None])
    return Exhibit([layer], (names, names), "walkthrough", trials={"try": matrix_trial(x)})


def _pixels(run: Run, index: int) -> Exhibit:
    image, label = _one(run.data.images.test_images, index), run.data.images.test_labels[index]
    model: Any = run.model
    attend, sequence = model.attend, model.sequence(image[None])  # (1, L, 1)
    layer = _attended("pixels", attend.query(sequence), attend.key(sequence), attend.value(sequence))
    names = [f"row {n // image.shape[1] + 1}, column {n % image.shape[1] + 1}" for n in range(image.numel())]
    return Exhibit([layer], (names, names), f"pixels: a {run.data.images.classes[label]}", image, 1)


def _patches(run: Run, index: int) -> Exhibit:
    image, label = _one(run.data.test_images, index), run.data.test_labels[index]
    model: Any = run.model
    if isinstance(model, patches.MLP):
        raise ValueError("this run's model is mlp, which has no attention to look at: train another (--model)")
    with calls(model) as records:
        model(image[None])
    title = f"patches, {run.settings.model}: a {run.data.classes[label]}"
    if isinstance(model.attend if isinstance(model, patches.Bare) else None, patches.FeatureAttention):
        names = [f"place {n + 1}" for n in range(records[0].matrix.shape[-1])]
        return Exhibit(records, (names, names), title)
    names = [f"patch {n + 1}" for n in range(records[0].matrix.shape[-1])]
    return Exhibit(records, (names, names), title, image, model.patch)


def _squares(run: Run, index: int) -> Exhibit:
    if run.settings.attention == "none":
        raise ValueError(
            "this run's model has attention=none, there is nothing to look at: train another (--attention)"
        )
    source, lengths = _one(run.data.test.source, index)[None], run.data.test.lengths[index : index + 1]
    multihead = run.settings.attention == "multihead"
    with calls(run.model) if multihead else watch(run.model) as records:
        _, weights = run.model(source, lengths)  # (H, 1, 2, S), or (1, 2, S) of one head
    steps: list[Any] = list(records)
    one, value = steps[0].matrix, steps[0].value
    if run.settings.score == "additive":  # no product of a query and a key: the weights are all there is to show
        matrix = DenseAttention(weights)
    else:
        query = torch.cat([step.matrix.query for step in steps], -2)  # (H, 2, E): the decoder attends twice
        matrix = AttentionMatrix(query, one.key, _stretched(one, len(steps)), scale=one.scale)
    points = [f"({x:.2f}, {y:.2f})" for x, y in source[0].tolist()]
    return Exhibit([Attended("decoder", matrix, value)], (["first step", "second step"], points), "squares")


def _counting(run: Run, index: int) -> Exhibit:
    digits = _one(run.data.test[0], index)  # (10,)
    model: Any = run.model
    attention, memory = model.attention, model.attention.remember(model.embed(digits))
    layer = _attended("the query", attention.query, memory.key, memory.value)
    return Exhibit([layer], (["the question"], [str(digit) for digit in digits.tolist()]), "counting")


def _one(examples: Tensor, index: int) -> Tensor:
    if not 0 <= index < len(examples):
        raise ValueError(f"example={index} is not among the {len(examples)} test examples")
    return examples[index]


def _attended(name: str, query: Tensor, key: Tensor, value: Tensor, scale: float | None = None) -> Attended:
    query, key, value = (part if part.ndim == 3 else part[None] for part in (query, key, value))
    return Attended(name, AttentionMatrix(query, key, scale=scale), value)


def _stretched(one: AttentionMatrix, queries: int) -> Tensor | None:
    """The mask of one query for several: padding is the same for all."""
    if one.mask is None:
        return None
    visible, _ = one.mask.materialise(one.shape[:-2], 1, one.shape[-1])
    return visible.expand(*one.shape[:-2], queries, one.shape[-1])


_EXHIBITS: dict[str, Callable[[Run, int], Exhibit]] = {
    "pixels": _pixels,
    "patches": _patches,
    "squares": _squares,
    "counting": _counting,
}
