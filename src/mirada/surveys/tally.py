"""What is kept of one summary: sums that add up over texts, batches and processes, however these were cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from mirada.surveys.bins import histogram
from mirada.surveys.moments import Moments

_NOTHING = {"least": torch.inf, "most": -torch.inf}  # of no text; all else is 0


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums of one summary, each (layers, heads, ...), in float64. Numbers of layers and heads come first."""

    weight: Tensor
    """Queries that were counted."""
    mean: Tensor
    squares: Tensor
    """Σ (value − mean)² over queries."""
    texts: Tensor
    """Texts that were counted."""
    weight_of_texts: Tensor
    """Σ n² over texts of n queries: with the next two, what the standard error of a mean over texts is made of."""
    mean_of_texts: Tensor
    squares_of_texts: Tensor
    least: Tensor
    most: Tensor
    histogram: Tensor
    """(layers, heads, bins); no bins for a curve."""

    @classmethod
    def of(cls, values: Tensor, weights: Tensor, edges: Tensor | None = None) -> Tally:
        """The sums of one layer of a batch.

        Args:
            values: (texts, heads, n, ...): n values a text, of queries, or the one of the text.
            weights: broadcasts to (texts, heads, n): how much each counts, 0 for nothing.
            edges: of the histogram's bins; none for a curve.
        """
        extra = values.ndim - 3
        weights = weights.double().expand(values.shape[:3])
        wide = weights[(..., *[None] * extra)].expand_as(values)
        each = Moments.of(values.movedim(2, 0), wide.movedim(2, 0))  # (texts, heads, ...)
        queries, clusters = each.joined(), Moments.of(each.mean, each.weight.square())
        counted = wide > 0
        if edges is None:
            bins = values.new_zeros(values.shape[1], 0, dtype=torch.float64)
        else:
            bins = histogram(values.transpose(0, 1).flatten(1), weights.transpose(0, 1).flatten(1), edges)
        return cls(
            queries.weight,
            queries.mean,
            queries.squares,
            (each.weight > 0).double().sum(0),
            clusters.weight,
            clusters.mean,
            clusters.squares,
            _over_values(values.double().where(counted, torch.inf), torch.amin),
            _over_values(values.double().where(counted, -torch.inf), torch.amax),
            bins,
        )

    @classmethod
    def stacked(cls, rows: Sequence[Tally], first: int, heads: int) -> Tally:
        """The layers' sums as one, at their place among so many heads; heads that are not there count nothing."""

        def filled(tensor: Tensor, name: str) -> Tensor:
            around = (first, heads - first - len(tensor))
            return functional.pad(tensor, (*[0, 0] * (tensor.ndim - 1), *around), value=_NOTHING.get(name, 0.0))

        return cls(*(torch.stack([filled(getattr(row, one.name), one.name) for row in rows]) for one in fields(cls)))

    @classmethod
    def nothing(cls, layers: int, heads: int, curve: int, bins: int) -> Tally:
        """The sums of no text: of a curve of so many bins (0: of a number), and a histogram of so many."""
        shape = (layers, heads, curve) if curve else (layers, heads)
        sizes = {"histogram": (layers, heads, bins)}
        return cls(
            *(
                torch.full(sizes.get(one.name, shape), _NOTHING.get(one.name, 0.0), dtype=torch.float64)
                for one in fields(cls)
            )
        )

    @property
    def queries(self) -> Moments:
        """Over queries."""
        return Moments(self.weight, self.mean, self.squares)

    @property
    def clusters(self) -> Moments:
        """Over the means of texts, weighted with their number of queries squared."""
        return Moments(self.weight_of_texts, self.mean_of_texts, self.squares_of_texts)

    def merge(self, other: Tally) -> Tally:
        """Both together."""
        queries, clusters = self.queries.merge(other.queries), self.clusters.merge(other.clusters)
        return Tally(
            queries.weight,
            queries.mean,
            queries.squares,
            self.texts + other.texts,
            clusters.weight,
            clusters.mean,
            clusters.squares,
            torch.minimum(self.least, other.least),
            torch.maximum(self.most, other.most),
            self.histogram + other.histogram,
        )

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def standard_error(self) -> Tensor:
        """Of the mean, over texts as clusters of queries: √(Σ n² (x − m)² · T / (T − 1)) / Σ n (Cochran 1977, 6.13).

        n queries of a text have mean x, all queries mean m; T texts. NaN for fewer than two.
        """
        clusters, count = self.clusters, self.texts
        spread = clusters.squares + clusters.weight * (clusters.mean - self.mean).square()
        return (spread * count / (count - 1)).sqrt() / self.weight


def _over_values(values: Tensor, reduce: Callable[..., Tensor]) -> Tensor:
    """Over texts and queries of (texts, heads, n, ...): (heads, ...)."""
    return reduce(values, (0, 2))
