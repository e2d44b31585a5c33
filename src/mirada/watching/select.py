"""Which layers and heads are meant: by name, by pattern, by number."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from mirada.masks import is_causal
from mirada.watching.call import Call
from mirada.watching.masks import OfHeads

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


class HeadsError(ValueError):
    """Heads that an attention lacks, or has in no dimension that is known."""


def resolve_heads(heads: tuple[int, ...], shape: torch.Size, at: int | None, name: str) -> list[int]:
    """The heads as numbers from 0 up; ValueError where the call has no such head."""
    if at is None:
        raise HeadsError(
            f"heads was given, but which dimension of the attention of {name!r}, of shape {tuple(shape)}, counts heads "
            "is not known: neither its shape nor an attribute num_heads of the module tells"
        )
    count = shape[at]
    for head in heads:
        if not -count <= head < count:
            raise HeadsError(f"heads has {head}, but {name!r} has {count} heads: 0 to {count - 1}")
    return [head % count for head in heads]


def of_heads(call: Call, heads: list[int], at: int) -> Call:
    """The call of some heads only."""
    last = len(call.shape) - 3
    if at != last:  # by hand: all of the mask is tensors

        def moved(tensor: Tensor) -> Tensor:
            whole = tensor[(None,) * (len(call.shape) - tensor.ndim)]
            return whole if whole.shape[at] == 1 else whole.index_select(at, torch.tensor(heads, device=whole.device))

        return call.each(moved)
    count = call.shape[-3]
    rule = call.rule if call.rule is None or is_causal(call.rule) else OfHeads(call.rule, heads, count)
    return replace(call.each(lambda tensor: _take_heads(tensor, heads, count)), rule=rule, enable_gqa=False)


def _take_heads(tensor: Tensor, heads: list[int], count: int) -> Tensor:
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
