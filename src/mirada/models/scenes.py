"""From the records of a forward pass to the scene that a view shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor

from mirada.models.images import Patches
from mirada.models.inputs import Prepared
from mirada.models.sides import sides
from mirada.models.strongest import short
from mirada.viewer.image import Picture, as_picture
from mirada.viewer.scene import Layer, Scene, scene
from mirada.watching import AttentionRecord, Records


def scene_of(records: Records, prepared: Prepared, *, title: str, notes: tuple[str, ...] = ()) -> Scene:
    """All layers, each with the words along its sides, and the picture."""
    named = list(zip(short(_called(records)), records, strict=True))
    layers = [layer for name, record in named for layer in _layers(name, record, prepared)]
    return Scene(tuple(layers), _picture(prepared, layers), title, (*prepared.notes, *notes))


def _called(records: Records) -> list[str]:
    """The modules' names; of a module that was called several times, with the number of the call."""
    many = {record.name for record in records if record.nth}
    return [f"{record.name}.{record.nth}" if record.name in many else record.name for record in records]


def _layers(name: str, record: AttentionRecord, prepared: Prepared) -> Iterator[Layer]:
    queries, keys = record.shape[-2:]
    if not record.kept:
        weights: Any = record.answers["map"]
        assert isinstance(weights, Tensor)
        rows, columns = weights.shape[-2:]
        yield from scene({name: weights}, labels=(_ranges(queries, rows), _ranges(keys, columns))).layers
        return
    along = sides(record.name, queries, keys, prepared)
    for layer in scene({name: record}, labels=(along.queries, along.keys)).layers:
        yield replace(layer, name=name, tokens=along.ids)


def _ranges(count: int, bins: int) -> list[str]:
    """The positions of each part of a long text."""
    edges = [n * count // bins for n in range(bins + 1)]
    return [f"{edges[n]}–{edges[n + 1] - 1}" for n in range(bins)]


def _picture(prepared: Prepared, layers: list[Layer]) -> Picture | None:
    if prepared.image is None:
        return None
    if prepared.within is not None:
        first, inner = prepared.within
        return replace(_drawn(prepared.image, inner), first=first)
    if prepared.patches is None:
        return None
    sizes = [layer.size[1] for layer in layers if layer.size[1] > 1 and prepared.patches.labels(layer.size[1])]
    return replace(_drawn(prepared.image, prepared.patches), first=sizes[0] - prepared.patches.count) if sizes else None


def _drawn(image: Tensor, patches: Patches) -> Picture:
    """The picture with its grid; pixels beyond the last whole patch are cut."""
    rows, columns = patches.grid
    side = min(image.shape[-2] // rows, image.shape[-1] // columns)
    return as_picture(image[..., : rows * side, : columns * side], side, patches.count)
