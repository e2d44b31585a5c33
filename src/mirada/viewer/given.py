"""Weights that somebody else has formed: they answer the view's questions as an attention matrix does."""

from __future__ import annotations

import torch
from torch import Tensor

from mirada import binning


class GivenWeights:
    """Weights (..., L, S), held as they are.

    >>> given = GivenWeights(torch.tensor([[[0.5, 0.5], [0.0, 1.0]]]))
    >>> given.received()
    tensor([[0.5000, 1.5000]])
    """

    def __init__(self, weights: Tensor) -> None:
        self.weights = weights
        self.shape = weights.shape
        self.device = weights.device

    def __getitem__(self, index: int | tuple[int, ...]) -> GivenWeights:
        return GivenWeights(self.weights[index])

    def rows(self, index: Tensor) -> Tensor:
        """(..., len(index), S)."""
        return self.weights[..., index, :]

    def entries(self, i: Tensor, j: Tensor) -> Tensor:
        """(..., n)."""
        return self.weights[..., i, j]

    def tile(self, rows: tuple[int, int], cols: tuple[int, int], bins: tuple[int, int]) -> Tensor:
        """(..., r, s), as `AttentionMatrix.tile`."""
        r, s = binning.check(rows, cols, bins, *self.shape[-2:])
        part = self.weights[..., slice(*rows), slice(*cols)]
        return binning.mean_rows(binning.sum_columns(part, s), r)

    def entropy(self) -> Tensor:
        """(..., L), in nats."""
        return -torch.special.xlogy(self.weights, self.weights).sum(-1)

    def received(self) -> Tensor:
        """(..., S)."""
        return self.weights.sum(-2)
