"""Learned queries ask a source."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mirada.masks import Mask
from mirada.matrix import attention
from mirada.nn.arguments import expect, positive
from mirada.nn.memory import Memory
from mirada.nn.projections import remember


class QueryAttention(nn.Module):
    """A few learned queries ask the same questions of every source, and so sum a sequence up in a fixed size.

    Attention pooling, with queries that are parameters (Lee et al. 2019, "Set Transformer", section 3.2; the word
    context vector of Yang et al. 2016, section 2.2, is the case of one query).

    Args:
        embed_dim: features E of a position of the source, of keys and of queries.
        queries: how many questions Q.
        value_dim: features Ev of a value and of the context; E if left out.

    Shapes:
        source (..., S, E), floating; context (..., Q, Ev); weights (..., Q, S).

    Raises:
        ValueError: `source` has not E features, or the mask does not fit.

    >>> layer = QueryAttention(8, queries=3, value_dim=2)
    >>> context, weights = layer(torch.randn(4, 5, 8), need_weights=True)
    >>> context.shape, weights.shape
    (torch.Size([4, 3, 2]), torch.Size([4, 3, 5]))
    """

    def __init__(self, embed_dim: int, *, queries: int = 1, value_dim: int | None = None) -> None:
        super().__init__()
        value_dim = embed_dim if value_dim is None else value_dim
        positive(embed_dim=embed_dim, queries=queries, value_dim=value_dim)
        self.embed_dim = embed_dim
        self.query = nn.Parameter(torch.randn(queries, embed_dim))
        self.key = nn.Linear(embed_dim, embed_dim)
        self.value = nn.Linear(embed_dim, value_dim)

    def remember(self, source: Tensor) -> Memory:
        """The source's keys (..., S, E) and values (..., S, Ev)."""
        expect("source", source, self.embed_dim)
        return remember(self.key, self.value, source, source)

    def forward(
        self, source: Tensor, mask: Mask | Tensor | None = None, *, need_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The answer to every question, and with `need_weights` where it was found."""
        memory = self.remember(source)
        query = self.query.expand(*source.shape[:-2], -1, -1)  # (..., Q, E)
        return attention(query, memory.key, memory.value, mask, need_weights=need_weights)
