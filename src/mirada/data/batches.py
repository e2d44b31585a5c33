"""Batches of tensors that lie in memory: the first dimension is the items, and an index tensor picks them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Generator, Tensor

Batch = tuple[Tensor, ...]

_AT_ONCE = 32  # batches


def shuffled(tensors: Batch, size: int, generator: Generator) -> Iterator[Batch]:
    """Every item once, in a random order; the last batch may be smaller.

    >>> generator = Generator().manual_seed(0)
    >>> [batch[0].tolist() for batch in shuffled((torch.arange(5),), 2, generator)]
    [[4, 0], [1, 3], [2]]
    """
    return _picked(tensors, torch.randperm(len(tensors[0]), generator=generator), size)


def with_replacement(tensors: Batch, size: int, steps: int, generator: Generator) -> Iterator[Batch]:
    """So many batches of items drawn independently: an item may come twice, or not at all."""
    return _picked(tensors, torch.randint(len(tensors[0]), (steps * size,), generator=generator), size)


def in_order(tensors: Batch, size: int) -> Iterator[Batch]:
    """Every item once, as they lie: for measuring.

    >>> [batch[0].tolist() for batch in in_order((torch.arange(5),), 2)]
    [[0, 1], [2, 3], [4]]
    """
    yield from zip(*(tensor.split(size) for tensor in tensors), strict=True)


def _picked(tensors: Batch, order: Tensor, size: int) -> Iterator[Batch]:
    """The items in this order. Fetching many batches at once takes half the time that one by one takes."""
    for index in order.split(_AT_ONCE * size):
        yield from in_order(tuple(tensor[index] for tensor in tensors), size)
