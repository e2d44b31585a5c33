"""FlexAttention's operator, which a mode sees with its mask and score functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mirada.kernels.autocast import computed_in
from mirada.watching.call import Call
from mirada.watching.masks import FlexMask
from mirada.watching.provenance import version_of

_WRITTEN_OUT = 1 << 22  # pairs of queries and keys, all heads: up to so many a call's functions are called at once


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
    changing = getattr(score_mod, "__name__", "") != "_identity"
    rule = FlexMask(mask_mod if masked else None, score_mod if changing else None, (batch, heads))
    return Call(
        query,
        key,
        value,
        rule=rule if masked or changing else None,
        scale=scale,
        enable_gqa=query.shape[-3] != key.shape[-3],
        how="flex_attention",
        kernel="flex",
        dtype=computed_in(query),
    )


def fusible(call: Call, *args: Any) -> bool:
    """Whether the context can be had from the matrix: run eagerly, the operator itself would form all L × S scores.

    Not with a score_mod, nor with gradients, which may flow into tensors that the functions hold, nor where more than
    the context is wanted.
    """
    options = args[6] if len(args) > 6 else {}
    if torch.is_grad_enabled() or options.get("OUTPUT_LOGSUMEXP") or options.get("OUTPUT_MAX"):
        return False
    return not isinstance(call.rule, FlexMask) or call.rule.score_mod is None


@torch.no_grad()
def written_out(call: Call) -> Call:
    """The call with what its functions say now: what they hold may be written to later.

    A score_mod that only adds is a bias; what any other makes of the scores is kept as weights. A call that is too
    large keeps its functions, which are then checked when they are called.
    """
    rule = call.rule
    if not isinstance(rule, FlexMask):
        return call
    if call.shape.numel() > _WRITTEN_OUT:
        return replace(call, rule=replace(rule, held=held_by(rule.mask_mod, rule.score_mod)))
    fitted = replace(rule, score_mod=None).fit(call.shape[:-2], call.queries, call.keys, call.query.device)
    rows, columns = slice(0, call.queries), slice(0, call.keys)
    visible = fitted.block(rows, columns, call.query.device)[0]
    masks = () if rule.mask_mod is None else (visible,)
    if rule.score_mod is None:
        return replace(call, rule=None, masks=masks)
    scores = scores_of(call, rows)
    changed = rule.changed(scores, rows, columns)
    bias = rule.changed(torch.zeros_like(scores), rows, columns)
    if adds(scores, changed, bias, visible):
        return replace(call, rule=None, masks=(*masks, bias))
    weights = torch.softmax(changed.masked_fill(~visible, -torch.inf), -1).nan_to_num()
    return Call.of_weights(weights, call.values(), how=call.how, kernel=call.kernel)


@torch.no_grad()
def check(call: Call) -> None:
    """ValueError where a large call's score_mod does more than add to its scores, at any pair that is visible."""
    rule = call.rule
    if not isinstance(rule, FlexMask) or rule.score_mod is None:
        return
    for start in range(0, call.queries, 256):
        rows, columns = slice(start, min(start + 256, call.queries)), slice(0, call.keys)
        scores = scores_of(call, rows)
        bias = rule.changed(torch.zeros_like(scores), rows, columns)
        if not adds(scores, rule.changed(scores, rows, columns), bias, torch.ones_like(scores, dtype=torch.bool)):
            raise ValueError(
                "this FlexAttention's score_mod does more than add to the score (a softcap?), so its weights are not "
                "a masked softmax; query, key and value of the record can be had"
            )


def adds(scores: Tensor, changed: Tensor, bias: Tensor, visible: Tensor) -> bool:
    """Whether a score_mod only adds to these scores, each and every one."""
    same = torch.isclose(changed, scores + bias, rtol=1e-5, atol=1e-5) | (changed == bias) & bias.isinf()
    return bool((same | ~visible).all())


def scores_of(call: Call, rows: slice) -> Tensor:
    """The scaled scores of some queries, (..., rows, S), as the operator hands them to a score_mod."""
    key = call.key.repeat_interleave(call.groups, -3)
    scale = call.query.shape[-1] ** -0.5 if call.scale is None else call.scale
    kind = torch.promote_types(call.query.dtype, torch.float32)
    return call.query[..., rows, :].to(kind) @ key.to(kind).mT * scale


def held_by(*functions: Any) -> tuple[tuple[Any, str, Any], ...]:
    """What functions hold that can change: tensors with how often they were written to, and numbers."""
    found: list[tuple[Any, str, Any]] = []
    for function in functions:
        code = getattr(function, "__code__", None)
        if code is None:
            continue
        cells = [cell for cell in function.__closure__ or () if not _empty(cell)]
        places = [(cell, "cell_contents") for cell in cells]
        for place, name in places:
            content = getattr(place, name)
            found.append((place, name, _state(content)))
            found += [(content, own, _state(value)) for own, value in getattr(content, "__dict__", {}).items()]
    return tuple(found)


def unchanged(held: tuple[tuple[Any, str, Any], ...]) -> bool:
    """Whether all of it is as it was."""
    return all(_state(getattr(place, name, None)) == state for place, name, state in held)


def _state(value: Any) -> Any:
    if isinstance(value, Tensor):
        return id(value), version_of(value)
    return value if isinstance(value, (int, float, bool, str)) else None


def _empty(cell: Any) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:
        return True
