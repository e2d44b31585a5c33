"""A sequence asks itself."""

from __future__ import annotations

from torch import Tensor, nn
from torch.overrides import has_torch_function_unary

from mirada.kernels import chebyshev
from mirada.masks import Mask
from mirada.matrix import attention
from mirada.nn.arguments import expect, positive
from mirada.nn.projections import attend, project


class SelfAttention(nn.Module):
    """One head of scaled dot-product self-attention (Vaswani et al. 2017, equation 1).

    Every position asks (query), offers itself (key) and answers (value): three projections of the same input.

    Args:
        embed_dim: features E of a position.
        bias: whether the projections have a bias.

    Shapes:
        x (..., L, E), floating; output (..., L, E); weights (..., L, L).

    Raises:
        ValueError: `x` has not E features, or the mask does not fit.

    >>> import torch
    >>> layer = SelfAttention(8)
    >>> context, weights = layer(torch.randn(2, 5, 8), need_weights=True)
    >>> context.shape, weights.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 5, 5]))
    """

    def __init__(self, embed_dim: int, *, bias: bool = True) -> None:
        super().__init__()
        positive(embed_dim=embed_dim)
        self.embed_dim = embed_dim
        self.query = nn.Linear(embed_dim, embed_dim, bias=bias)
        self.key = nn.Linear(embed_dim, embed_dim, bias=bias)
        self.value = nn.Linear(embed_dim, embed_dim, bias=bias)

    def forward(
        self, x: Tensor, mask: Mask | Tensor | None = None, *, need_weights: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The context of every position, and with `need_weights` the weights."""
        expect("x", x, self.embed_dim)
        if self.embed_dim == 1 and mask is None and not need_weights and self.query.bias is None:
            return self._folded(x)
        linears = self.query, self.key, self.value
        query, key, value = project(linears, x, x, x, masked=mask is not None)  # (..., L, E) each
        return attention(query, key, value, mask, need_weights=need_weights)

    def _folded(self, x: Tensor) -> Tensor:
        """The same with one feature: all projections are multiples of x, so their factors can wait.

            softmax((q x) (k x)ᵀ) (v x) = v · softmax(q k · x xᵀ) x

        What is left to attend with is the input itself, and one number says how.
        """
        stretch = self.query.weight * self.key.weight  # (1, 1)
        watched = has_torch_function_unary(x)  # attention can be seen, this can not
        context = None if watched else chebyshev.of_itself(x, stretch)  # (..., L, 1)
        if context is None:
            context, _ = attend(x * stretch, x, x, None, need_weights=False)
        return context * self.value.weight
