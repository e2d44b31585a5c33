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
from mirada.watching.masks import HIDDEN
from mirada.watching.record import AttentionRecord


def stitch(steps: Sequence[AttentionRecord], *, ordered: bool = False) -> AttentionRecord:
    """Several calls of one module as one.

    The cache may grow by joining, have a fixed size, or slide; a cross-attention's keys may stay the same. In a step,
    as many keys are new as there are queries; in a cross-attention none is.

    Args:
        steps: the calls of one module.
        ordered: whether another module's keys have shown that the examples kept their places.

    Raises:
        ValueError: where a step's keys don't continue the ones before: layers that are shared, beams that changed
            places, a forward without a cache, another text.
    """
    if len(steps) == 1:
        return steps[0]
    for step in steps:
        if step.call.weights is not None:
            return _of_weights(steps)
    sinks = [_Sink.of(step.call) for step in steps]
    calls = _with_one_number_of_heads([sink.without for sink in sinks])
    _check_alike(steps, calls)
    cache = _Cache(calls[0])
    for step, call in zip(steps[1:], calls[1:], strict=True):
        if why := cache.take(call):
            raise ValueError(
                f"step {step.nth} of {step.name!r}, of shape {tuple(step.shape)}, does not continue the keys of the "
                f"steps before: {why}"
            )
    if cache.crossing and not ordered and _repeats(calls[0].key):
        raise ValueError(
            f"the calls of {steps[0].name!r} hold the same keys for several examples: whether these are beams that "
            "changed places (a beam search) can't be told from a cross-attention"
        )
    call = replace(
        calls[-1],
        query=torch.cat([call.query for call in calls], -2),
        key=cache.key,
        value=cache.value,
        masks=(),
        rule=_causal(calls, cache) or _written_out(calls, cache),
    )
    return _whole(steps, sinks[0].added_to(call, sinks), crossing=cache.crossing)


def _of_weights(steps: Sequence[AttentionRecord]) -> AttentionRecord:
    """Steps of which the weights alone are known: they are one matrix where all attend to the same values."""
    calls = [step.call for step in steps]
    for step, call in zip(steps, calls, strict=True):
        same = call.value is not None and calls[0].value is not None and torch.equal(call.value, calls[0].value)
        if call.weights is None or not same:
            raise ValueError(
                f"step {step.nth} of {step.name!r} has weights only, whose keys are not known, and values of its own: "
                "no stitching"
            )
    weights = torch.cat([call.weights for call in calls if call.weights is not None], -2)
    return _whole(steps, Call.of_weights(weights, calls[0].value), crossing=True)


def _whole(steps: Sequence[AttentionRecord], call: Call, *, crossing: bool) -> AttentionRecord:
    """The record of the stitched call."""
    return steps[-1].copy(
        nth=0,
        shape=call.shape,
        masked="stitched",
        context=None,
        crossing=crossing,
        _source=call,
        _call=call,
        _kept=None,
    )


def _check_alike(steps: Sequence[AttentionRecord], calls: Sequence[Call]) -> None:
    for step, call in zip(steps, calls, strict=True):
        if call.query.shape[:-2] != calls[0].query.shape[:-2]:
            raise ValueError(
                f"step {step.nth} of {step.name!r} has shape {tuple(step.shape)}, the first {tuple(steps[0].shape)}: "
                "these calls are not the steps of one generation"
            )


@dataclass(frozen=True)
class _Sink:
    """A call without the key that is none, and that key's scores (..., L, 1)."""

    without: Call
    scores: Tensor | None

    @classmethod
    def of(cls, call: Call) -> _Sink:
        if call.sink is None:
            return cls(call, None)
        keep = [n for n in range(call.keys) if n != call.sink % call.keys]
        masks = [mask.expand(*mask.shape[:-1], call.keys) for mask in call.masks]
        bias = sum(mask[..., [call.sink]] for mask in masks if mask.dtype != torch.bool)
        assert isinstance(bias, Tensor)
        assert call.value is not None
        whole = replace(
            call,
            key=call.key[..., keep, :],
            value=call.value[..., keep, :],
            masks=tuple(mask[..., keep] for mask in masks),
            sink=None,
        )
        return cls(whole, bias.expand(*bias.shape[:-2], call.queries, 1))

    def added_to(self, call: Call, sinks: Sequence[_Sink]) -> Call:
        """The stitched call with the sink as its last key."""
        if self.scores is None:
            return call
        assert call.value is not None
        whole = call.matrix().mask
        assert whole is not None  # a stitched call has a rule
        visible, bias = whole.block(slice(0, call.queries), slice(0, call.keys), call.key.device)
        mask = torch.where(visible, torch.zeros(()) if bias is None else bias, -torch.inf)
        scores = torch.cat([sink.scores for sink in sinks if sink.scores is not None], -2)
        lead = torch.broadcast_shapes(mask.shape[:-2], scores.shape[:-2])
        mask = torch.cat([part.expand(*lead, *part.shape[-2:]) for part in (mask, scores)], -1)
        key, value = (functional.pad(tensor, (0, 0, 0, 1)) for tensor in (call.key, call.value))
        return replace(call, key=key, value=value, rule=None, masks=(mask,), sink=call.keys)


def _repeats(key: Tensor) -> bool:
    """Whether two examples have the same keys."""
    if key.ndim < 4 or key.shape[0] < 2:
        return False
    flat = key.flatten(1)
    return any(bool(torch.equal(flat[n], flat[m])) for n in range(len(flat)) for m in range(n))


class _Cache:
    """All keys so far, and which of them each step had."""

    def __init__(self, first: Call) -> None:
        assert first.value is not None
        self.key, self.value = first.key, first.value
        self.starts = [0]
        self.crossing = True
        """Whether no step had new keys."""
        self._first = first
        self._attended = _attended(first)  # (S,): by any query, in any head

    def take(self, call: Call) -> str:
        """Adds a step's keys; says why where they don't continue what is there."""
        assert call.value is not None
        start = 0 if self._grown(call) else self._slid(call)
        if start is None:
            return "its cache reorders (a beam search), one module served several layers, or another text"
        there = self.key.shape[-2] - start  # of this step's keys, how many are old
        before = functional.pad(self._attended, (0, max(0, call.keys - there)))
        now = torch.zeros_like(before)
        now[start:] = _attended(call)
        new = int((now & ~before).sum())
        if why := self._no_step(call, new):
            return why
        self.key = torch.cat([self.key[..., :start, :], call.key], -2) if start else call.key
        self.value = torch.cat([self.value[..., :start, :], call.value], -2) if start else call.value
        self._attended = before | now
        self.starts.append(start)
        return ""

    def _no_step(self, call: Call, new: int) -> str:
        if new == call.queries:
            self.crossing = False
            return ""
        if new or not self.crossing:
            return f"it has {call.queries} queries and {new} new keys (a forward without a cache, or another text)"
        if call.queries > 1 and call.queries >= self._first.queries:
            return f"it has {call.queries} queries and no new keys (the same text again, or another one)"
        return ""

    def _grown(self, call: Call) -> bool:
        """The same keys and perhaps more. What no query attends to may change: a fixed cache's empty places."""
        size = self.key.shape[-2]
        if call.keys < size or call.key.shape[:-2] != self.key.shape[:-2]:
            return False
        changed = _changed(self.key, call.key[..., :size, :])
        return not (changed & self._attended).any()

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


def _attended(call: Call) -> Tensor:
    """Which keys some query attends to: (S,). Hidden by a finite number, a key is hidden."""
    band = _band(call)
    visible = band.visible if band.bias is None else band.visible & (band.bias > HIDDEN)
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
