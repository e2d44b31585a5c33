"""torch's public fused call, where it takes the inputs as they are: nothing of ours stands between.

It is the fastest way on every device, and its first gradients are torch's own. What it can't do is left to the other
kernels: gradients of gradients, the log-normalisers, and NaN or inf behind a mask, which its arithmetic would let
through.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mirada.kernels.problem import Declined, Problem
from mirada.kernels.scores import Scores, finite
from mirada.kernels.tuning import tuning
from mirada.masks import Mask, is_causal


def takes(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether these go in unchanged, without a mask: (batch, heads, length, width) all three, of one width above 1.

    A short way to what `refuses` says, for small calls, which are over before it is through.
    """
    if not (isinstance(query, Tensor) and isinstance(key, Tensor) and isinstance(value, Tensor)):
        return False
    q, k = query.shape, key.shape
    return (
        len(q) == len(k) == 4
        and k == value.shape
        and q[:2] == k[:2]
        and q[3] == k[3] > 1
        and k[2] > q[3] * tuning.keys_per_channel
        and 0 not in q
        and 0 not in k
        and query.dtype == key.dtype == value.dtype
        and query.device == key.device == value.device
        and query.is_floating_point()
    )


def refuses(problem: Problem) -> str | None:
    """What torch's call can't do, or does more slowly than others."""
    scores, value = problem.scores, problem.value
    assert value is not None
    key, mask = scores.key, scores.mask
    if scores.softcap is not None:
        return "it knows no softcap"
    if key.ndim > 4:
        return f"it takes two leading dimensions, these have {len(scores.leading)}"
    if key.shape != value.shape:
        return "the value must be as wide as the keys"
    keys, width = key.shape[-2:]
    if width == 1:
        return "with one channel it is slow"
    if keys <= width * tuning.keys_per_channel:
        return "so few keys are faster formed"
    if mask is None or scores.empty:
        return problem.nothing
    if is_causal(mask):
        if scores.scale <= 0:
            return "a causal mask needs a scale above 0"
    elif _entries(mask, scores) > _limit(mask, scores):
        return "the mask as a tensor would be large"
    # NaN and inf come through the forward pass to be seen; the backward pass can hide that they came through.
    return problem.learned or (problem.poisoned if problem.graph else None)


def refuses_gradients(problem: Problem) -> str | None:
    """The same, where gradients of gradients may be wanted."""
    return "it has no gradients of gradients" if problem.graph else refuses(problem)


def context(problem: Problem) -> Tensor | Declined:
    """A @ V: (*leading, L, E), differentiable once."""
    scores, value, mask = problem.scores, problem.value, problem.scores.mask
    assert value is not None
    query, key = scores.query, scores.key
    added, causal = None, is_causal(mask)
    if mask is not None and not causal:
        added = _tensor(mask, scores)
        if added.numel() > tuning.mask_entries:
            return Declined("the mask as a tensor would be large")
        # On the CPU such a query gets zeros; what it gets elsewhere depends on the kernel.
        if query.device.type != "cpu" and not _all_see_something(added):
            return Declined(f"a query attends to nothing, for which the kernels of {query.device.type} differ")
    missing = 4 - query.ndim
    for _ in range(missing):
        query, key, value = query[None], key[None], value[None]
    found = scaled_dot_product_attention(query, key, value, added, is_causal=causal, scale=scores.scale)
    for _ in range(missing):
        found = found[0]
    if mask is None or found.requires_grad or finite(found):
        return found
    return Declined("NaN or inf came through: it may stand behind the mask")


def _entries(mask: Mask, scores: Scores) -> int:
    return (1 if mask.same_for_all_queries else scores.queries) * scores.keys


def _limit(mask: Mask, scores: Scores) -> int:
    chunks_skip = not mask.is_tensor and scores.query.device.type == "cpu"
    return tuning.rule_entries if chunks_skip else tuning.mask_entries


def _tensor(mask: Mask, scores: Scores) -> Tensor:
    """The mask as the call wants it."""
    rows = slice(0, 1 if mask.same_for_all_queries else scores.queries)
    visible, bias = mask.block(rows, slice(0, scores.keys), scores.query.device)
    added = visible if bias is None else bias.to(scores.query.dtype).masked_fill(~visible, -torch.inf)
    return added if added.numel() > tuning.mask_entries else added.contiguous()


def _all_see_something(added: Tensor) -> bool:
    return bool((added if added.dtype == torch.bool else added != -torch.inf).any(-1).all())
