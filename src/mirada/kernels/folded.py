"""Heads that share their keys and values are nothing but more queries: (..., H, L, E) is computed as (..., L·H, E).

One large product in place of H small ones. Only without a mask: which keys a query attends to may depend on its place.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from mirada.kernels.problem import Problem


def refuses(problem: Problem) -> str | None:
    """Unless all heads share one key and value, and the queries lie head beside head in memory: nothing is copied."""
    if problem.given is None:
        return "the heads have been repeated"
    if problem.scores.mask is not None:
        return "the mask tells queries apart"
    query, key, value = problem.given
    q, k, v = query.shape, key.shape, value.shape
    shared = len(q) == len(k) == len(v) > 2 and k[-3] == v[-3] == 1 < q[-3] and q[:-3] == k[:-3] == v[:-3]
    if not shared:
        return "the heads have keys or values of their own"
    return None if query.transpose(-3, -2).is_contiguous() else "the queries lie head after head in memory"


def together(problem: Problem) -> Problem:
    """The same of queries (..., L·H, E), key (..., S, E) and value (..., S, Ev)."""
    assert problem.given is not None
    query, key, value = problem.given
    query, key = query.transpose(-3, -2).flatten(-3, -2), key.squeeze(-3)
    return replace(problem, scores=replace(problem.scores, query=query, key=key), value=value.squeeze(-3), given=None)


def apart(x: Tensor, problem: Problem) -> Tensor:
    """Context or weights (..., L·H, Ev or S) by heads again: (..., H, L, Ev or S)."""
    return x.unflatten(-2, (-1, problem.scores.leading[-1])).transpose(-3, -2)
