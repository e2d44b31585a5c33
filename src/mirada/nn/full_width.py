"""Several heads that each see everything."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear

from mirada.masks import Mask
from mirada.nn.arguments import expect, positive
from mirada.nn.projections import attend, project


class WideMultiHeadAttention(nn.Module):
    """Multi-head attention, wide: each of H heads gets all E features, and the projections grow to E · H.

    For head h, with its own projections out of the four linear layers (Vaswani et al. 2017, section 3.2.2, with
    d_k = d_v = E in place of E / H):

        A_h = softmax((X Wq_h + bq_h) (Y Wk_h + bk_h)ᵀ / √E)
        output = Σ_h A_h (Y Wv_h + bv_h) Wo_h + bo

    Where no mask hides anything, the same function and gradients come from `_folded`, with half the arithmetic. The
    bias of the values is added there once for all heads, so the gradient of a head's gate leaves it out, as in Michel
    et al. 2019. With `folds = False` every head has queries, keys and values of its own; `mirada.watch` sets it to edit
    heads.

    Args:
        embed_dim: features E of queries, keys, values and output.
        heads: how many heads H; any number from 1 up.

    Shapes:
        query (N, L, E), key and value (N, S, E); output (N, L, E); weights (N, H, L, S). A tensor as mask broadcasts
        to (N, H, L, S) from the right, so one mask an item is (N, 1, L, S).

    Raises:
        ValueError: shapes that are not the layer's, or a mask that does not fit.

    >>> import torch
    >>> layer = WideMultiHeadAttention(7, heads=3)
    >>> output, weights = layer(torch.randn(2, 5, 7), need_weights=True)
    >>> output.shape, weights.shape
    (torch.Size([2, 5, 7]), torch.Size([2, 3, 5, 5]))
    """

    def __init__(self, embed_dim: int, heads: int) -> None:
        super().__init__()
        positive(embed_dim=embed_dim, heads=heads)
        self.embed_dim, self.heads, self.folds = embed_dim, heads, True
        self.query = nn.Linear(embed_dim, embed_dim * heads)
        self.key = nn.Linear(embed_dim, embed_dim * heads)
        self.value = nn.Linear(embed_dim, embed_dim * heads)
        self.out = nn.Linear(embed_dim * heads, embed_dim)

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
            key: (N, S, E); `query` if left out.
            value: (N, S, E); `key` if left out.
            mask: which query may attend to which key, for (N, H, L, S).
            need_weights: give (output, weights).
        """
        key = query if key is None else key
        value = key if value is None else value
        for argument, tensor in (("query", query), ("key", key), ("value", value)):
            expect(argument, tensor, self.embed_dim, rank=3)
        if mask is None and self.folds:
            output, weights = self._folded(query, key, value, need_weights)
        else:
            output, weights = self._plain(query, key, value, mask, need_weights)
        return output if weights is None else (output, weights)

    def _plain(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Mask | Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The layer as its docstring writes it."""
        linears = self.query, self.key, self.value
        query, key, value = project(linears, query, key, value, masked=mask is not None)  # (N, L or S, H·E) each
        query, key, value = self._split(query), self._split(key), self._split(value)  # (N, H, L or S, E) each
        context, weights = attend(query, key, value, mask, need_weights)  # (N, H, L, E), (N, H, L, S)
        return self.out(context.transpose(1, 2).flatten(2)), weights  # (N, L, E), (N, H, L, S)

    def _folded(self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool) -> tuple[Tensor, Tensor | None]:
        """The same, with two pairs of projections multiplied together before any input meets them.

        A score needs Wq_h and Wk_h only as the product M_h = Wq_h Wk_hᵀ, the output Wv_h and Wo_h only as
        N_h = Wv_h Wo_h, and where heads are wide both are E × E: as large as one factor, so multiplying out is a gain.
        (A narrow head's factors are E × E / H; folded they would grow.) What stays of a head is

            A_h = softmax((X M_h + u_h) Yᵀ / √E), u_h = Wk_h bq_h;    output = Σ_h A_h Y N_h + c

        The terms with bk_h are the same for all keys of a row, so the softmax drops them. c = Σ_h bv_h Wo_h + bo, as
        each row of weights sums to 1; where a mask lets a query see nothing it sums to 0, hence only without a mask.

        Keys and values are now Y itself for every head, so heads are nothing but more queries (`kernels.folded`).
        """
        ask, u = self._ask()  # (H·E, E), (H·E)
        say, c = self._say()  # (E, H·E), (E)
        asked = linear(query, ask, u).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (N, H, L, E)
        context, weights = attend(asked, key[:, None], value[:, None], None, need_weights)  # (N, H, L, E), (N, H, L, S)
        context = context.transpose(1, 2).flatten(2)  # (N, L, H·E)
        return linear(context, say, c), weights  # (N, L, E), (N, H, L, S)

    def _ask(self) -> tuple[Tensor, Tensor]:
        """M and u of all heads, one below the other. A linear layer's `weight` is the W of the formulas transposed."""
        query, key = self._per_head(self.query.weight), self._per_head(self.key.weight)  # (H, E, E) each
        bias = self._per_head(self.query.bias[:, None])  # (H, E, 1)
        # Times 0, so that the bias that drops out gets the gradient 0 it has, and not none at all.
        return (key.mT @ query).flatten(0, 1), (key.mT @ bias).flatten() + 0.0 * self.key.bias

    def _say(self) -> tuple[Tensor, Tensor]:
        """N of all heads side by side, and c."""
        value = self._per_head(self.value.weight)  # (H, E, E)
        out = self.out.weight.unflatten(1, (self.heads, -1)).transpose(0, 1)  # (H, E, E)
        say = (out @ value).transpose(0, 1).flatten(1)  # (E, H·E)
        return say, linear(self.value.bias, self.out.weight, self.out.bias)

    def _per_head(self, weight: Tensor) -> Tensor:
        return weight.unflatten(0, (self.heads, -1))

    def _split(self, x: Tensor) -> Tensor:
        """(N, L, H·E) as (N, H, L, E)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
