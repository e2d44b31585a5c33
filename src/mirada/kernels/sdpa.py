"""torch's public fused call, where it takes the inputs as they are: nothing of ours stands between.

It is the fastest way on every device, and its first gradients are torch's own. What it can't do is left to the other
kernels: gradients of gradients, the normalisers, and NaN or inf behind a mask, which its arithmetic would let through.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mirada.kernels.scores import Scores, finite
from mirada.masks import Mask, is_causal

_RULE = 1 << 18  # entries of a rule: above, bands that skip what it hides are faster, where there is a kernel for them
_TENSOR = 1 << 24  # entries of a mask that is a tensor already: 64 MB in float32


def takes(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether these go in unchanged, without a mask: (batch, heads, length, width) all three, of one width above 1.

    Not where keys are so few that forming the weights is faster.
    """
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)):
        return False
    q, k = query.shape, key.shape
    return (
        len(q) == len(k) == 4
        and k == value.shape
        and q[:2] == k[:2]
        and q[3] == k[3] > 1
        and k[2] * 2 > k[3]
        and 0 not in q
        and 0 not in k
        and query.dtype == key.dtype == value.dtype
        and query.device == key.device == value.device
        and query.is_floating_point()
    )


def context(scores: Scores, value: Tensor) -> Tensor | None:
    """A @ V: (*leading, L, E), differentiable once; None where the call can't be trusted with it."""
    query, key, mask = scores.query, scores.key, scores.mask
    if (
        scores.softcap is not None
        or len(scores.leading) > 2
        or key.shape != value.shape
        or scores.empty
        or scores.width == 1
    ):
        return None
    if scores.keys * 2 <= scores.width:  # as in `takes`
        return None
    graph = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    added, causal = None, False
    if mask is not None:
        # NaN and inf come through the forward pass to be seen; the backward pass can hide that they came through.
        if mask.requires_grad or (graph and not finite(query, key, value)):
            return None
        causal = is_causal(mask)
        added = None if causal else _tensor(mask, scores)
        if added is None and not (causal and scores.scale > 0):
            return None
        # On the CPU such a query gets zeros; what it gets elsewhere depends on the kernel.
        if added is not None and query.device.type != "cpu" and not _all_see_something(added):
            return None
    missing = 2 - len(scores.leading)
    for _ in range(missing):
        query, key, value = query[None], key[None], value[None]
    found = scaled_dot_product_attention(query, key, value, added, is_causal=causal, scale=scores.scale)
    for _ in range(missing):
        found = found[0]
    return found if mask is None or graph or finite(found) else None


def _tensor(mask: Mask, scores: Scores) -> Tensor | None:
    """The mask as the call wants it, or None where that would be large."""
    rows = slice(0, 1 if mask.same_for_all_queries else scores.queries)
    has_bands = not mask.is_tensor and scores.query.device.type == "cpu"
    if rows.stop * scores.keys > (_RULE if has_bands else _TENSOR):
        return None
    visible, bias = mask.block(rows, slice(0, scores.keys), scores.query.device)
    added = visible if bias is None else bias.to(scores.query.dtype).masked_fill(~visible, -torch.inf)
    return None if added.numel() > _TENSOR else added.contiguous()


def _all_see_something(added: Tensor) -> bool:
    return bool((added if added.dtype == torch.bool else added != -torch.inf).any(-1).all())
