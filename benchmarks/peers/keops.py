"""Attention as a formula that KeOps compiles: like mirada's it never builds the matrix."""

from __future__ import annotations

from pykeops.torch import LazyTensor
from torch import Tensor


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(..., L, E), (..., S, E), (..., S, Ev) to (..., L, Ev)."""
    asking, asked, answer = LazyTensor(query[..., None, :]), LazyTensor(key[..., None, :, :]), value[..., None, :, :]
    scores = (asking * asked).sum(-1) * query.shape[-1] ** -0.5
    return scores.sumsoftmaxweight(LazyTensor(answer), dim=query.ndim - 1)
