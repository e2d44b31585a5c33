"""One number a head: the summaries by which researchers sort heads.

Each takes an ``AttentionMatrix`` (..., L, S), a record, or weights as a tensor or an array, and gives (...,), the
mean over the queries that attend to something; NaN where none does.

>>> import torch
>>> from mirada import AttentionMatrix, masks, summaries
>>> even = AttentionMatrix(torch.zeros(3, 1), torch.zeros(3, 1), masks.causal(3))
>>> summaries.sink(even)  # (1 + 1/2 + 1/3) / 3
tensor(0.6111)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mirada import masks
from mirada.masks.padding import Side
from mirada.matrix import Attention, as_attention

__all__ = [
    "diagonal",
    "distance",
    "duplicate_token",
    "effective_keys",
    "induction",
    "padding_share",
    "previous_token",
    "sink",
]


def sink(matrix: Any, tokens: int = 1) -> Tensor:
    """Share of the attention that goes to the first ``tokens`` keys: the sink (Xiao et al. 2024, section 3.1)."""
    matrix = as_attention(matrix)
    keys = matrix.shape[-1]
    if not 1 <= tokens <= max(1, keys):
        raise ValueError(f"tokens must lie between 1 and the number of keys, {keys}, got {tokens}")
    tokens = min(tokens, keys)
    queries = torch.arange(matrix.shape[-2], device=matrix.device)
    first = torch.arange(tokens, device=matrix.device)
    pairs = matrix.entries(queries.repeat_interleave(tokens), first.repeat(len(queries)))  # (..., L·tokens)
    return _mean(matrix, pairs.unflatten(-1, (len(queries), tokens)).sum(-1))


def diagonal(matrix: Any, offset: int) -> Tensor:
    """The weights of query i on key i + offset, for every i that has such a key: (..., n).

    ``offset`` −1 is the previous token, 0 the token itself, 1 the next.
    """
    matrix = as_attention(matrix)
    queries, keys = matrix.shape[-2:]
    first, last = max(0, -offset), min(queries, keys - offset)
    i = torch.arange(first, max(first, last), device=matrix.device)
    if not len(i) and queries and keys:
        raise ValueError(f"offset must reach a key from some query of a {queries} × {keys} matrix, got {offset}")
    return matrix.entries(i, i + offset)


def previous_token(matrix: Any) -> Tensor:
    """Mean weight on the token before one's own (Clark et al. 2019, section 3; Voita et al. 2019, positional heads).

    NaN for a single token, which has none before it.
    """
    matrix = as_attention(matrix)
    several = matrix.shape[-2] > 1
    return _mean(matrix, diagonal(matrix, -1) if several else matrix.entries([], []), skipped=1)


def duplicate_token(matrix: Any, ids: Tensor | Sequence[int]) -> Tensor:
    """Share of the attention that goes to earlier copies of one's own token (Wang et al. 2023, duplicate token heads).

    Args:
        matrix: (..., L, L).
        ids: (L,) or (N, L) integers, the tokens; N is the matrix's first dimension.
    """
    matrix = as_attention(matrix)
    length = _length(matrix, ids)
    earlier = masks.causal(length) & ~masks.sliding_window(0, 0)
    return _mean(matrix, matrix.mass(masks.documents(ids) & earlier))


def induction(matrix: Any, ids: Tensor | Sequence[int]) -> Tensor:
    """Share of the attention that goes to what followed earlier copies of one's own token (Olsson et al. 2022).

    Args:
        matrix: (..., L, L).
        ids: (L,) or (N, L) integers, the tokens; N is the matrix's first dimension.
    """
    matrix = as_attention(matrix)
    length = _length(matrix, ids)
    ids = torch.as_tensor(ids)
    before = torch.cat([ids[..., :1], ids[..., :-1]], -1)  # the token before each key
    has_one_before = torch.arange(length) > 0
    return _mean(matrix, matrix.mass(masks.documents(ids, before) & masks.causal(length) & has_one_before))


def distance(matrix: Any) -> Tensor:
    """Mean distance |i − j| between a query and what it attends to, in positions (Dosovitskiy et al. 2021, app. D.7).

    Needs as many queries as keys. What lies ahead is weighed once more, on the other side: Σ A |i − j| is
    Σ A (i − j) + 2 Σ_{j > i} A (j − i).
    """
    matrix = as_attention(matrix)
    length = matrix.shape[-1]
    if matrix.shape[-2] != length:
        raise ValueError(f"distance needs as many queries as keys, got a matrix of shape {tuple(matrix.shape)}")
    positions = torch.arange(length, device=matrix.device, dtype=torch.promote_types(matrix.dtype, torch.float32))
    both = torch.stack([positions, torch.ones_like(positions)], -1)  # (L, 2)
    precise, ahead = matrix.upcast(), ~masks.causal(length)
    mean, seen = (precise @ both).unbind(-1)
    mean_later, any_later = (precise.restrict(ahead) @ both).unbind(-1)
    behind = positions * seen - mean
    return _mean(matrix, behind + 2 * precise.mass(ahead) * (mean_later - positions * any_later))


def effective_keys(matrix: Any) -> Tensor:
    """Mean effective number of keys that a query attends to, exp of its entropy (Hill 1973, the number of order 1)."""
    matrix = as_attention(matrix)
    return _mean(matrix, matrix.entropy().exp())


def padding_share(matrix: Any, lengths: Tensor | Sequence[int], side: Side = "right") -> Tensor:
    """Share of the attention that goes to padding: 0 where the mask does its work.

    Args:
        matrix: (N, ..., L, S).
        lengths: (N,) integers, the real keys of each sequence.
        side: where the padding is, as ``masks.padding``.
    """
    matrix = as_attention(matrix)
    return _mean(matrix, matrix.mass(~masks.padding(lengths, matrix.shape[-1], side)))


def _mean(matrix: Attention, values: Tensor, skipped: int = 0) -> Tensor:
    """The mean of values (..., n), of n queries after the skipped ones, over those that attend to something; or NaN."""
    blind = matrix.logsumexp().detach()[..., skipped : skipped + values.shape[-1]] == -torch.inf
    wide = torch.promote_types(values.dtype, torch.float32)  # a sum over many queries overflows in half precision
    return (values.masked_fill(blind, 0.0).sum(-1, dtype=wide) / (~blind).sum(-1)).to(values.dtype)


def _length(matrix: Attention, ids: Tensor | Sequence[int]) -> int:
    queries, keys = matrix.shape[-2:]
    found = torch.as_tensor(ids).shape
    if queries != keys or not found or found[-1] != keys:
        raise ValueError(
            f"ids must name the {keys} tokens of a square matrix, got shape {tuple(found)} for {queries} × {keys}"
        )
    return keys
