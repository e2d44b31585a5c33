"""FlexAttention's operator, which a mode sees with its mask and score functions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mirada.kernels.autocast import computed_in
from mirada.watching.call import Call
from mirada.watching.masks import FlexMask


def read(
    query: Tensor, key: Tensor, value: Tensor, score_mod: Any, block_mask: Any, scale: float, *_: object
) -> Call | None:
    """The call that these arguments of the operator make; None where they aren't what is expected: it is private."""
    if not isinstance(block_mask, tuple) or not all(callable(function) for function in (score_mod, block_mask[-1])):
        return None
    # The tuple of a BlockMask: lengths and the blocks' numbers, then tables of blocks, at last the mask_mod.
    tables, mask_mod = [t for t in block_mask if isinstance(t, Tensor)], block_mask[-1]
    batch, heads = tables[0].shape[:2] if tables else (1, 1)
    masked = getattr(mask_mod, "__name__", "") != "noop_mask"
    adding = getattr(score_mod, "__name__", "") != "_identity"
    rule = FlexMask(mask_mod if masked else None, score_mod if adding else None, (batch, heads))
    return Call(
        query,
        key,
        value,
        rule=rule if masked or adding else None,
        scale=scale,
        enable_gqa=query.shape[-3] != key.shape[-3],
        how="flex_attention",
        kernel="flex",
        dtype=computed_in(query),
    )


def fusible(call: Call, *args: Any) -> bool:
    """Whether the context can be had from the matrix: run eagerly, the operator itself would form all L × S scores.

    Not with gradients, which may flow into tensors that the functions hold, nor where more than the context is asked.
    """
    options = args[6] if len(args) > 6 else {}
    if torch.is_grad_enabled() or options.get("OUTPUT_LOGSUMEXP") or options.get("OUTPUT_MAX"):
        return False
    return understood(call)


def understood(call: Call) -> bool:
    """Whether the call has a matrix: not where a FlexAttention's score_mod does more than add to the score."""
    rule = call.rule
    return not isinstance(rule, FlexMask) or rule.understood(call.queries, call.keys, call.query.device)
