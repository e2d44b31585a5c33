"""Noisy squares, walked from corner to corner: given the first points, which come next?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor

CORNERS = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
"""The perfect square, (4, 2): each corner's x and y, in the order of a walk round."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Squares:
    """Walks round squares, each cut into what is given and what is to be predicted."""

    source: Tensor
    """(N, S, 2) float32: the points given; zeros after a walk's own length."""
    lengths: Tensor
    """(N,) int64: how many points of each source are real."""
    target: Tensor
    """(N, T, 2) float32: the next points, two unless asked otherwise."""
    clockwise: Tensor
    """(N,) bool: the direction of each walk."""


def generate(
    count: int,
    random: RandomState,
    *,
    source_length: int = 2,
    target_length: int = 2,
    variable_length: bool = False,
    noise: float = 0.1,
) -> Squares:
    """Draw walks round the square from a random corner in a random direction.

    Args:
        count: how many.
        random: gives every draw. NumPy keeps the numbers of this generator for good, so a seed means the same squares
            everywhere, and those of the original write-up: 256 are few, and what is learned from them depends on which.
        source_length: points of a source, S.
        target_length: points that follow it, T.
        variable_length: sources of 2 to 4 points, padded with zeros to 4 (S = 4), in place of always `source_length`.
        noise: standard deviation of what is added to each coordinate. A corner that is passed again, on a walk of more
            than 4 points, gets noise of its own.

    Which points are real is told by `lengths`. A mask read off the numbers ("no coordinate is zero") would hide
    every real point that happens to lie on an axis.

    >>> square = generate(1, RandomState(3), noise=0.0)
    >>> square.source.tolist(), square.target.tolist()
    ([[[-1.0, 1.0], [-1.0, -1.0]]], [[[1.0, -1.0], [1.0, 1.0]]])
    """
    longest = 4 if variable_length else source_length
    cut = random.randint(4, size=count)  # the square is cut open before this corner,
    lengths = random.randint(2, 5, size=count) if variable_length else np.full(count, longest)
    forth = random.randint(2, size=count)  # and walked forth or back from there
    first, step = np.where(forth, cut, cut + 3), 2 * forth - 1
    walk = (first[:, None] + step[:, None] * np.arange(longest + target_length)) % 4  # (N, S + T)
    points = CORNERS[torch.from_numpy(walk)] + noise * torch.from_numpy(random.randn(*walk.shape, 2))  # (N, S + T, 2)
    points, lengths = points.float(), torch.from_numpy(lengths).long()
    real = torch.arange(longest) < lengths[:, None]  # (N, S)
    following = lengths[:, None] + torch.arange(target_length)  # (N, T)
    return Squares(
        source=points[:, :longest].masked_fill(~real[..., None], 0.0),
        lengths=lengths,
        target=points[torch.arange(count)[:, None], following],
        clockwise=torch.from_numpy(forth).bool(),
    )
