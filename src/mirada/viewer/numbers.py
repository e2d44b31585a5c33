"""What heads are compared by: numbers for each query, each key, and the head as a whole."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mirada import summaries
from mirada.viewer.rows import ByRows
from mirada.viewer.scene import Matrix


@dataclass(frozen=True, eq=False)
class Edges:
    """What is drawn along a map's edges."""

    entropy: Tensor
    """(H, L) in nats: 0 where a query attends to one key only."""
    received: Tensor
    """(H, S): the sum of each key's column."""


@dataclass(frozen=True, eq=False)
class Measures:
    """One number a head, (H,) each."""

    entropy: Tensor
    """Mean over queries, in nats."""
    sink: Tensor
    """Mean weight of the first key."""
    previous: Tensor
    """Mean weight of the key just before the query's own; 0 where there is none."""
    concentration: Tensor
    """How unevenly the keys are attended to: 0 all alike, 1 one key gets all."""


def edges(matrix: Matrix) -> Edges:
    """Along both edges, in two products."""
    return Edges(matrix.entropy().float(), matrix.received().float())


def of_heads(matrix: Matrix, known: Edges) -> Measures:
    """What heads are sorted and filtered by. A mean leaves out queries that attend to nothing; NaN where all do."""
    attends = matrix.logsumexp() != -torch.inf  # (H, L)
    if isinstance(matrix, ByRows):  # summaries take matrices of single tokens
        every = torch.arange(matrix.shape[-2])
        own = every[(every >= 1) & (every <= matrix.shape[-1])]
        sink = matrix.entries(every, torch.zeros_like(every)).sum(-1) / attends.sum(-1)
        previous = (
            matrix.entries(own, own - 1).sum(-1) / attends[..., own].sum(-1) if len(own) else torch.zeros_like(sink)
        )
        return Measures(known.entropy.sum(-1) / attends.sum(-1), sink, previous, _concentration(known.received))
    sink = summaries.sink(matrix).float()
    previous = summaries.previous_token(matrix).float() if matrix.shape[-2] > 1 else torch.zeros_like(sink)
    return Measures(known.entropy.sum(-1) / attends.sum(-1), sink, previous, _concentration(known.received))


def _concentration(received: Tensor) -> Tensor:
    """1 − the entropy of how attention is shared out among the keys, as a part of what it could be."""
    keys = received.shape[-1]
    if keys == 1:
        return torch.ones_like(received[..., 0])
    shares = received / received.sum(-1, keepdim=True).clamp_min(1e-30)
    entropy = -torch.special.xlogy(shares, shares).sum(-1)
    return 1 - entropy / torch.log(torch.tensor(float(keys)))
