"""How much each head counts for a score: the gradient of its gate (Michel, Levy & Neubig 2019, section 4.1).

A gate multiplies a head's context O and stands at 1. Its gradient is ∂score/∂gate = Σ O ∘ ∂score/∂O, so that one
backward pass gives it for the heads of all layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mirada.watching.records import AttentionRecord
from mirada.watching.relevance import context_gradients


def importance(records: Sequence[AttentionRecord], score: Tensor) -> Tensor:
    """|∂score/∂gate| of each head, summed over the examples: (calls, heads)."""
    if not records:
        raise ValueError("importance needs at least one attention call")
    rows = [gates.abs().sum(0) for gates in gradients_of_gates(records, score)]
    counts = [len(row) for row in rows]
    if len(set(counts)) > 1:
        raise ValueError(f"importance: the layers have different numbers of heads, {counts}: choose some with layers=")
    return torch.stack(rows)


def gradients_of_gates(records: Sequence[AttentionRecord], score: Tensor) -> list[Tensor]:
    """∂score/∂gate of each head and example: (examples, heads) for each call."""
    return [_of_gates(*each) for each in zip(records, context_gradients(records, score), strict=True)]


def _of_gates(record: AttentionRecord, gradient: Tensor) -> Tensor:
    context = record.context
    assert context is not None
    product = context.detach().to(torch.promote_types(context.dtype, torch.float32)) * gradient
    *leading, queries, _ = record.shape  # the context itself may be folded: heads into the batch or into queries
    per_query = product.reshape(-1, leading[-1] if leading else 1, queries, product.shape[-1])
    return per_query.sum((-2, -1))
