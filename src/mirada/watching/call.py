"""One call of attention, whichever way it was written: its tensors as the model gave them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

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
    value: Tensor  # (..., S, Ev)
    masks: tuple[Tensor, ...] = ()
    """Masks written out, bool or floating; all of them hold."""
    rule: Mask | None = None
    """A mask that is a rule: causal, or a FlexAttention's functions."""
    scale: float | None = None
    enable_gqa: bool = False
    dropout_p: float = 0.0
    how: str = "scaled_dot_product_attention"
    """Which door the model went through."""
    kernel: str = ""
    """What torch computes it with."""
    dtype: torch.dtype = field(default=torch.float32)
    """What it is computed in: under autocast not what the tensors have."""

    @property
    def heads(self) -> int | None:
        """How many heads; None where the call has no dimension for them."""
        return self.query.shape[-3] if self.query.ndim > 3 else None

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
        # Asking torch takes longer than all the rest of a sighting.
        both = leading if keys_leading == leading else torch.broadcast_shapes(leading, keys_leading)
        return torch.Size((*both, self.queries, self.keys))

    @property
    def masked(self) -> str:
        """What kind of mask there is, in words; empty where there is none."""
        rule = "causal" if is_causal(self.rule) else "flex" if isinstance(self.rule, FlexMask) else "rule"
        words = [rule] if self.rule is not None else []
        return " & ".join(words + ["bool" if mask.dtype == torch.bool else "added" for mask in self.masks])

    def matrix(self) -> AttentionMatrix:
        """The attention matrix, before dropout."""
        query, key = self.query.to(self.dtype), self.key.to(self.dtype)
        return AttentionMatrix(query, key, self.mask, scale=self.scale, enable_gqa=self.enable_gqa)

    def values(self) -> Tensor:
        """The values with a head for each head of queries: (..., S, Ev)."""
        value = self.value.to(self.dtype)
        return value if self.groups == 1 else value.repeat_interleave(self.groups, -3)

    def let_go(self) -> Call:
        """The call without its tensors, which are kept elsewhere."""
        return replace(self, query=_NOTHING, key=_NOTHING, value=_NOTHING, masks=())

    def each(self, change: Callable[[Tensor], Tensor]) -> Call:
        """The call with all of its tensors changed."""
        query, key, value = map(change, (self.query, self.key, self.value))
        return replace(self, query=query, key=key, value=value, masks=tuple(map(change, self.masks)))

    def with_heads(self, heads: int) -> Call:
        """(batch · heads, L, E) as (batch, heads, L, E)."""
        return self.each(lambda tensor: tensor if tensor.shape[0] == 1 else tensor.unflatten(0, (-1, heads)))
