"""Ranges (start, stop) of queries or keys; (0, 0) is the empty one."""

from __future__ import annotations

import torch
from torch import Tensor


def clamp(position: int, size: int) -> int:
    """The position within 0 … size that is nearest."""
    return max(0, min(position, size))


def overlap(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """What is in both."""
    start, stop = max(one[0], other[0]), min(one[1], other[1])
    return (start, stop) if start < stop else (0, 0)


def hull(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """The least range that holds both."""
    if one[0] >= one[1] or other[0] >= other[1]:
        return other if one[0] >= one[1] else one
    return min(one[0], other[0]), max(one[1], other[1])


def where_any(ids: Tensor, wanted: Tensor) -> tuple[int, int]:
    """The range of positions that hold every one of ``ids`` that is wanted, in any batch."""
    present = torch.isin(ids.contiguous(), wanted.contiguous()).reshape(-1, ids.shape[-1]).any(0).nonzero()
    return (int(present[0]), int(present[-1]) + 1) if len(present) else (0, 0)
