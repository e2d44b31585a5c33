"""Heads that share their keys and values are nothing but more queries: (..., H, L, E) is computed as (..., L·H, E).

One large product in place of H small ones. Only without a mask: which keys a query attends to may depend on its place.
"""

from __future__ import annotations

from torch import Tensor


def takes(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether all heads share one key and value, and the queries lie head beside head in memory: nothing is copied."""
    q, k, v = query.shape, key.shape, value.shape
    return (
        len(q) == len(k) == len(v) > 2
        and k[-3] == v[-3] == 1 < q[-3]
        and q[:-3] == k[:-3] == v[:-3]
        and query.transpose(-3, -2).is_contiguous()
    )


def together(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (..., L·H, E), key (..., S, E) and value (..., S, Ev)."""
    return query.transpose(-3, -2).flatten(-3, -2), key.squeeze(-3), value.squeeze(-3)


def apart(x: Tensor, heads: int) -> Tensor:
    """Context or weights (..., L·H, Ev or S) by heads again: (..., H, L, Ev or S)."""
    return x.unflatten(-2, (-1, heads)).transpose(-3, -2)
