"""What a view shows, brought into one form: layers of heads, the words along their edges, perhaps a picture."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mirada.dense import DenseAttention
from mirada.masks import Mask, is_causal
from mirada.masks.views import Part
from mirada.matrix import AttentionMatrix
from mirada.viewer.generation import as_one, steps_of, without_last
from mirada.viewer.image import Picture, as_picture
from mirada.viewer.labels import Along, Labels, along_sides
from mirada.viewer.rows import ByRows
from mirada.viewer.side import Side

Given = AttentionMatrix | DenseAttention
Matrix = Given | ByRows
Table = list[list[float | None]]
"""A number for each head of each layer; None where there is none."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer's heads, for one item of the batch."""

    name: str
    matrix: Matrix
    """(H, L, S)."""
    value: Tensor | None
    """(H, S, Ev), where it is known what the weights are applied to."""
    queries: Side
    keys: Side
    tokens: Sequence[int] | None = None
    """(L,), the same number for the same token, where queries and keys are one text."""
    mask: Mask | None = None
    """Fitted to (H, L, S): which pairs it hides is drawn apart from weights of 0."""

    @property
    def heads(self) -> int:
        """H."""
        return self.matrix.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        """L and S."""
        return self.matrix.shape[-2], self.matrix.shape[-1]


@dataclass(frozen=True, eq=False)
class Scene:
    """All that a view shows."""

    layers: Sequence[Layer]
    picture: Picture | None = None
    title: str = "mirada"
    notes: Sequence[str] = field(default=())
    measures: Mapping[str, Table] = field(default_factory=dict)
    """Numbers of each head that were found elsewhere, by name."""
    compared: tuple[str, str] | None = None
    """The names of two attentions that are compared; the first half of the layers is of the first."""
    steps: dict[str, Any] | None = None
    """Of a generation: how many tokens the prompt has ("prompt"), and the tokens that were written ("written")."""

    def beside(self, number: int) -> Sequence[Layer]:
        """The layers of the attention that a layer belongs to."""
        half = len(self.layers) // 2
        if self.compared is None:
            return self.layers
        return self.layers[:half] if number < half else self.layers[half:]

    def counterpart(self, number: int) -> Layer | None:
        """The layer that one is compared with."""
        half = len(self.layers) // 2
        return None if self.compared is None else self.layers[(number + half) % len(self.layers)]


def scene(
    what: Any,
    *,
    labels: Labels | None = None,
    words: Any = None,
    special: Any = None,
    segments: Any = None,
    image: Tensor | None = None,
    patch: int | tuple[int, int] | None = None,
    first: int | None = None,
    item: int | tuple[int, ...] = 0,
    title: str = "mirada",
) -> Scene:
    """The scene of some matrices; see `mirada.viewer.view` for what they may be."""
    whole = as_one(what)
    found = list(_named(whole))
    if not found:
        raise ValueError(
            "what: there is no attention in it to show (no records): run the model inside "
            "`with mirada.watch(model) as records:` first"
        )
    notes: list[str] = []
    along = along_sides(labels, words, special, segments)
    steps = None
    if whole is not what:
        steps, along = steps_of(along, what), without_last(along, whole)
    layers = [_layer(name, one, value, along, item, notes) for name, one, value in found]
    picture = None
    if image is not None:
        _no_windows(found)
        tokens = layers[0].size[1]
        picture = as_picture(image, patch, tokens, first)
        if first is None and picture.first > 1:
            notes.append(
                f"The image's patches are taken to be the last {math.prod(picture.grid)} of {tokens} tokens: "
                "first= tells where they begin."
            )
    return Scene(tuple(layers), picture, title, tuple(dict.fromkeys(notes)), steps=steps)


def _no_windows(found: Sequence[tuple[str, Given, Tensor | None]]) -> None:
    """Windows of an image lie in the batch: fewer of them in a later layer. Their tokens are no grid of the image."""
    batches = list(dict.fromkeys(tuple(one.shape[:-3]) for _, one, _ in found))
    if len(batches) > 1:
        shapes = " and ".join(str(batch) for batch in batches)
        raise ValueError(
            f"image: the layers' batches have different shapes {shapes}, as windows of an image have: "
            "the tokens of a window can't be placed in it; leave image= out, or view layers of one batch"
        )


def _named(what: Any) -> Iterable[tuple[str, Given, Tensor | None]]:
    """Each matrix with its name and, where there are any, the values that it weighs."""
    for name, one in _pairs(what):
        matrix = getattr(one, "matrix", one)
        if isinstance(matrix, Tensor):
            matrix = _given(matrix)
        if not isinstance(matrix, Given):
            raise TypeError(
                f"what: {type(one).__name__} can't be shown, wanted AttentionMatrix, weights (..., L, S), "
                "the records of mirada.watch, a list or dictionary of these, or a run (mirada.load)"
            )
        yield str(getattr(one, "name", None) or name), matrix, getattr(one, "value", None)


