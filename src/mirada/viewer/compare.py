"""Two scenes of one shape, side by side: runs, models, prompts of equal length, before and after an edit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mirada.viewer.scene import Scene, scene


def both(what: Mapping[str, Any], **given: Any) -> Scene:
    """The scene of two attentions, to be compared head by head and weight by weight.

    Args:
        what: two names, each with something that `mirada.view` shows.
        given: as of `mirada.viewer.scene.scene`. Labels, words, special tokens and segments are of both, or a
            dictionary with those of each, by the same two names.

    Raises:
        ValueError: other than two, or different shapes.
        TypeError: no dictionary.
    """
    if not isinstance(what, Mapping):
        raise TypeError(f"what: got {type(what).__name__}, compare=True wants a dictionary of two: name -> attention")
    if len(what) != 2:
        raise ValueError(f"what: compare=True wants two attentions, got {len(what)}: {', '.join(map(str, what))}")
    own = {argument for argument, value in given.items() if isinstance(value, Mapping) and set(value) == set(what)}
    scenes = {}
    for name, one in what.items():
        of_this = {argument: value[name] if argument in own else value for argument, value in given.items()}
        scenes[str(name)] = scene(one, **of_this)
    return joined(scenes)


def joined(scenes: Mapping[str, Scene]) -> Scene:
    """Two scenes as one: the layers of the first, then those of the second.

    Raises:
        ValueError: layers of different shapes.
    """
    (first, one), (second, other) = scenes.items()
    if len(one.layers) != len(other.layers):
        raise ValueError(
            f"compare: {first!r} has {len(one.layers)} layers, {second!r} has {len(other.layers)}: "
            "each layer is compared with its counterpart, give as many of both"
        )
    for a, b in zip(one.layers, other.layers, strict=True):
        if (a.heads, *a.size) != (b.heads, *b.size):
            raise ValueError(
                f"compare: {a.name} of {first!r} has {a.heads} heads of {a.size[0]} × {a.size[1]} tokens, "
                f"{b.name} of {second!r} has {b.heads} of {b.size[0]} × {b.size[1]}: compare prompts of equal length"
            )
    notes = [f"{name}: {note}" for name, part in scenes.items() for note in part.notes if note not in one.notes]
    return Scene(
        (*one.layers, *other.layers), one.picture, one.title, (*one.notes, *notes), one.measures, (first, second)
    )
