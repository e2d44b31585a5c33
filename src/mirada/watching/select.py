"""Which layers and heads are meant: by name, by pattern, by number."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import Tensor

_NUMBER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")


def check_layers(
    layers: int | str | Iterable[int | str] | None, names: Collection[str]
) -> tuple[int | str, ...] | None:
    """The layers asked for, if each is one of the model's modules; else a ValueError that says which isn't."""
    if layers is None:
        return None
    chosen = (layers,) if isinstance(layers, (int, str)) else tuple(layers)
    for layer in chosen:
        if not isinstance(layer, (int, str)) or isinstance(layer, bool):
            raise TypeError(f"layers must be numbers or names of modules, got {layer!r}")
        if not any(_is_meant(layer, name) for name in names):
            raise ValueError(f"layers has {layer!r}, which the model lacks: {_what_there_is(layer, names)}")
    return chosen


def in_layers(layers: tuple[int | str, ...] | None, name: str) -> bool:
    """Whether the module of this name is one of the layers, or in one."""
    return layers is None or any(_is_meant(layer, name) for layer in layers)


def check_heads(heads: int | Iterable[int] | None) -> tuple[int, ...] | None:
    """The heads asked for, as numbers."""
    if heads is None:
        return None
    chosen = (heads,) if isinstance(heads, int) else tuple(heads)
    if not chosen or any(not isinstance(head, int) or isinstance(head, bool) for head in chosen):
        raise ValueError(f"heads must be one or more whole numbers, got {heads!r}")
    return chosen


def resolve_heads(heads: tuple[int, ...], count: int | None, name: str) -> list[int]:
    """The heads as numbers from 0 up; ValueError where the call has no such head."""
    if count is None:
        raise ValueError(f"heads was given, but the attention of {name!r} has no dimension of heads")
    for head in heads:
        if not -count <= head < count:
            raise ValueError(f"heads has {head}, but {name!r} has {count} heads: 0 to {count - 1}")
    return [head % count for head in heads]


def take_heads(tensor: Tensor, heads: list[int], count: int) -> Tensor:
    """These of ``count`` heads, at dimension −3; a tensor with fewer heads serves several with each."""
    if tensor.ndim < 3 or tensor.shape[-3] == 1:
        return tensor
    group = count // tensor.shape[-3]
    # A slice is a view, and keeps what it is a view of from being copied.
    if len(heads) == 1:
        return tensor.narrow(-3, heads[0] // group, 1)
    return tensor[..., [head // group for head in heads], :, :]


def _is_meant(layer: int | str, name: str) -> bool:
    if isinstance(layer, int):
        number = _NUMBER.search(name)
        return number is not None and int(number[1]) == layer
    return name == layer or name.startswith(f"{layer}.") or fnmatchcase(name, layer)


def _what_there_is(layer: int | str, names: Collection[str]) -> str:
    if isinstance(layer, int):
        numbers = sorted({int(number[1]) for name in names if (number := _NUMBER.search(name))})
        return f"its blocks are numbered {numbers[0]} to {numbers[-1]}" if numbers else "its blocks have no numbers"
    close = get_close_matches(layer, names, n=1)
    return f"did you mean {close[0]!r}?" if close else "print(model) shows the names"
