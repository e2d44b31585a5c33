"""Attention × gradient: which attention a score depends on (Chefer, Gur & Wolf 2021).

With O = A V, the gradient of a score for one weight is ∂score/∂A_ij = (∂score/∂O)_i · V_j. So the gradient for all
weights is held as two thin tensors, and multiplied with the weights band by band.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mirada.kernels import chunked
from mirada.watching.records import AttentionRecord


class Relevance:
    """mean over heads of (∂score/∂A ∘ A)⁺ (Chefer et al. 2021, equation 5), held as Q, K, V and ∂score/∂O.

    Behaves as (..., L, S): asked for products, never built whole.
    """

    def __init__(self, record: AttentionRecord, gradient: Tensor) -> None:
        call = record.call
        if "unknown" in record.dims and "heads" not in record.dims:
            raise ValueError(
                f"relevance is a mean over heads, and which dimension of the attention of {record.name!r}, of shape "
                f"{tuple(record.shape)}, counts heads is not known: give its module an attribute num_heads"
            )
        with torch.no_grad():
            self._matrix = call.matrix()
            values = call.values().detach()
        self._gradient = gradient.reshape(*call.query.shape[:-1], -1)  # (..., heads, L, Ev)
        self._value = values.expand(*self._matrix.shape[:-2], *values.shape[-2:])
        self._heads = record.dims.index("heads") - len(record.dims) - 2 if "heads" in record.dims else None

    @property
    def shape(self) -> torch.Size:
        """(..., L, S), heads averaged."""
        sizes = list(self._matrix.shape)
        if self._heads is not None:
            del sizes[self._heads]
        return torch.Size(sizes)

    def __matmul__(self, x: Tensor) -> Tensor:
        """The product with x (..., S, m): (..., L, m)."""
        return torch.cat([band @ x[..., columns, :] for _, columns, band in self._bands()], -2)

    def transposed(self, x: Tensor) -> Tensor:
        """The transpose's product with x (..., L, m): (..., S, m)."""
        total = x.new_zeros(*self.shape[:-2], self.shape[-1], x.shape[-1])
        for rows, columns, band in self._bands():
            total[..., columns, :] += band.mT @ x[..., rows, :]
        return total

    def received(self) -> Tensor:
        """What each key receives in all: (..., S)."""
        return self.transposed(self._gradient.new_ones(*self.shape[:-2], self.shape[-2], 1))[..., 0]

    def rows(self, index: Tensor | Sequence[int]) -> Tensor:
        """Chosen queries, whole: (..., len(index), S)."""
        index = torch.as_tensor(index)
        with torch.no_grad():
            weights = self._matrix.rows(index)
        return self._joined(weights, self._gradient[..., index, :], self._value)

    def _bands(self) -> Iterator[tuple[slice, slice, Tensor]]:
        with torch.no_grad():
            scores, known = self._matrix._scores.upcast(), self._matrix._normalisers()
            for (_, _, rows, columns), weights in chunked.weights(scores, known, together=True):
                yield rows, columns, self._joined(weights, self._gradient[..., rows, :], self._value[..., columns, :])

    def _joined(self, weights: Tensor, gradient: Tensor, value: Tensor) -> Tensor:
        gradient, value = gradient.to(weights.dtype), value.to(weights.dtype)
        positive = (weights * (gradient @ value.mT)).clamp_(min=0.0)
        return positive if self._heads is None else positive.mean(self._heads)


def relevances(records: Sequence[AttentionRecord], score: Tensor) -> list[Relevance]:
    """The relevance of each call for a score, from one backward pass that leaves the graph as it was."""
    gradients = context_gradients(records, score)
    return [Relevance(record, gradient) for record, gradient in zip(records, gradients, strict=True)]


def context_gradients(records: Sequence[AttentionRecord], score: Tensor) -> list[Tensor]:
    """∂score/∂context of each call, shaped as its context, from one backward pass that leaves the graph as it was."""
    if not isinstance(score, Tensor) or score.numel() != 1 or not score.requires_grad:
        raise ValueError(
            "score must be a single number with a graph: a logit that the watched model computed with gradients on"
        )
    for record in records:
        if record.context is None:
            raise ValueError(
                f"the context of {record.name!r} has no graph: watch a forward with gradients on, keep='inputs', "
                "all heads, and without reentrant checkpointing"
            )
    contexts = [record.context for record in records if record.context is not None]
    gradients = torch.autograd.grad(score.reshape(()), contexts, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(context) if gradient is None else gradient
        for context, gradient in zip(contexts, gradients, strict=True)
    ]


def through_layers(records: Sequence[AttentionRecord], score: Tensor, position: int) -> Tensor:
    """R = (1 + Ā_n) … (1 + Ā_1), one row of it: (..., S). A vector goes through the layers; no matrix is formed."""
    layers = [record for record in records if record.shape[-2] == record.shape[-1]]
    if len(layers) < len(records) or len({layer.shape[-1] for layer in layers}) != 1:
        raise ValueError(
            "relevance through layers is for self-attention over one sequence; these calls have shapes "
            f"{sorted({tuple(record.shape[-2:]) for record in records})}: choose with layers=, "
            "or ask records[...].relevance(score) of each"
        )
    found = relevances(layers, score)
    length = layers[0].shape[-1]
    if not -length <= position < length:
        raise IndexError(f"position must lie between {-length} and {length - 1}, got {position}")
    row = torch.zeros(*found[0].shape[:-2], length, 1, dtype=score.dtype, device=score.device)
    row[..., position, 0] = 1.0
    for layer in reversed(found):
        row = row + layer.transposed(row)
    return row[..., 0]
