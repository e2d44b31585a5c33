"""From a scene to what a browser reads: a description in JSON, and bytes."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mirada.matrix import AttentionMatrix
from mirada.viewer import encode, hidden, measures, pyramid
from mirada.viewer.numbers import Edges, edges, of_heads
from mirada.viewer.protocol import WHOLE
from mirada.viewer.reading import texts
from mirada.viewer.scene import Layer, Scene
from mirada.viewer.side import Side

THUMB = 32
"""Cells a side of the small map of a head."""
_FAR = 256


@dataclass(frozen=True)
class Prepared:
    """What the browser gets."""

    about: dict[str, Any]
    blobs: dict[str, bytes]


@torch.no_grad()
def prepare(scene: Scene, budget: float) -> Prepared:
    """The scene with all its numbers, in at most ``budget`` bytes where a picture of it from afar still fits."""
    blobs: dict[str, bytes] = {}
    commons = [_common(scene, number) for number in range(len(scene.layers))]
    budget -= sum(common.size for common in commons)
    total = sum(map(encode.weight_of, scene.layers))
    described = []
    for number, (layer, common) in enumerate(zip(scene.layers, commons, strict=True)):
        body = encode.carry(layer, budget * encode.weight_of(layer) / total)
        for name, blob in (common.blobs | body.blobs).items():
            blobs[f"{number}-{name}"] = blob
        described.append(describe(layer) | common.about | body.about)
    return Prepared(about(scene, described), blobs)


def about(scene: Scene, layers: list[dict[str, Any]]) -> dict[str, Any]:
    """What belongs to no single layer, and the texts along the sides, each of them once."""
    sides: dict[Side, int] = {}
    for layer, described in zip(scene.layers, layers, strict=True):
        for name, side in (("query_words", layer.queries), ("key_words", layer.keys)):
            described[name] = sides.setdefault(side, len(sides))
    picture = scene.picture
    return {
        "title": scene.title,
        "notes": list(scene.notes),
        "words": [side.labels for side in sides],
        "texts": texts(sides),
        "layers": layers,
        "measures": scene.measures,
        "compared": scene.compared,
        "steps": scene.steps,
        "image": None
        if picture is None
        else {"uri": picture.uri(), "size": picture.size, "grid": picture.grid, "first": picture.first},
    }


def describe(layer: Layer) -> dict[str, Any]:
    """A layer's name and sizes."""
    queries, keys = layer.size
    return {"name": layer.name, "heads": layer.heads, "queries": queries, "keys": keys}


def in_json(found: Mapping[str, Tensor]) -> dict[str, list[float | None]]:
    """The measures of each head; None where they are not finite."""
    return {
        name: [round(number, 6) if math.isfinite(number) else None for number in values.tolist()]
        for name, values in found.items()
    }


def thumb_size(layer: Layer) -> tuple[int, ...]:
    """Rows and columns of the small maps."""
    return tuple(min(side, THUMB) for side in layer.size)


def thumbs(layer: Layer) -> Tensor:
    """Small maps of all heads, (H, r, s)."""
    rows, columns = thumb_size(layer)
    weights = layer.matrix.tile((0, layer.size[0]), (0, layer.size[1]), (rows, columns)).float()
    return hidden.marked(weights, hidden.of_bins(layer, (rows, columns))).cpu()


def _common(scene: Scene, number: int) -> encode.Carried:
    layer = scene.layers[number]
    along = edges(layer.matrix)
    found = vars(of_heads(layer.matrix, along))
    found |= {name: measures.measure(scene, number, name) for name in measures.later(scene, number)}
    described: dict[str, Any] = {"thumb": thumb_size(layer), "measures": in_json(found)}
    blobs = {"thumbs": zlib.compress(thumbs(layer).half().numpy().astype("<f2").tobytes(), 6)}
    if layer.size[0] * layer.size[1] > WHOLE:
        far, blobs_from_afar = _from_afar(layer, along)
        described |= far
        blobs |= blobs_from_afar
    return encode.Carried(described, blobs)


def _from_afar(layer: Layer, along: Edges) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What can't be formed in the browser in no time: the edges, the normalisers, the map as a whole."""
    records = encode.in_cells(layer, pyramid.finest(*layer.size, _FAR))
    blobs = records.blobs | {"entropy": _floats(along.entropy), "received": _floats(along.received)}
    if isinstance(layer.matrix, AttentionMatrix):
        blobs["normalisers"] = _floats(layer.matrix.logsumexp())
    return records.about, blobs


def _floats(values: Tensor) -> bytes:
    return values.detach().cpu().float().numpy().astype("<f4").tobytes()
