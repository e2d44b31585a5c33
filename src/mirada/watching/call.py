"""One call of attention, whichever way it was written: its tensors as the model gave them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mirada.masks import Mask, dense, is_causal
from mirada.matrix import AttentionMatrix
from mirada.watching.masks import FlexMask

_NOTHING = torch.empty(0)


@dataclass(frozen=True, eq=False)
class Call:
    """softmax(mask(scale · Q Kᵀ)) V, as it was asked for."""

    query: Tensor  # (..., L, E), heads at dimension −3
    key: Tensor  # (..., S, E)
    value: Tensor | None = None  # (..., S, Ev); None where it can't be laid out so
    masks: tuple[Tensor, ...] = ()
    """Masks written out, bool or floating; all of them hold."""
    rule: Mask | None = None
    """A mask that is a rule: causal, or a FlexAttention's functions."""
    scale: float | None = None
    softcap: float | None = None
    enable_gqa: bool = False
    dropout_p: float = 0.0
    how: str = "scaled_dot_product_attention"
    """Which function the model called."""
    kernel: str = ""
    """What torch computes it with."""
    dtype: torch.dtype = field(default=torch.float32)
    """What it is computed in: under autocast not what the tensors have."""
    weights: Tensor | None = None
    """The weights themselves, (..., L, S), where query and key are not known: these are empty then."""
    sink: int | None = None
    """The place of a key that is none: a score of its own that takes its share."""

    @classmethod
    def of_weights(cls, weights: Tensor, value: Tensor | None, **more: Any) -> Call:
        """A call of which the weights (..., L, S) are known, and not what they are made of."""
        nothing = weights.new_zeros(1)
        query, key = (nothing.expand(*weights.shape[:-2], size, 1) for size in weights.shape[-2:])
        told = {"how": "by hand", "kernel": "softmax", "dtype": weights.dtype} | more
        return cls(query, key, value, weights=weights, **told)

    @property
    def queries(self) -> int:
        """Number of queries L."""
        return self.query.shape[-2]

    @property
    def keys(self) -> int:
        """Number of keys S."""
        return self.key.shape[-2]

    @property
    def mask(self) -> Mask | None:
        """All that hides or weighs, as one mask."""
        whole = self.rule
        for tensor in self.masks:
            whole = dense(tensor) if whole is None else whole & tensor
        return whole

    @property
    def groups(self) -> int:
        """How many query heads share one head of keys and values."""
        return self.query.shape[-3] // self.key.shape[-3] if self.enable_gqa else 1

    @property
    def shape(self) -> torch.Size:
        """Of the matrix: (..., heads, L, S)."""
        leading, key = self.query.shape[:-2], self.key.shape
        keys_leading = torch.Size((*key[:-3], key[-3] * self.groups)) if len(key) > 2 else torch.Size()
        # Calling torch takes longer than all the rest of a record.
        both = leading if keys_leading == leading else torch.broadcast_shapes(leading, keys_leading)
        return torch.Size((*both, self.queries, self.keys))

    @property
    def masked(self) -> str:
        """What kind of mask there is, in words; empty where there is none."""
        rule = "causal" if is_causal(self.rule) else "flex" if isinstance(self.rule, FlexMask) else "rule"
        words = [rule] if self.rule is not None else []
        if self.weights is not None:
            return "weights"
        return " & ".join(words + ["bool" if mask.dtype == torch.bool else "added" for mask in self.masks])

    def matrix(self) -> AttentionMatrix:
        """The attention matrix, before dropout."""
        if self.weights is not None:
            # Their logarithms are scores that a softmax gives back.
            logs = self.weights.to(torch.promote_types(self.weights.dtype, torch.float32)).log()
            return AttentionMatrix(self.query.to(logs.dtype), self.key.to(logs.dtype), logs, scale=1.0)
        query, key = self.query.to(self.dtype), self.key.to(self.dtype)
        return AttentionMatrix(query, key, self.mask, scale=self.scale, enable_gqa=self.enable_gqa)

    def values(self) -> Tensor:
        """The values with a head for each head of queries: (..., S, Ev)."""
        if self.value is None:
            raise ValueError("the values of this attention are not known: they differ from query to query")
        value = self.value.to(self.dtype)
        return value if self.groups == 1 else value.repeat_interleave(self.groups, -3)

    def let_go(self) -> Call:
        """The call without its tensors, which are kept elsewhere."""
        return replace(self, query=_NOTHING, key=_NOTHING, value=None, masks=(), weights=None)

    def each(self, change: Callable[[Tensor], Tensor]) -> Call:
        """The call with all of its tensors changed."""
        query, key = map(change, (self.query, self.key))
        value, weights = (None if t is None else change(t) for t in (self.value, self.weights))
        masks = tuple(map(change, self.masks))
        return replace(self, query=query, key=key, value=value, weights=weights, masks=masks)
