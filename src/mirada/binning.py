"""A picture of a matrix has fewer pixels than the matrix has entries: how rows and columns fall into bins.

Bin n of r over b − a positions begins at a + n (b − a) // r: no gap, no overlap, sizes that differ by one at most.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def check(
    rows: tuple[int, int], cols: tuple[int, int], bins: tuple[int, int], queries: int, keys: int
) -> tuple[int, int]:
    """The bins, where rectangle and bins fit a matrix of queries × keys; else a ValueError that says what doesn't."""
    for name, (start, stop), size in (("rows", rows, queries), ("cols", cols, keys)):
        if not 0 <= start < stop <= size and (start, stop, size) != (0, 0, 0):
            raise ValueError(f"{name} must be (first, last + 1) within 0 and {size}, got {(start, stop)}")
    for name, count, (start, stop) in zip(("rows", "cols"), bins, (rows, cols), strict=True):
        if not min(1, stop - start) <= count <= stop - start:
            raise ValueError(f"bins must lie between 1 and the {stop - start} {name} of the rectangle, got {count}")
    return bins


def at_most(bins: int, queries: int, keys: int) -> tuple[int, int]:
    """Bins in both directions, fewer where there are fewer queries or keys; ValueError for less than one."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    return min(bins, queries), min(bins, keys)


def of_positions(size: int, bins: int) -> Tensor:
    """The bin of each of ``size`` positions: (size,) integers."""
    starts = torch.arange(1, max(1, bins)) * size // max(1, bins)
    return torch.bucketize(torch.arange(size), starts, right=True)


def sizes(size: int, bins: int) -> Tensor:
    """How many of ``size`` positions fall into each bin: (bins,) integers."""
    return torch.bincount(of_positions(size, bins), minlength=bins)[:bins]


def chunks(bin_of_each: Tensor, width: int) -> Iterator[tuple[slice, Tensor]]:
    """Positions cut after every ``width`` bins: each chunk's positions, and which falls into which of its bins, 0 or 1.

    >>> for positions, indicator in chunks(of_positions(5, 3), width=2):  # bins of 1, 2 and 2
    ...     print(positions, indicator.tolist())
    slice(0, 3, None) [[1, 0], [0, 1], [0, 1]]
    slice(3, 5, None) [[1], [1]]
    """
    bins = int(bin_of_each[-1]) + 1
    for first in range(0, bins, width):
        last = min(first + width, bins)
        start, stop = torch.searchsorted(bin_of_each, torch.tensor([first, last])).tolist()
        yield slice(start, stop), torch.nn.functional.one_hot(bin_of_each[start:stop] - first, last - first)


def sum_columns(table: Tensor, bins: int) -> Tensor:
    """The sum over each bin of columns: (..., rows, columns) -> (..., rows, bins)."""
    columns = table.shape[-1]
    if columns == bins:
        return table
    if columns % bins == 0:
        return table.unflatten(-1, (bins, columns // bins)).sum(-1)
    return table.new_zeros(*table.shape[:-1], bins).index_add(-1, of_positions(columns, bins).to(table.device), table)


def mean_rows(table: Tensor, bins: int) -> Tensor:
    """The mean over each bin of rows: (..., rows, columns) -> (..., bins, columns)."""
    if table.shape[-2] == bins:
        return table
    return sum_columns(table.mT, bins).mT / sizes(table.shape[-2], bins)[:, None].to(table)
