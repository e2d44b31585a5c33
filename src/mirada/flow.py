"""Attention through all layers, for chosen outputs, without any L × L array."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from mirada import checks
from mirada.matrix import Attention, as_attention

_LIMIT = 1 << 30  # bytes


def rollout(
    matrices: Iterable[Any],
    *,
    residual: float = 0.5,
    queries: Tensor | Sequence[int] | None = None,
    heads: Tensor | None = None,
) -> Tensor:
    """Attention rollout (Abnar & Zuidema 2020, section 3.2): how much of each input reaches each output.

    A layer passes on residual · itself + (1 − residual) · what its heads attend to, averaged; layers multiply. The
    product is never formed: a row of it is one vector sent back through the layers, a transposed product each.

    Args:
        matrices: the layers' matrices, first layer first, each (..., heads, L, L) or (L, L): attention matrices, what
            ``mirada.watch`` recorded, or weights as tensors or arrays (``output_attentions``). A query that attends to
            nothing keeps what it has: its row is the residual connection's alone.
        residual: share of the residual connection, 0 to 1; the paper takes 1/2.
        queries: the outputs asked for, integers; all of them if left out.
        heads: weights of the heads, (heads,), or (layers, heads) for weights of each layer's own; scaled to sum to 1.
            None averages them.

    Returns:
        (..., number of queries, L), without the dimension of the heads, in float32 at least; rows sum to 1.

    Raises:
        ValueError: no matrices; shapes, dtypes or devices that differ; shapes that aren't square; a residual or heads
            that don't fit; all queries of a sequence so long that the result would take more than 1 GiB.

    >>> import torch
    >>> from mirada import AttentionMatrix
    >>> even = AttentionMatrix(torch.zeros(2, 1), torch.zeros(2, 1))
    >>> rollout([even])
    tensor([[0.7500, 0.2500],
            [0.2500, 0.7500]])
    >>> rollout([even, even], queries=[0])
    tensor([[0.6250, 0.3750]])
    """
    matrices = [as_attention(matrix) for matrix in matrices]
    shape = _check(matrices, residual)
    length = shape[-1]
    dtype, device = matrices[0].dtype, matrices[0].device
    weights = _head_weights(heads, len(matrices), shape).to(device)
    asked = checks.positions("queries", range(length) if queries is None else queries, length, device)
    if queries is None and (size := shape[:-3].numel() * length**2 * 4) > _LIMIT:
        raise ValueError(f"all {length} queries would take {size:,} bytes: choose some with queries=[...]")
    # Half precision would lose what many layers leave of a token.
    mass = torch.nn.functional.one_hot(asked, length).mT.to(torch.promote_types(dtype, torch.float32))  # (L, queries)
    for matrix, weight in zip(reversed(matrices), reversed(weights), strict=True):
        sent = mass if len(shape) == 2 else mass.unsqueeze(-3)
        # A query that attends to nothing passes on itself.
        blind = (matrix.logsumexp() == -torch.inf).to(mass.dtype)[..., None]  # (..., heads, L, 1)
        seen = (matrix.T @ sent.to(dtype)).to(mass.dtype) + blind * sent  # (..., heads, L, queries)
        if len(shape) > 2:
            seen = (weight[:, None, None] * seen).sum(-3)
        mass = residual * mass + (1 - residual) * seen
    return mass.mT


def _check(matrices: Sequence[Attention], residual: float) -> torch.Size:
    if not matrices:
        raise ValueError("matrices must hold at least one layer's matrix, got none")
    shape = matrices[0].shape
    for number, matrix in enumerate(matrices):
        if (matrix.dtype, matrix.device) != (matrices[0].dtype, matrices[0].device):
            raise ValueError(
                f"matrices must have one dtype and be on one device: matrix {number} has {matrix.dtype} on "
                f"{matrix.device}, matrix 0 has {matrices[0].dtype} on {matrices[0].device}"
            )
        if matrix.shape != shape or shape[-1] != shape[-2]:
            raise ValueError(
                "matrices must be square and of one shape, since layers multiply: "
                f"matrix {number} has {tuple(matrix.shape)}, matrix 0 has {tuple(shape)}"
            )
        if matrix.dims and matrix.dims[-1] != "heads" and shape[-3] > 1:
            raise ValueError(
                f"matrices must have their heads before (L, L): matrix {number}, {tuple(shape)}, was recorded with "
                f"{matrix.dims[-1]} there; one head of several examples is weights[:, None], (batch, 1, L, L)"
            )
    if not 0.0 <= residual <= 1.0:
        raise ValueError(f"residual must lie between 0 and 1, got {residual}")
    return shape


def _head_weights(heads: Tensor | None, layers: int, shape: torch.Size) -> Tensor:
    """(layers, heads), each row with sum 1."""
    count = shape[-3] if len(shape) > 2 else 1
    weights = torch.ones(layers, count) if heads is None else torch.as_tensor(heads, dtype=torch.float32)
    if weights.shape not in ((count,), (layers, count)):
        raise ValueError(
            f"heads must be ({count},) weights, or ({layers}, {count}) with a row a layer, got {tuple(weights.shape)}"
        )
    if bool((weights < 0).any()) or not bool((weights.sum(-1) > 0).all()):
        raise ValueError("heads must be weights from 0 up, not all of them 0")
    return (weights / weights.sum(-1, keepdim=True)).expand(layers, count)
