"""What masks check of their arguments, and how they line up with a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Align = Literal["start", "end"]


def offset_of(align: Align | None, queries: int, keys: int, name: str) -> int:
    """Which key a query stands at: query i at key i + offset; ValueError where that is not said and not plain."""
    if align not in (None, "start", "end"):
        raise ValueError(f"align must be 'start' or 'end', got {align!r}")
    if align is None and queries != keys:
        raise ValueError(
            f"{name} over {queries} queries and {keys} keys needs align='start' (query 0 stands at key 0) or "
            "align='end' (the last query stands at the last key, as with a cache of earlier keys)"
        )
    return keys - queries if align == "end" else 0


def natural(name: str, value: int) -> None:
    """Refuses what is no whole number from 0 up."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} must be a whole number from 0 up, got {value!r}")


def integers(name: str, values: Tensor | Sequence[Any]) -> Tensor:
    """The values as a tensor of integers; TypeError for anything else."""
    tensor = torch.as_tensor(values)
    if tensor.numel() == 0:
        tensor = tensor.long()  # torch takes an empty list for floats
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must be integers, got {tensor.dtype}")
    return tensor


def batch_first(
    tensor: Tensor, leading: Sequence[int], trailing: int, name: str, device: torch.device | None
) -> Tensor:
    """(N, …) as (N, 1, …, 1, …), so that N stands at the matrix's first dimension."""
    batch = tensor.shape[0]
    if not leading or batch not in (1, leading[0]):
        raise ValueError(f"mask {name} is for a batch of {batch}, the matrix's leading dimensions are {tuple(leading)}")
    return tensor.to(device).reshape(batch, *[1] * (len(leading) - 1), *tensor.shape[tensor.ndim - trailing :])
