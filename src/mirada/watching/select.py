"""Which layers and heads are meant: by name, by pattern, by number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from mirada.masks import is_causal
from mirada.watching.call import Call
from mirada.watching.dimensions import heads_of
from mirada.watching.masks import OfHeads
from mirada.watching.modules import looks_like_attention


def check_layers(
    layers: int | str | Iterable[int | str] | None, modules: Mapping[str, nn.Module]
) -> tuple[str, ...] | None:
    """The names and patterns of the layers meant, if each is one of the model's modules; else an error that says which.

    A number means a block: see ``blocks_of``.
    """
    if layers is None:
        return None
    chosen = (layers,) if isinstance(layers, (int, str)) else tuple(layers)
    return tuple(_checked(layer, modules) for layer in chosen)


def _checked(layer: object, modules: Mapping[str, nn.Module]) -> str:
    if isinstance(layer, str):
        if not any(_is_meant(layer, name) for name in modules):
            close = get_close_matches(layer, modules, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "print(model) shows the names"
            raise ValueError(f"layers has {layer!r}, which the model lacks: {hint}")
        return layer
    if not isinstance(layer, int) or isinstance(layer, bool):
        raise TypeError(f"layers must be numbers or names of modules, got {layer!r}")
    blocks = blocks_of(modules)
    if layer not in blocks:
        there = f"its blocks are numbered {min(blocks)} to {max(blocks)}" if blocks else "its blocks have no numbers"
        raise ValueError(f"layers has {layer!r}, which the model lacks: {there}")
    if len(blocks[layer]) > 1:
        raise ValueError(
            f"layers has {layer!r}, the number of several blocks: give a name, one of {', '.join(blocks[layer])}"
        )
    return blocks[layer][0]


def blocks_of(modules: Mapping[str, nn.Module]) -> dict[int, list[str]]:
    """The names of a model's blocks by their number.

    A block is one of a stack: the innermost numbered modules around an attention of which all that attend are of one
    class. So a wrapper's number (``nn.Sequential``) and a part's (T5's ``layer.1``) are none.
    """
    attending = [name for name, module in modules.items() if looks_like_attention(module) and _numbers(name)]
    attending = attending or [name for name, module in modules.items() if heads_of(module) and _numbers(name)]
    # Of attentions within attentions the outer one counts; a model as a whole is no attention.
    outer: list[str] = []
    for name in attending:
        if not any(name.startswith(f"{other}.") for other in outer):
            outer.append(name)
    names = outer or [name for name in modules if _numbers(name)]
    blocks: dict[int, list[str]] = {}
    for name in names:
        block = _block_around(name, names, modules)
        number = int(block.rpartition(".")[2])
        if block not in blocks.setdefault(number, []):
            blocks[number].append(block)
    return blocks


def _block_around(name: str, names: Sequence[str], modules: Mapping[str, nn.Module]) -> str:
    candidates = _numbers(name)
    for block in reversed(candidates):
        stack = block.rpartition(".")[0]
        siblings = [
            other
            for other in modules
            if other.rpartition(".")[0] == stack and other.rpartition(".")[2].isdigit() and other != stack
        ]
        bearing = [s for s in siblings if any(n == s or n.startswith(f"{s}.") for n in names)]
        kinds = {type(modules[sibling]) for sibling in bearing}
        if len(kinds) == 1 and (len(bearing) > 1 or {type(modules[sibling]) for sibling in siblings} == kinds):
            return block
    return candidates[0]


def _numbers(name: str) -> list[str]:
    """The parts of a name up to each number in it: "a.0.b.1.c" -> "a.0", "a.0.b.1"."""
    parts = name.split(".")
    return [".".join(parts[: n + 1]) for n, part in enumerate(parts) if part.isdigit()]


def in_layers(layers: tuple[int | str, ...] | None, name: str) -> bool:
    """Whether the module of this name is one of the layers, or in one."""
    return layers is None or any(_is_meant(str(layer), name) for layer in layers)


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


def _is_meant(layer: str, name: str) -> bool:
    return name == layer or name.startswith(f"{layer}.") or fnmatchcase(name, layer)
