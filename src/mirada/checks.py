"""What a matrix is made of and multiplied with: checked, with errors that name the argument and the way out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def default_scale(width: int) -> float:
    """1/√E."""
    return width**-0.5 if width else 1.0


def patch_sides(height: int, width: int) -> list[int]:
    """The sides, in pixels, of the square patches that cut an image of this size without a rest.

    >>> patch_sides(8, 12)
    [1, 2, 4]
    """
    common = math.gcd(height, width)
    return [side for side in range(1, common + 1) if common % side == 0]


def number(name: str, value: Any, *, positive: bool = False) -> float:
    """A finite number. A tensor that wants a gradient is refused: it would silently get none."""
    if isinstance(value, Tensor) and value.requires_grad:
        raise ValueError(f"{name} must be a number, got a tensor that wants a gradient: multiply the query with it")
    found = float(value)
    if not math.isfinite(found) or (positive and found <= 0):
        raise ValueError(f"{name} must be a finite number{' above 0' * positive}, got {found}")
    return found


def check_query_and_key(query: Tensor, key: Tensor) -> None:
    """Refuses what scores can't be made of."""
    for name, tensor in (("query", query), ("key", key)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"{name} must be a floating tensor, got {found}")
        if tensor.ndim < 2:
            raise ValueError(
                f"{name} must have at least two dimensions (..., length, width), got {tuple(tensor.shape)}"
            )
    check_alike("key", key, query)
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"key must be as wide as query, got shapes {tuple(key.shape)} and {tuple(query.shape)}: "
            "their last dimensions are multiplied"
        )


def check_alike(name: str, tensor: Tensor, query: Tensor) -> None:
    """Refuses another device or dtype than the query's."""
    if tensor.device != query.device:
        raise ValueError(f"{name} must be on the query's device, {query.device}, got {tensor.device}")
    if tensor.dtype != query.dtype:
        raise ValueError(f"{name} must have the query's dtype, {query.dtype}, got {tensor.dtype}")


def groups_of(query: Tensor, key: Tensor, enable_gqa: bool) -> int:
    """How many query heads share one key head."""
    if not enable_gqa:
        return 1
    if query.ndim < 3 or key.ndim < 3 or key.shape[-3] == 0 or query.shape[-3] % key.shape[-3]:
        raise ValueError(
            "enable_gqa needs a number of key heads (dimension -3) that divides the number of query heads, "
            f"got key {tuple(key.shape)} and query {tuple(query.shape)}"
        )
    return query.shape[-3] // key.shape[-3]


def repeat_heads(tensor: Tensor, groups: int) -> Tensor:
    """A head of keys or values for each head of queries."""
    return tensor if groups == 1 else tensor.repeat_interleave(groups, -3)


def common_leading(query: Tensor, key: Tensor) -> torch.Size:
    """What query and key broadcast to, before their last two dimensions."""
    try:
        return torch.broadcast_shapes(query.shape[:-2], key.shape[:-2])
    except RuntimeError:
        raise ValueError(
            f"key of shape {tuple(key.shape)} does not broadcast to query of shape {tuple(query.shape)} before the "
            "last two dimensions; with fewer key heads, set enable_gqa=True"
        ) from None


def leading_index(index: Any, leading: tuple[int, ...]) -> tuple[Any, ...]:
    """An index of leading dimensions only, with ... written out."""
    index = index if isinstance(index, tuple) else (index,)
    if sum(part is Ellipsis for part in index) == 1:
        at = next(n for n, part in enumerate(index) if part is Ellipsis)
        index = (*index[:at], *[slice(None)] * (len(leading) - len(index) + 1), *index[at + 1 :])
    if len(index) > len(leading):
        raise IndexError(
            f"only the {len(leading)} leading dimensions {leading} can be indexed, got {len(index)} indices: "
            "for weights ask rows, entries or tile"
        )
    return index


def positions(name: str, index: Tensor | Sequence[int], size: int, device: torch.device) -> Tensor:
    """An index of positions as integers from 0 up; IndexError outside of the size."""
    positions = torch.as_tensor(index, device=device)
    if positions.numel() == 0:
        positions = positions.long()
    if positions.ndim != 1 or positions.is_floating_point() or positions.dtype == torch.bool:
        raise ValueError(f"{name} must be a list of integers, got {positions.dtype} of shape {tuple(positions.shape)}")
    if len(positions) and not (-size <= int(positions.min()) and int(positions.max()) < size):
        raise IndexError(f"{name} must lie between {-size} and {size - 1}, got {positions.tolist()}")
    return positions.long() % size if len(positions) else positions


def pairs(
    i: Tensor | Sequence[int], j: Tensor | Sequence[int], queries: int, keys: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Queries and keys of as many pairs, checked as `positions`."""
    i, j = positions("i", i, queries, device), positions("j", j, keys, device)
    if len(i) != len(j):
        raise ValueError(f"i and j must be of one length, got {len(i)} and {len(j)}")
    return i, j


def members(name: str, groups: Tensor, size: int, like: Tensor) -> Tensor:
    """Which of ``size`` positions is in which group, 0 or 1, from the checked group of each: (size, groups)."""
    device = like.device
    labels = torch.as_tensor(groups, device=device)
    if labels.shape != (size,) or (size and (labels.is_floating_point() or labels.dtype == torch.bool)):
        raise ValueError(
            f"{name} must be ({size},) integers, one a position, got {labels.dtype} of shape {tuple(labels.shape)}"
        )
    if size and int(labels.min()) < 0:
        raise ValueError(f"{name} must be numbered from 0 up, got {int(labels.min())}")
    return (labels[:, None] == torch.arange(int(labels.max()) + 1 if size else 0, device=device)).to(like.dtype)


def k_of_keys(k: int, keys: int) -> None:
    """ValueError unless there are k keys to name; of no keys none can be named."""
    if not min(1, keys) <= k <= keys:
        raise ValueError(f"k must lie between {min(1, keys)} and the number of keys, {keys}, got {k}")


def one_of(name: str, value: str, names: Sequence[str]) -> None:
    """ValueError unless the value is one of these names."""
    if value not in names:
        raise ValueError(f"{name} must be one of {', '.join(names)}, got {value!r}")
