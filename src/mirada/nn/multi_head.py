"""Several heads that share the features between them."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from mirada.masks import Mask
from mirada.nn import fast_path
from mirada.nn.arguments import expect, positive
from mirada.nn.projections import Linear, attend, clean, project


class MultiHeadAttention(nn.Module):
    """Multi-head attention, narrow: each of H heads sees E / H features (Vaswani et al. 2017, section 3.2.2).

    The parameters are those of `torch.nn.MultiheadAttention`, by name and by layout, and are drawn in the same order:
    state dicts go both ways, and one seed gives both the same layer. Two of its options have no counterpart:
    `add_bias_kv` and `add_zero_attn`, which add keys that no token stands for.

    Args:
        embed_dim: features E of queries and output.
        heads: how many heads H; must divide E.
        kdim: features of `key`; E if left out.
        vdim: features of `value`; E if left out.
        bias: whether the projections have a bias.
        dropout: share of weights dropped in training. Weights given out are those before dropout.

    Shapes:
        query (N, L, E), key (N, S, kdim), value (N, S, vdim); output (N, L, E); weights (N, H, L, S), one set a head:
        ``weights.mean(1)`` is what torch gives by default. Batch first, always: there is no `batch_first`. A tensor as
        mask broadcasts to (N, H, L, S) from the right, so one mask an item is (N, 1, L, S).

    Raises:
        ValueError: heads that do not divide E, shapes that are not the layer's, or a mask that does not fit.

    >>> theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> layer = MultiHeadAttention(8, heads=2)
    >>> layer.load_state_dict(theirs.state_dict())
    <All keys matched successfully>
    >>> x = torch.randn(3, 5, 8)
    >>> torch.allclose(layer(x), theirs(x, x, x)[0], atol=1e-6)
    True
    """

    def __init__(
        self,
        embed_dim: int,
        heads: int,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embed_dim, self.heads, self.dropout = embed_dim, heads, dropout
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        positive(embed_dim=embed_dim, heads=heads, kdim=self.kdim, vdim=self.vdim)
        if embed_dim % heads:
            raise ValueError(
                f"heads={heads} does not divide embed_dim={embed_dim}, and narrow heads share the features evenly: "
                "take a divisor, or WideMultiHeadAttention, whose heads each get them all"
            )
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}")

        self.packed = self.kdim == self.vdim == embed_dim
        if self.packed:
            self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dim, embed_dim))
        else:
            self.q_proj_weight = nn.Parameter(torch.empty(embed_dim, embed_dim))
            self.k_proj_weight = nn.Parameter(torch.empty(embed_dim, self.kdim))
            self.v_proj_weight = nn.Parameter(torch.empty(embed_dim, self.vdim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dim)) if bias else None
        self.out_proj = nn.Linear(embed_dim, embed_dim, bias=bias)
        self._draw()

    def _draw(self) -> None:
        for name, parameter in self.named_parameters(recurse=False):
            if name != "in_proj_bias":
                nn.init.xavier_uniform_(parameter)
        if self.out_proj.bias is not None:
            nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        mask: Mask | Tensor | None = None,
        *,
        need_weights: bool = False,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """What the heads found, laid side by side and projected. Without `key`, the queries ask each other.

        Args:
            query: (N, L, E).
            key: (N, S, kdim); `query` if left out.
            value: (N, S, vdim); `key` if left out.
            mask: which query may attend to which key, for (N, H, L, S).
            need_weights: give (output, weights).
        """
        key = query if key is None else key
        value = key if value is None else value
        expect("query", query, self.embed_dim, rank=3)
        if not query is key is value:
            expect("key", key, self.kdim, rank=3)
            expect("value", value, self.vdim, rank=3)
        alone, dropout_p = query is key is value, self.dropout if self.training else 0.0
        if alone and not dropout_p and (found := self._in_one_call(query, mask, need_weights)) is not None:
            return found
        if self.packed and alone and (mask is None or clean(query)):
            query, key, value = self._project_at_once(query)  # (N, H, L, E / H) each
        else:
            query, key, value = project(self._linears(), query, key, value, masked=mask is not None)
            query, key, value = self._split(query), self._split(key), self._split(value)  # (N, H, L or S, E / H) each
        context, weights = attend(query, key, value, mask, need_weights, dropout_p)  # (N, H, L, E / H), (N, H, L, S)
        output = linear(context.transpose(1, 2).flatten(2), self.out_proj.weight, self.out_proj.bias)  # (N, L, E)
        return output if weights is None else (output, weights)

    def _in_one_call(
        self, x: Tensor, mask: Mask | Tensor | None, need_weights: bool
    ) -> Tensor | tuple[Tensor, Tensor] | None:
        """The whole layer, if torch's one call will do."""
        if not self.packed or self.in_proj_bias is None or self.out_proj.bias is None:
            return None
        output = self.out_proj.weight, self.out_proj.bias
        packed = self.embed_dim, self.heads, self.in_proj_weight, self.in_proj_bias, *output
        found = fast_path.self_attention(x, packed, mask, need_weights)
        if found is None:
            return None
        context, weights = found
        return context if weights is None else (context, weights)

    def _project_at_once(self, x: Tensor) -> tuple[Tensor, ...]:
        """Self-attention's three projections as the one product that their packed weights make of them."""
        projected = linear(x, self.in_proj_weight, self.in_proj_bias)  # (N, L, 3 E)
        return projected.view(*x.shape[:2], 3, self.heads, self.embed_dim // self.heads).permute(2, 0, 3, 1, 4).unbind()

    def _linears(self) -> tuple[Linear, Linear, Linear]:
        if self.packed:
            weights = self.in_proj_weight.chunk(3)
        else:
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.chunk(3)
        query, key, value = (partial(linear, weight=w, bias=b) for w, b in zip(weights, biases, strict=True))
        return query, key, value

    def _split(self, x: Tensor) -> Tensor:
        """(N, L, E) as (N, H, L, E / H)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
