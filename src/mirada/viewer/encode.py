"""How a page carries a layer: what it is made of where that fits, else its weights, else a picture of it from afar.

In this order, the first that fits its share of the budget and keeps every weight within 1/255 of its row's largest:

1. queries, keys and values in float32: the browser forms the same weights as the model;
2. queries, keys and values in 16 bits;
3. queries and keys in float32, then in as many bits as fit, down to 9;
4. the weights in 8 bits of their row's largest;
5. cells of 2ⁿ × 2ⁿ tokens, in 8 bits of their row's largest: single weights are not in the page.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mirada.kernels import Scores, reference
from mirada.masks import Mask
from mirada.matrix import AttentionMatrix
from mirada.viewer import hidden, pyramid
from mirada.viewer.scene import Layer, Matrix

PROMISE = 1 / 255
"""No weight that a page shows is further from the model's than this part of its row's largest."""

_BAND = 1 << 22  # weights at a time
_FLOAT = 32


@dataclass(frozen=True)
class Carried:
    """A layer as bytes."""

    about: dict[str, Any]
    """What the browser must know to read them."""
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(map(len, self.blobs.values()))


def carry(layer: Layer, budget: float) -> Carried:
    """The layer in at most ``budget`` bytes, as truly as they allow."""
    for made in _candidates(layer, budget):
        if made.size <= budget and made.about["error"] <= PROMISE:
            return made
    return _from_afar(layer, budget)


def weight_of(layer: Layer) -> float:
    """How much a layer would take in full: its share of a budget is in proportion."""
    matrix = layer.matrix
    if isinstance(matrix, AttentionMatrix):
        width = matrix.query.shape[-1] + (0 if layer.value is None else layer.value.shape[-1])
        return float(layer.heads * sum(layer.size) * width)
    return float(layer.heads * layer.size[0] * layer.size[1])


def _candidates(layer: Layer, budget: float) -> Iterator[Carried]:
    if not isinstance(layer.matrix, AttentionMatrix):
        yield from _weights(layer, budget)
        return
    parts = _parts(layer.matrix)
    mask = _mask(layer)
    if mask is not None:
        left = budget - mask.size
        choices = [(bits, True) for bits in (_FLOAT, 16)] if layer.value is not None else []
        choices += [(_FLOAT, False)]
        counts = sum(part.numel() for part in parts.values())
        fitting = min(16, int(8 * left / max(counts, 1)))
        choices += [(fitting, False)] if fitting >= 9 else []
        for bits, with_value in choices:
            tensors = parts | ({"value": layer.value} if with_value and layer.value is not None else {})
            if sum(part.numel() for part in tensors.values()) * bits / 8 <= left:
                yield _vectors(layer.matrix, tensors, bits, mask)
    yield from _weights(layer, budget)


# --- queries, keys, values ---


def _parts(matrix: AttentionMatrix) -> dict[str, Tensor]:
    # A part of the matrix, even all of it, has a query and a key for each head, however few were given.
    whole = matrix[:]
    return {"query": whole.query.detach(), "key": whole.key.detach()}


def _vectors(matrix: AttentionMatrix, tensors: dict[str, Tensor], bits: int, mask: Carried) -> Carried:
    blobs, read = {}, {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().float()
        if bits == _FLOAT:
            blobs[name], read[name] = tensor.numpy().astype("<f4").tobytes(), tensor
        else:
            blobs[name], read[name] = packed(tensor, bits)
    error = 0.0 if bits == _FLOAT else _error(matrix, read["query"], read["key"])
    widths = {f"{name}_width": tensor.shape[-1] for name, tensor in tensors.items()}
    about = {"kind": "vectors", "bits": bits, "error": error, "scale": matrix.scale, **widths, **mask.about}
    return Carried(about, blobs | mask.blobs)


def packed(values: Tensor, bits: int) -> tuple[bytes, Tensor]:
    """Numbers (H, n, E) in ``bits`` bits each, and what a reader gets back.

    Each head's feature has a range of its own: where one feature is much larger than the others, they keep their
    precision. First the ranges, (H, E, 2) float32 (least, step), then each head's bits, padded to whole bytes.
    """
    values = torch.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    least = values.amin(-2, keepdim=True)
    step = ((values.amax(-2, keepdim=True) - least) / (2**bits - 1)).clamp_min(1e-30)
    levels = ((values - least) / step).round().clamp(0, 2**bits - 1)
    words = levels.flatten(1).numpy().astype(">u2")  # (H, n·E)
    every_bit = np.unpackbits(words.view(np.uint8).reshape(*words.shape, 2), axis=-1)[..., 16 - bits :]
    body = np.packbits(every_bit.reshape(len(words), -1), axis=-1)
    ranges = torch.cat([least, step], -2).mT.contiguous().numpy().astype("<f4")  # (H, E, 2)
    return ranges.tobytes() + body.tobytes(), least + step * levels


def _error(matrix: AttentionMatrix, query: Tensor, key: Tensor) -> float:
    """How far a weight formed from other queries and keys is off at most, in units of its row's largest."""
    other = Scores(query.to(matrix.device), key.to(matrix.device), matrix.mask, matrix.scale)
    worst = 0.0
    queries, keys = matrix.shape[-2:]
    height = max(1, _BAND // (keys * matrix.shape[:-2].numel()))
    for start in range(0, queries, height):
        index = torch.arange(start, min(start + height, queries), device=matrix.device)
        true = matrix.upcast().rows(index)
        if not true.isfinite().all():
            return float("inf")  # packed numbers are finite: they cannot carry it
        apart = (reference.softmax(other.rows(index)) - true).abs().amax(-1)
        worst = max(worst, float((apart / true.amax(-1).clamp_min(1e-30)).max()))
    return worst


# --- masks ---


def _mask(layer: Layer) -> Carried | None:
    """Which query may attend to which key; None where that takes more than the weights themselves."""
    matrix = layer.matrix
    assert isinstance(matrix, AttentionMatrix)
    if matrix.mask is not None and matrix.mask.additive:
        return _bias(matrix, matrix.mask)
    return _pattern(layer)


def _pattern(layer: Layer) -> Carried:
    """Which pairs are hidden, without what a mask adds to the others."""
    if layer.mask is None:
        return Carried({"mask": "none"})
    ranges = _intervals(layer.matrix, layer.mask)
    if ranges is not None:
        return Carried({"mask": "ranges"}, {"mask": zlib.compress(ranges.astype("<i4").tobytes(), 6)})
    shape, bits = _visible(layer.matrix, layer.mask, slice(0, layer.size[0]))
    return Carried({"mask": "bits"}, {"mask": zlib.compress(np.packbits(bits.reshape(shape[0], -1), -1).tobytes(), 6)})


def _bias(matrix: AttentionMatrix, mask: Mask) -> Carried | None:
    visible, bias = mask.block(slice(0, matrix.shape[-2]), slice(0, matrix.shape[-1]), matrix.device)
    assert bias is not None
    bias = torch.where(visible, bias.float(), -torch.inf)
    bias = bias.reshape(-1, *bias.shape[-2:]).expand(-1, *matrix.shape[-2:])
    if len(bias) not in (1, matrix.shape[0]):
        return None
    return Carried({"mask": "bias"}, {"mask": zlib.compress(bias.detach().cpu().numpy().astype("<f4").tobytes(), 6)})


def _visible(matrix: Matrix, mask: Mask, rows: slice) -> tuple[tuple[int, ...], np.ndarray]:
    """A band of the mask, (1 or H, rows, S)."""
    visible, _ = mask.block(rows, slice(0, matrix.shape[-1]), matrix.device)
    visible = visible.reshape(-1, *visible.shape[-2:]).expand(-1, rows.stop - rows.start, matrix.shape[-1])
    return tuple(visible.shape), visible.cpu().numpy()


def _intervals(matrix: Matrix, mask: Mask) -> np.ndarray | None:
    """The first key that each query sees and the one after the last, (1 or H, L, 2), where it sees all between."""
    queries, keys = matrix.shape[-2:]
    height = max(1, _BAND // (keys * matrix.shape[0]))
    bands = []
    for start in range(0, queries, height):
        _, visible = _visible(matrix, mask, slice(start, min(start + height, queries)))
        counts = visible.sum(-1)
        first = visible.argmax(-1)
        after = keys - visible[..., ::-1].argmax(-1)
        if not np.all((counts == 0) | (counts == after - first)):
            return None
        bands.append(np.stack([first, first + counts], -1))
    return np.concatenate(bands, 1)


# --- weights ---


def _weights(layer: Layer, budget: float) -> Iterator[Carried]:
    """The weights, and beside them what the mask hides: their bytes say only that a weight is 0."""
    mask = _pattern(layer)
    for made in _bare_weights(layer, budget - mask.size):
        yield Carried(made.about | mask.about, made.blobs | mask.blobs)


def _bare_weights(layer: Layer, budget: float) -> Iterator[Carried]:
    matrix = layer.matrix
    count = layer.heads * layer.size[0] * layer.size[1]
    if 4 * count <= budget and not isinstance(matrix, AttentionMatrix):
        weights = _all_rows(matrix)
        yield Carried({"kind": "weights", "bits": _FLOAT, "error": 0.0}, {"weights": weights.astype("<f4").tobytes()})
    elif count <= 64 * budget:  # more than this, no compression brings down
        blobs = in_bytes(_all_rows(matrix))
        yield Carried({"kind": "weights", "bits": 8, "error": 1 / 510}, blobs)


def _all_rows(matrix: Matrix) -> np.ndarray:
    queries, keys = matrix.shape[-2:]
    height = max(1, _BAND // (keys * matrix.shape[0]))
    bands = [
        matrix.rows(torch.arange(start, min(start + height, queries))).detach().float().cpu()
        for start in range(0, queries, height)
    ]
    return torch.cat(bands, -2).numpy()


def in_bytes(table: np.ndarray) -> dict[str, bytes]:
    """Rows (H, r, s) as 255ths of their largest, and the largest: NaN where a row holds anything that is not finite."""
    largest = np.where(np.isfinite(table).all(-1, keepdims=True), table.max(-1, keepdims=True), np.nan)
    table = np.nan_to_num(table, nan=0.0, posinf=0.0, neginf=0.0)
    shares = np.round(table / np.maximum(np.nan_to_num(largest, nan=1.0), 1e-30) * 255).astype(np.uint8)
    return {"shares": zlib.compress(shares.tobytes(), 6), "largest": largest.astype("<f4").tobytes()}


# --- from afar ---


def _from_afar(layer: Layer, budget: float) -> Carried:
    """The finest cells that fit; where not even the coarsest do, those."""
    queries, keys = layer.size
    for side in (2048, 1024, 512, 256, 128, 64, 32, 16):
        cell = pyramid.finest(queries, keys, side)
        # What takes eight times the memory before compression will hardly fit after it.
        if layer.heads * pyramid.cells(queries, cell) * pyramid.cells(keys, cell) > 8 * budget:
            continue
        made = _level(layer, cell)
        if made.size <= budget:
            return made
    return _level(layer, pyramid.finest(queries, keys, 8))


def _level(layer: Layer, cell: int) -> Carried:
    records = in_cells(layer, cell)
    return Carried({"kind": "cells", "cell": cell, "bits": 8, "error": 1 / 510} | records.about, records.blobs)


def in_cells(layer: Layer, cell: int) -> Carried:
    """The whole matrix at ``cell`` tokens a cell, and at all coarser levels: each in 255ths of its rows' largest.

    The coarser ones could be summed up by the reader, but so would the rounding.
    """
    levels = pyramid.levels(layer.matrix, cell)
    blobs = {
        f"{name}-{size}": blob for size, table in levels.items() for name, blob in in_bytes(table.cpu().numpy()).items()
    }
    return Carried({"levels": list(levels), "hides": layer.mask is not None}, blobs | _hidden_cells(layer, levels))


def _hidden_cells(layer: Layer, levels: Iterable[int]) -> dict[str, bytes]:
    """Which cells of each level are hidden, a bit each; each head's bits are padded to whole bytes."""
    found = {}
    for cell in levels if layer.mask is not None else ():
        edges = [[min(n * cell, size) for n in range(pyramid.cells(size, cell) + 1)] for size in layer.size]
        heads = [hidden.of_head(layer, head) for head in range(layer.heads)]
        bits = np.stack([head.cells(*edges).flatten().cpu().numpy() for head in heads if head is not None])
        found[f"hidden-{cell}"] = zlib.compress(np.packbits(bits, -1).tobytes(), 6)
    return found
