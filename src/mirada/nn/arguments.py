"""What a layer asks of its arguments."""

from __future__ import annotations

from torch import Tensor


def positive(**sizes: int) -> None:
    """Refuse sizes that are not whole numbers from 1 up, by their names."""
    for argument, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{argument} must be a whole number from 1 up, got {size!r}")


def expect(argument: str, tensor: Tensor, features: int, *, rank: int | None = None) -> None:
    """Say by name which argument has not the shape (..., length, features); at rank 3, (N, length, features).

    >>> import torch
    >>> expect("query", torch.zeros(2, 5, 7), 8)
    Traceback (most recent call last):
    ValueError: query must have shape (..., length, 8), got (2, 5, 7): the layer was made for 8 features
    """
    if tensor.ndim < 2 or tensor.ndim != (rank or tensor.ndim) or tensor.shape[-1] != features:
        leading = "..." if rank is None else "N"
        raise ValueError(
            f"{argument} must have shape ({leading}, length, {features}), got {tuple(tensor.shape)}: "
            f"the layer was made for {features} features"
        )
