"""Weights that are there already, asked as an attention matrix is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from mirada import binning, checks
from mirada.masks import Mask, as_mask

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DenseAttention"]


class Statistics(NamedTuple):
    """What ``statistics`` gives."""

    logsumexp: Tensor  # (..., L)
    entropy: Tensor  # (..., L), nats
    received: Tensor  # (..., S)
    map: Tensor  # (..., bins, bins), or as many as there are queries and keys


class DenseAttention:
    """Attention weights (..., L, S), such as ``output_attentions``, with an ``AttentionMatrix``'s questions.

    Args:
        weights: (..., L, S), floating; a NumPy array is taken as well. They are held as they are.

    A query whose weights are all 0 attends to nothing.

    Raises:
        ValueError: fewer than two dimensions, or no floating numbers.

    >>> import torch
    >>> A = DenseAttention(torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    >>> A.received()
    tensor([0.5000, 1.5000])
    >>> A.entropy()
    tensor([0.6931, 0.0000])
    """

    mask: Mask | None = None
    dims: tuple[str, ...] | None = None

    def __init__(self, weights: Tensor | np.ndarray) -> None:
        found = weights if isinstance(weights, Tensor) else torch.as_tensor(weights)
        if found.ndim < 2 or not found.is_floating_point():
            raise ValueError(
                f"weights must be a floating tensor (..., L, S), got {found.dtype} of shape {tuple(found.shape)}"
            )
        self.weights = found

    @property
    def shape(self) -> torch.Size:
        """(..., L, S)."""
        return self.weights.shape

    @property
    def dtype(self) -> torch.dtype:
        """The weights' dtype."""
        return self.weights.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.weights.device

    @property
    def T(self) -> Tensor:  # noqa: N802 - as torch.Tensor names it
        """The transpose, (..., S, L)."""
        return self.weights.mT

    def __repr__(self) -> str:
        return f"DenseAttention(shape={tuple(self.shape)}, dtype={self.dtype})"

    def __getitem__(self, index: Any) -> DenseAttention:
        """One head, one example, …: leading dimensions are indexed, the memory stays shared."""
        return DenseAttention(self.weights[checks.leading_index(index, tuple(self.shape[:-2]))])

    def __matmul__(self, value: Tensor) -> Tensor:
        """The context: value (..., S, Ev) -> (..., L, Ev)."""
        return self.weights @ value if isinstance(value, Tensor) else NotImplemented

    def to_dense(self) -> Tensor:
        """The weights, (..., L, S)."""
        return self.weights

    def upcast(self) -> DenseAttention:
        """The same in float32 at least."""
        return DenseAttention(self._fine())

    def rows(self, index: Any) -> Tensor:
        """The weights of chosen queries: (..., len(index), S)."""
        return self.weights[..., checks.positions("index", index, self.shape[-2], self.device), :]

    def entries(self, i: Any, j: Any) -> Tensor:
        """The weights of the pairs (i[n], j[n]): (..., n)."""
        queries, keys = self.shape[-2:]
        i, j = checks.pairs(i, j, queries, keys, self.device)
        return self.weights[..., i, j]

    def topk(self, k: int) -> tuple[Tensor, Tensor]:
        """The k strongest keys of each query: weights and indices, each (..., L, k), strongest first."""
        checks.k_of_keys(k, self.shape[-1])
        weights, indices = self.weights.topk(k, -1)
        return weights, indices

    def tile(self, rows: tuple[int, int], cols: tuple[int, int], bins: tuple[int, int]) -> Tensor:
        """A rectangle at any resolution, (..., r, s), as ``AttentionMatrix.tile``."""
        r, s = binning.check(rows, cols, bins, *self.shape[-2:])
        part = self.weights[..., slice(*rows), slice(*cols)]
        return binning.mean_rows(binning.sum_columns(part, s), r)

    def logsumexp(self) -> Tensor:
        """The log-normaliser of log A: log of each row's sum, (..., L); 0 where they sum to 1, −inf for nothing."""
        return self._fine().sum(-1).log()

    def entropy(self) -> Tensor:
        """Shannon entropy of each row in nats: (..., L), in float32 at least."""
        return torch.special.entr(self._fine()).sum(-1)

    def received(self) -> Tensor:
        """The attention that each key receives, its column's sum: (..., S)."""
        return self.weights.sum(-2)

    def statistics(self, bins: int = 64) -> Statistics:
        """Log-normalisers, entropy, attention received and a map of bins × bins."""
        queries, keys = self.shape[-2:]
        picture = self.tile((0, queries), (0, keys), binning.at_most(bins, queries, keys))
        return Statistics(self.logsumexp(), self.entropy(), self.received(), picture)

    def explain(self, question: str = "context", *_: Any, **__: Any) -> str:
        """How a question is answered, as ``AttentionMatrix.explain``: from the weights, whichever it is."""
        return "dense: the weights are there"

    def mass(self, mask: Mask | Tensor) -> Tensor:
        """How much of each query's attention goes where a boolean mask allows: (..., L)."""
        visible, bias = self._seen(mask)
        if bias is not None:
            raise TypeError("mask must be boolean: True where a query may attend")
        return self.weights.masked_fill(~visible, 0.0).sum(-1)

    def restrict(self, mask: Mask | Tensor) -> DenseAttention:
        """The attention to those keys only, renormalised; a floating mask is added to the logarithms."""
        visible, bias = self._seen(mask)
        weights = self.weights.masked_fill(~visible, 0.0)
        if bias is not None:
            largest = bias.masked_fill(~visible, -torch.inf).amax(-1, keepdim=True)
            shifted = (bias - largest.masked_fill(~torch.isfinite(largest), 0.0)).masked_fill(~visible, -torch.inf)
            weights = weights * shifted.exp().to(weights.dtype)
        total = weights.sum(-1, keepdim=True)
        return DenseAttention(weights / total.masked_fill(total == 0, 1.0))

    def group_mass(self, groups: Tensor) -> Tensor:
        """How much of each query's attention goes to each group of keys: (..., L, groups)."""
        return self.weights @ checks.members("groups", groups, self.shape[-1], self.weights)

    def merge(self, queries: Tensor, keys: Tensor) -> DenseAttention:
        """Groups of queries and keys in place of each of them, as ``AttentionMatrix.merge``."""
        return merged(self.group_mass(keys), queries)

    def _fine(self) -> Tensor:
        return self.weights.to(torch.promote_types(self.dtype, torch.float32))

    def _seen(self, mask: Mask | Tensor) -> tuple[Tensor, Tensor | None]:
        rule = as_mask(mask)
        if rule is None:
            raise TypeError("mask must be a mask or a tensor, True where a query may attend, got None")
        queries, keys = self.shape[-2:]
        return rule.materialise(tuple(self.shape[:-2]), queries, keys, self.device)


def merged(mass: Tensor, queries: Tensor) -> DenseAttention:
    """The mean of the rows (..., L, groups) over each group of queries; an empty group attends to nothing."""
    members = checks.members("queries", queries, mass.shape[-2], mass)  # (L, groups)
    return DenseAttention(members.mT @ mass / members.sum(0).clamp_min(1.0)[:, None])
