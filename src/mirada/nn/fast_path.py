"""A whole small layer as torch's one call, where no gradients are wanted: its overhead is smaller than ours.

It forms all scores and knows neither a query that sees nothing nor NaN behind a mask: what it says then is NaN, so that
its answer is taken only where it is made of numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.overrides import has_torch_function_variadic

from mirada.kernels.scores import finite
from mirada.masks import Mask, as_mask

# A private name, behind torch's own layer in eval mode: without it the layer takes a few calls more.
_layer: Callable[..., tuple[Tensor, Tensor | None]] | None = getattr(torch, "_native_multi_head_attention", None)

_FEW = 1 << 18  # scores: above, kernels that need not form them are faster
_UNMASKED = 1 << 23  # the same, where the weights are asked for and so formed in any case

Packed = tuple[int, int, Tensor, Tensor, Tensor, Tensor]  # E, heads, in_proj weight and bias, out_proj weight and bias


def self_attention(
    x: Tensor, packed: Packed, mask: Mask | Tensor | None, need_weights: bool
) -> tuple[Tensor, Tensor | None] | None:
    """Output (N, L, E) and weights (N, H, L, L) or None; None in all where the call can't be trusted with it.

    Raises:
        ValueError: a mask that does not fit.
    """
    batch, length, _ = x.shape
    scores = batch * packed[1] * length * length
    few = 0 < scores <= (_UNMASKED if need_weights and mask is None else _FEW)
    if not few or _layer is None or not _plain(x, packed[2]):
        return None
    hidden = (None, None) if mask is None else _hidden(mask, batch, packed[1], x)
    if hidden is None:
        return None
    output, weights = _layer(x, x, x, *packed, hidden[0], need_weights, False, hidden[1])
    if mask is not None and not finite(output):
        return None
    return output, weights if need_weights else None


def _hidden(mask: Mask | Tensor, batch: int, heads: int, x: Tensor) -> tuple[Tensor, int] | None:
    """What may not be seen, as the call wants it, and its form: 0 for (L, L), 2 for (N, H, L, L). None for a bias."""
    length = x.shape[1]
    if isinstance(mask, Tensor) and (mask.dtype, mask.device, mask.shape) == (torch.bool, x.device, (length, length)):
        return ~mask, 0  # the most common of all: to fit it as below takes 10 µs, the call 30
    rule = as_mask(mask)
    assert rule is not None
    seen, bias = rule.materialise((batch, heads), length, length, x.device)
    if bias is not None:
        return None
    if seen.shape == (length, length):
        return ~seen, 0
    if seen.shape[:-2].numel() == 1:
        return ~seen.view(seen.shape[-2:]).expand(length, length), 0
    return ~seen.expand(batch, heads, length, length), 2


def _plain(x: Tensor, weight: Tensor) -> bool:
    """Whether no `__torch_function__` mode, gradient, compiler or autocast is active."""
    return (
        not torch.is_grad_enabled()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype
        and x.dtype in (torch.float32, torch.float64)
        and not has_torch_function_variadic(x, weight)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
