"""Weighted mean and variance of a stream, merged exactly (Chan, Golub and LeVeque 1979).

>>> import torch
>>> parts = Moments.of(torch.tensor([1.0, 2.0])).merge(Moments.of(torch.tensor([6.0])))
>>> float(parts.mean)
3.0
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Moments:
    """Total weight, mean and weighted sum of squared deviations, each (...,) in float64."""

    weight: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, values: Tensor, weights: Tensor | None = None) -> Moments:
        """Moments of ``values`` (N, ...) over N; ``weights`` broadcasts to it. A weight of 0 counts for nothing."""
        values = values.double()
        weights = torch.ones_like(values) if weights is None else weights.double().expand_as(values)
        values = values.where(weights > 0, 0.0)
        total = weights.sum(0)
        mean = (weights * values).sum(0) / total.where(total > 0, 1.0)
        return cls(total, mean, (weights * (values - mean).square()).sum(0))

    def merge(self, other: Moments) -> Moments:
        """The moments of both parts together."""
        total = self.weight + other.weight
        share = other.weight / total.where(total > 0, 1.0)
        apart = other.mean - self.mean
        squares = self.squares + other.squares + apart.square() * self.weight * share
        return Moments(total, self.mean + apart * share, squares)

    def joined(self) -> Moments:
        """The moments (N, ...) of N parts, together: (...)."""
        whole = Moments.of(self.mean, self.weight)
        return Moments(whole.weight, whole.mean, whole.squares + self.squares.sum(0))
