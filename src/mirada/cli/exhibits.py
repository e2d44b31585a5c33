"""What there is to look at in a run: the attention of each system on one example, ready for the view."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mirada import masks
from mirada.experiment import Run
from mirada.masks import Mask
from mirada.matrix import AttentionMatrix
from mirada.systems import patches


@dataclass(frozen=True, eq=False)
class Attended:
    """One attention call: what the view takes for a sighting."""

    name: str
    matrix: AttentionMatrix
    """(H, L, S)."""
    value: Tensor
    """(H, S, Ev)."""


@dataclass(frozen=True, eq=False)
class Exhibit:
    """A run's attention on one example."""

    layers: list[Attended]
    labels: tuple[list[str], list[str]]
    """Of queries and keys."""
    title: str
    image: Tensor | None = None
    patch: int | None = None


@torch.no_grad()
def exhibit(run: Run, index: int = 0) -> Exhibit:
    """The attention of a run on one of its test examples.

    Raises:
        ValueError: no such example, or a model without attention.
    """
    return {"pixels": _pixels, "patches": _patches, "squares": _squares, "counting": _counting}[run.name](run, index)


def walkthrough() -> Exhibit:
    """The worked example: five rows that are query, key and value at once, unscaled."""
    x = torch.arange(50.0).view(5, 10) / 100
    names = [f"row {n + 1}" for n in range(5)]
    rule = masks.padding([4], keys=5)
    visible, _ = rule.materialise((1,), 5, 5)
    layer = Attended("walkthrough", AttentionMatrix(x[None], x[None], visible, scale=1.0), x[None])
    return Exhibit([layer], (names, names), "walkthrough")


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
    with calls(model) as seen:
        model(image[None])
    title = f"patches, {run.settings.model}: a {run.data.classes[label]}"
    if isinstance(model.attend if isinstance(model, patches.Bare) else None, patches.FeatureAttention):
        names = [f"place {n + 1}" for n in range(seen[0].matrix.shape[-1])]
        return Exhibit(seen, (names, names), title)
    names = [f"patch {n + 1}" for n in range(seen[0].matrix.shape[-1])]
    return Exhibit(seen, (names, names), title, image, model.patch)


def _squares(run: Run, index: int) -> Exhibit:
    if run.settings.attention == "none":
        raise ValueError(
            "this run's model has attention=none, there is nothing to look at: train another (--attention)"
        )
    source, lengths = _one(run.data.test.source, index)[None], run.data.test.lengths[index : index + 1]
    with calls(run.model) as steps:
        run.model(source, lengths)
    one = steps[0].matrix
    query = torch.cat([step.matrix.query for step in steps], -2)  # (H, 2, E): the decoder asks twice
    matrix = AttentionMatrix(query, one.key, _stretched(one, len(steps)), scale=one.scale)
    points = [f"({x:.2f}, {y:.2f})" for x, y in source[0].tolist()]
    return Exhibit([Attended("decoder", matrix, steps[0].value)], (["first step", "second step"], points), "squares")


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


# --- what a layer was asked ---


@contextmanager
def calls(model: nn.Module) -> Iterator[list[Attended]]:
    """Every call of the attention layers inside, for the first item of the batch."""
    seen: list[Attended] = []
    hooks = []
    for name, module in model.named_modules():
        read = _READERS.get(type(module).__name__)
        if read is not None:
            hooks.append(module.register_forward_pre_hook(_listener(name, read, seen)))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _listener(name: str, read: Callable[..., tuple[Tensor, ...]], seen: list[Attended]) -> Callable[..., None]:
    def listen(module: nn.Module, given: tuple[Any, ...]) -> None:
        query, key, value = read(module, *given)
        mask = next((one for one in given if isinstance(one, Mask)), None)
        batch = AttentionMatrix(query, key, mask)  # (N, H, L, S)
        seen.append(Attended(name or type(module).__name__, batch[0], value[0]))

    return listen


def _heads(
    module: Any, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, *_: Any
) -> tuple[Tensor, ...]:
    """(N, H, L, E / H or E) each, of layers that split what they project."""
    key = query if key is None else key
    value = key if value is None else value
    # The narrow layer keeps its three projections in one matrix, as torch's own does.
    linears = module._linears() if hasattr(module, "_linears") else (module.query, module.key, module.value)
    projected = (linear(part) for linear, part in zip(linears, (query, key, value), strict=True))
    return tuple(part.unflatten(-1, (module.heads, -1)).transpose(1, 2) for part in projected)


def _features(module: Any, x: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return tuple(
        layer(x).unflatten(-1, (-1, module.heads)).transpose(1, 3) for layer in (module.query, module.key, module.value)
    )


def _cross(module: Any, query: Tensor, memory: Any, *_: Any) -> tuple[Tensor, ...]:
    return tuple(part[:, None] for part in (module.query(query), memory.key, memory.value))


_READERS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "MultiHeadAttention": _heads,
    "WideMultiHeadAttention": _heads,
    "FeatureAttention": _features,
    "CrossAttention": _cross,
}
