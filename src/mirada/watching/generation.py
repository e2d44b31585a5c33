"""A generation's steps as one matrix: queries in order, keys as the cache grew.

Equal to the attention of one forward over the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from mirada.masks import Mask, causal, dense, is_causal
from mirada.watching.call import Call
from mirada.watching.keeping import Kept, Memory
from mirada.watching.records import AttentionRecord, Inputs


def stitch(steps: Sequence[AttentionRecord]) -> AttentionRecord:
    """Several calls of one module as one.

    The cache may grow by joining, have a fixed size, or slide; a cross-attention's keys may stay the same.

    Raises:
        ValueError: where a step's keys don't continue the ones before: layers that are shared, beams that changed
            places.
    """
    if len(steps) == 1:
        return steps[0]
    calls = _with_one_number_of_heads([step.call for step in steps])
    _check_alike(steps, calls)
    cache = _Cache(calls[0])
    for step, call in zip(steps[1:], calls[1:], strict=True):
        if not cache.take(call):
            raise ValueError(
                f"step {step.nth} of {step.name!r}, of shape {tuple(step.shape)}, does not continue the keys of the "
                "steps before: its cache reorders (a beam search), one module served several layers, or another text"
            )
    call = replace(
        calls[-1],
        query=torch.cat([call.query for call in calls], -2),
        key=cache.key,
        value=cache.value,
        masks=(),
        rule=_causal(calls, cache) or _written_out(calls, cache),
    )
    kept = [Kept(Memory(tensor)) for tensor in (call.query, call.key, call.value)]
    return replace(
        steps[-1],
        nth=0,
        shape=call.matrix().shape,
        masked="stitched",
        context=None,
        inputs=Inputs(call, *kept, masks=()),
    )


def _check_alike(steps: Sequence[AttentionRecord], calls: Sequence[Call]) -> None:
    for step, call in zip(steps, calls, strict=True):
        if call.query.shape[:-2] != calls[0].query.shape[:-2]:
            raise ValueError(
                f"step {step.nth} of {step.name!r} has shape {tuple(step.shape)}, the first {tuple(steps[0].shape)}: "
                "these calls are not the steps of one generation"
            )


class _Cache:
    """All keys so far, and which of them each step had."""

    def __init__(self, first: Call) -> None:
        self.key, self.value = first.key, first.value
        self.starts = [0]
        self._looked_at = _looked_at(first)  # (S,): by anybody, in any head

    def take(self, call: Call) -> bool:
        """Adds a step's keys; False where they don't continue what is there."""
        start = 0 if self._grown(call) else self._slid(call)
        if start is None:
            return False
        there = self.key.shape[-2] - start  # of this step's keys, how many are old
        self.key = torch.cat([self.key[..., :start, :], call.key], -2) if start else call.key
        self.value = torch.cat([self.value[..., :start, :], call.value], -2) if start else call.value
        looked_at = functional.pad(self._looked_at, (0, max(0, call.keys - there)))
        looked_at[start:] |= _looked_at(call)
        self._looked_at = looked_at
        self.starts.append(start)
        return True

    def _grown(self, call: Call) -> bool:
        """The same keys and perhaps more. What nobody has looked at may change: a fixed cache's empty places."""
        size = self.key.shape[-2]
        if call.keys < size or call.key.shape[:-2] != self.key.shape[:-2]:
            return False
        changed = _changed(self.key, call.key[..., :size, :])
        return not (changed & self._looked_at).any()

    def _slid(self, call: Call) -> int | None:
        """The last of the old keys, and the step's own: where the first of them stands."""
        old = call.keys - call.queries
        size = self.key.shape[-2]
        if not 0 < old <= size or call.key.shape[:-2] != self.key.shape[:-2]:
            return None
        same = not _changed(self.key[..., size - old :, :], call.key[..., :old, :]).any()
        return size - old if same else None


@dataclass(frozen=True)
class _Band:
    visible: Tensor  # (..., L, S)
    bias: Tensor | None


def _with_one_number_of_heads(calls: Sequence[Call]) -> list[Call]:
    """Keys with a head for each head of queries, where some steps share them and others don't."""
    if len({call.key.shape[:-2] for call in calls}) == 1:
        return list(calls)
    return [
        replace(call, key=call.key.repeat_interleave(call.groups, -3), value=call.values(), enable_gqa=False)
        if call.groups > 1
        else call
        for call in calls
    ]


def _changed(one: Tensor, other: Tensor) -> Tensor:
    """Which keys differ anywhere: (S,)."""
    return (one != other).any(-1).reshape(-1, one.shape[-2]).any(0)


def _looked_at(call: Call) -> Tensor:
    visible = _band(call).visible
    return visible.reshape(-1, call.keys).any(0)


def _causal(calls: Sequence[Call], cache: _Cache) -> Mask | None:
    """The rule itself, where every step saw all that was there up to its own place."""
    ahead, size = 0, cache.key.shape[-2]
    for call, start in zip(reversed(calls), reversed(cache.starts), strict=True):
        sees_all = call.mask is None and call.queries == 1
        own = is_causal(call.mask) and call.queries == call.keys
        if start or not (sees_all or own) or call.keys != size - ahead:
            return None
        ahead += call.queries
    return causal(ahead, size, align="end")


def _written_out(calls: Sequence[Call], cache: _Cache) -> Mask:
    """The steps' masks, one below the other: no larger than those that the model made."""
    bands = [_band(call) for call in calls]
    added = any(band.bias is not None for band in bands)
    tensors = [_as_bias(band) if added else band.visible for band in bands]
    rank = max(tensor.ndim for tensor in tensors)
    tensors = [tensor[(None,) * (rank - tensor.ndim)] for tensor in tensors]
    leading = torch.broadcast_shapes(*(tensor.shape[:-2] for tensor in tensors))
    rows = []
    for tensor, start in zip(tensors, cache.starts, strict=True):
        behind = cache.key.shape[-2] - start - tensor.shape[-1]
        wide = tensor.expand(*leading, *tensor.shape[-2:])
        rows.append(functional.pad(wide, (start, behind), value=-torch.inf if added else False))
    return dense(torch.cat(rows, -2))


def _band(call: Call) -> _Band:
    """What a step may see and what is added, with its queries and keys written out."""
    matrix = call.matrix()
    if matrix.mask is None:
        return _Band(torch.ones(call.queries, call.keys, dtype=torch.bool, device=matrix.device), None)
    visible, bias = matrix.mask.block(slice(0, call.queries), slice(0, call.keys), matrix.device)
    return _Band(visible.expand(*visible.shape[:-2], call.queries, call.keys), bias)


def _as_bias(band: _Band) -> Tensor:
    added = torch.zeros((), device=band.visible.device) if band.bias is None else band.bias.float()
    return torch.where(band.visible, added, -torch.inf)
