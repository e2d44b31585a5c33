"""Queries ask a source: a decoder its encoder."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mirada import masks
from mirada.kernels import reference
from mirada.kernels.scores import hide
from mirada.masks import Mask
from mirada.matrix import attention
from mirada.nn.arguments import expect, positive
from mirada.nn.memory import Memory
from mirada.nn.projections import remember

Score = Literal["dot", "general", "additive"]


class CrossAttention(nn.Module):
    """One head that asks a source, under one of three scores of a query q and a position k of the source.

    - ``"dot"``: `(Wq q + bq) · (Wk k + bk) / √E`, scaled dot product (Vaswani et al. 2017, equation 1).
    - ``"general"``: `q · W k`, not scaled (Luong et al. 2015, section 3.1).
    - ``"additive"``: `v · tanh(Wq q + Wk k + b)` (Bahdanau et al. 2015, appendix A.1.2). No product of two matrices
      gives this score, so no fused kernel does either: it forms (..., L, S, E) numbers, E times the weights
      themselves. Meant for the short sequences it was made for.

    The source is projected once and passed along: ``memory = layer.remember(source)``, then ``layer(query, memory)``
    as often as there are steps to decode.

    Args:
        embed_dim: features E of a query, and of keys and context.
        source_dim: features of a position of the source; E if left out.
        query_dim: features of what is made a query; E if left out. "general" has no projection of its own for it, so
            there it is E.
        score: one of the three.
        project_values: whether values are projected too. If not, the source itself is averaged: the context then
            has `source_dim` features.

    Shapes:
        query (..., L, query_dim), source (..., S, source_dim); context (..., L, E or source_dim); weights (..., L, S).

    Raises:
        ValueError: an unknown score, features that are not the layer's, or a mask that does not fit.

    >>> layer = CrossAttention(8, source_dim=6, score="additive")
    >>> memory = layer.remember(torch.randn(2, 5, 6))
    >>> context, weights = layer(torch.randn(2, 1, 8), memory, need_weights=True)
    >>> context.shape, weights.shape
    (torch.Size([2, 1, 8]), torch.Size([2, 1, 5]))
    """

    def __init__(
        self,
        embed_dim: int,
        source_dim: int | None = None,
        *,
        query_dim: int | None = None,
        score: Score = "dot",
        project_values: bool = True,
    ) -> None:
        super().__init__()
        source_dim = embed_dim if source_dim is None else source_dim
        query_dim = embed_dim if query_dim is None else query_dim
        positive(embed_dim=embed_dim, source_dim=source_dim, query_dim=query_dim)
        if score not in get_args(Score):
            raise ValueError(f"score must be one of {', '.join(map(repr, get_args(Score)))}, got {score!r}")
        if score == "general" and query_dim != embed_dim:
            raise ValueError(
                f"query_dim={query_dim}: score='general' projects no query, so it must be embed_dim={embed_dim}"
            )
        self.embed_dim, self.source_dim, self.query_dim, self.score = embed_dim, source_dim, query_dim, score
        self.query = nn.Identity() if score == "general" else nn.Linear(query_dim, embed_dim, bias=score == "dot")
        self.key = nn.Linear(source_dim, embed_dim, bias=score != "general")
        # Drawn even where it is not kept, so that a seed gives the same layers behind this one either way.
        value = nn.Linear(source_dim, embed_dim)
        self.value = value if project_values else nn.Identity()
        if score == "additive":
            self.energy = nn.Linear(embed_dim, 1, bias=False)

    def remember(self, source: Tensor) -> Memory:
        """The source's keys and values: made once, asked at every step."""
        expect("source", source, self.source_dim)
        return remember(self.key, self.value, source, source)

    def forward(
        self, query: Tensor, memory: Memory, mask: Mask | Tensor | None = None, *, need_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The context of every query, and with `need_weights` the weights."""
        expect("query", query, self.query_dim)
        query = self.query(query)  # (..., L, E)
        if self.score == "additive":
            weights = self._additive_weights(query, memory.key, mask)  # (..., L, S)
            context = reference.context(weights, memory.value)  # (..., L, E)
            return (context, weights) if need_weights else context
        scale = 1.0 if self.score == "general" else None
        return attention(query, memory.key, memory.value, mask, scale=scale, need_weights=need_weights)

    def _additive_weights(self, query: Tensor, key: Tensor, mask: Mask | Tensor | None) -> Tensor:
        mixed = torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))  # (..., L, S, E)
        scores = self.energy(mixed).squeeze(-1)  # (..., L, S)
        rule = masks.as_mask(mask)
        if rule is not None:
            visible, bias = rule.materialise(scores.shape[:-2], scores.shape[-2], scores.shape[-1], scores.device)
            scores = hide(scores, visible, bias)
        return reference.softmax(scores)
