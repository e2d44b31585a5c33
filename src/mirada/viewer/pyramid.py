"""A matrix seen from further and further away: cells of 2ⁿ × 2ⁿ tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from mirada.dense import DenseAttention
from mirada.viewer.scene import Matrix

_BAND = 2048  # queries at a time, so that memory stays small at any length
_ONE_PRODUCT = 64  # so few cells across are one product with the whole matrix, and need no normalisers


def cells(size: int, cell: int) -> int:
    """How many cells of ``cell`` tokens cover ``size`` tokens; the last may be smaller."""
    return -(-size // cell)


def finest(queries: int, keys: int, cells_a_side: int) -> int:
    """The smallest cell, a power of two, of which at most ``cells_a_side`` cover each side."""
    cell = 1
    while max(cells(queries, cell), cells(keys, cell)) > cells_a_side:
        cell *= 2
    return cell


class CancelledError(Exception):
    """The result is not wanted any more."""


def level(matrix: Matrix, cell: int, cancelled: Callable[[], bool] = lambda: False) -> Tensor:
    """The whole matrix in cells: sums over each cell's keys, means over its queries, (..., L / cell, S / cell).

    The same numbers as `tile` gives; a last cell that is cut short holds what there is.

    Raises:
        CancelledError: `cancelled` said so on the way.
    """
    queries, keys = matrix.shape[-2:]
    band = queries if cells(keys, cell) <= _ONE_PRODUCT else max(_BAND // cell, 1) * cell
    bands = []
    for start in range(0, queries, band):
        if cancelled():
            raise CancelledError
        bands.append(_band(matrix, cell, start, min(start + band, queries)))
    return torch.cat(bands, -2)


def _band(matrix: Matrix, cell: int, start: int, stop: int) -> Tensor:
    """Some rows of a level; where a mask hides whole columns from them, nothing is computed."""
    keys = matrix.shape[-1]
    mask = None if isinstance(matrix, DenseAttention) or stop - start == matrix.shape[-2] else matrix.mask
    first, after = (0, keys) if mask is None else mask.keys_seen(start, stop, keys)
    if first >= after:
        return torch.zeros(*matrix.shape[:-2], cells(stop - start, cell), cells(keys, cell))
    first, after = first // cell * cell, min(cells(after, cell) * cell, keys)
    records = part(matrix, cell, (start, stop), (first, after))
    return functional.pad(records, (first // cell, cells(keys, cell) - cells(after, cell)))


def coarser(level: Tensor, queries: int, cell: int) -> Tensor:
    """The next level, from one whose cells hold ``cell`` of ``queries`` queries each."""
    rows = level.shape[-2]
    counts = torch.full((rows,), float(cell), device=level.device)
    counts[-1] = queries - (rows - 1) * cell
    padded = functional.pad(level * counts[:, None], (0, level.shape[-1] % 2, 0, rows % 2))
    sums = padded.unflatten(-2, (-1, 2)).sum(-2).unflatten(-1, (-1, 2)).sum(-1)
    shares = functional.pad(counts, (0, rows % 2)).unflatten(0, (-1, 2)).sum(-1)
    return sums / shares[:, None]


def levels(matrix: Matrix, cell: int, cancelled: Callable[[], bool] = lambda: False) -> dict[int, Tensor]:
    """The level of ``cell`` tokens and all coarser ones, by their cells; the last is a single cell."""
    found = {cell: level(matrix, cell, cancelled)}
    while max(found[cell].shape[-2:]) > 1:
        found[2 * cell] = coarser(found[cell], matrix.shape[-2], cell)
        cell *= 2
    return found


def part(matrix: Matrix, cell: int, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """A rectangle that begins at whole cells, in cells."""
    # Whole cells and the ragged rest apart: `tile` would spread unequal cells over all of a rectangle.
    bands = []
    for band in _whole_and_rest(*rows, cell):
        across = [
            matrix.tile(band, part, (cells(band[1] - band[0], cell), cells(part[1] - part[0], cell)))
            for part in _whole_and_rest(*columns, cell)
        ]
        bands.append(torch.cat(across, -1))
    return torch.cat(bands, -2).float()


def _whole_and_rest(start: int, stop: int, cell: int) -> list[tuple[int, int]]:
    middle = stop - (stop - start) % cell
    return [(a, b) for a, b in ((start, middle), (middle, stop)) if a < b]