def _pairs(what: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(what, AttentionMatrix | Tensor) or hasattr(what, "matrix"):
        return [("attention", what)]
    if isinstance(what, Mapping):
        return [(str(name), one) for name, one in what.items()]
    if isinstance(what, Iterable) and not isinstance(what, str | bytes):
        return [(f"layer {number}", one) for number, one in enumerate(what)]
    return [("", what)]


def _given(weights: Tensor) -> DenseAttention:
    if weights.ndim < 2 or not weights.is_floating_point():
        raise ValueError(
            f"what: weights must be a floating tensor (..., L, S), got {weights.dtype} of {tuple(weights.shape)}"
        )
    return DenseAttention(weights.detach().float())


def _layer(
    name: str,
    matrix: Given,
    value: Tensor | None,
    along: Along,
    item: int | tuple[int, ...],
    notes: list[str],
) -> Layer:
    *leading, queries, keys = matrix.shape
    if queries == 0 or keys == 0:
        raise ValueError(f"what: {name} has {queries} queries and {keys} keys, there is nothing to show")
    batch = _batch(matrix, name)
    index = _item(item, batch, name)
    if any(size > 1 for size in batch):
        notes.append(f"Item {', '.join(map(str, index))} of a batch of {'×'.join(map(str, batch))}.")
    if len(batch) == len(leading) > 0 and matrix.dims and matrix.dims[-1] == "unknown":
        notes.append(f"{name}: whether {leading[-1]} counts heads or examples is not known; it is shown as examples.")
    if 0 in leading[len(batch) :]:
        raise ValueError(f"what: {name} has no heads")
    one = len(batch) == len(leading)
    matrix = matrix[index] if index else matrix
    if one:
        matrix = _one_head(matrix)
    mask = matrix.mask
    if isinstance(matrix, AttentionMatrix) and matrix.softcap is not None:
        matrix = _given(matrix.to_dense())  # the page forms scores without a cap
    if value is not None:
        value = value[index] if index and value.ndim > len(index) + 2 - one else value
        value = _values(value, matrix.shape[0])
    notes += _not_finite(name, matrix)
    asking, asked = along.of(name, queries, keys)
    tokens = _tokens(asking) if along.target is not None and asking == asked else None
    return Layer(name, matrix, value, asking, asked, tokens, mask)


def _tokens(words: Sequence[str]) -> list[int]:
    """A number for each word, the same for the same word."""
    known: dict[str, int] = {}
    return [known.setdefault(word, len(known)) for word in words]


_CHECKED = 1 << 24  # weights: more are not formed before anything is shown


@torch.no_grad()
def _not_finite(name: str, matrix: Given) -> Iterable[str]:
    """Where the first weight stands that is NaN or infinite, and how many rows hold one."""
    heads, queries, keys = matrix.shape
    if isinstance(matrix, DenseAttention):
        bad = ~matrix.weights.isfinite().all(-1)
    elif matrix.query.isfinite().all() and matrix.key.isfinite().all() and not getattr(matrix.mask, "additive", False):
        return
    elif heads * queries * keys > _CHECKED:
        yield f"{name}: its queries or keys hold NaN or infinite numbers."
        return
    else:
        bad = ~matrix.rows(torch.arange(queries, device=matrix.device)).isfinite().all(-1)
    if bad.any():
        head, query = bad.nonzero()[0].tolist()
        row = matrix[head].rows(torch.tensor([query], device=matrix.device))[0]
        key = int((~row.isfinite()).nonzero()[0])
        rows = "one row of weights is" if bad.sum() == 1 else f"{int(bad.sum())} rows of weights are"
        yield f"{name}: {rows} not finite, first head {head}, query {query}, key {key} ({float(row[key])})."


def _batch(matrix: Given, name: str) -> tuple[int, ...]:
    """The sizes of the dimensions of examples: all before the heads, which are the last before (L, S).

    Where a record says that the last one counts no heads, it has one head, and all of them are examples.
    """
    leading, dims = tuple(matrix.shape[:-2]), matrix.dims
    if not dims or dims[-1] == "heads" or leading[-1] == 1:
        return leading[:-1]
    if "heads" in dims:
        raise ValueError(f"what: {name} {leading}, has its heads first: give weights (batch, heads, L, S)")
    return leading


def _item(item: int | tuple[int, ...], batch: tuple[int, ...], name: str) -> tuple[int, ...]:
    """An index of one example."""
    index = item if isinstance(item, tuple) else (item, *[0] * (len(batch) - 1))[: len(batch)]
    if len(index) != len(batch) or any(not 0 <= at < size for at, size in zip(index, batch, strict=True)):
        raise ValueError(f"item={item!r} is not in {name}'s batch of shape {batch}")
    return index


def _one_head(matrix: Given) -> Given:
    if isinstance(matrix, DenseAttention):
        return DenseAttention(matrix.weights[None])
    mask = matrix.mask
    if mask is not None and not is_causal(mask):
        mask = Part(mask, 0, 0)  # it is fitted already, and must not be fitted again
    return AttentionMatrix(matrix.query[None], matrix.key[None], mask, scale=matrix.scale, softcap=matrix.softcap)


def _values(value: Tensor, heads: int) -> Tensor | None:
    """The values (H, S, Ev): with grouped queries one head of values serves several."""
    value = value[None] if value.ndim == 2 else value
    if value.ndim != 3 or value.shape[0] == 0 or heads % value.shape[0]:
        return None
    return value.repeat_interleave(heads // value.shape[0], 0)
