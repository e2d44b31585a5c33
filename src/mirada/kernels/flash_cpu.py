"""Products with the attention matrix by torch's flash kernel for the CPU: O(L + S) memory, and the log-normalisers too.

The kernel is reached under a private name, because the public one keeps the log-normalisers to itself; `available` says
whether it answers as expected, and the chunked kernel stands in where it doesn't. What the kernel can't take is
brought into its form here: widths that differ are padded, masks become chunks of queries with their own small mask.

The transpose is an attention of its own: with n_i the log-normaliser of query i, Aᵀ X at key j is
Σ_i exp(score_ij − n_i) x_i. There the keys attend to the queries, and each query's score carries the bias −n_i: its
context times the exponential of its own log-normaliser. One fused product, no backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mirada.kernels import chunked, reference
from mirada.kernels.autograd import Gradients, Rule
from mirada.kernels.logsumexp import refined, split
from mirada.kernels.problem import Problem
from mirada.kernels.scores import Scores
from mirada.kernels.tuning import tuning
from mirada.masks import Mask, causal, dense, is_causal
from mirada.masks.views import Transposed

_flash: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
_flash_backward: Any = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu_backward", None)


@cache
def available() -> bool:
    """Whether the private kernel is there and gives what it should, tried once on two keys: weights 1/2 each."""
    try:
        query, key = torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 2, 1)
        value = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1)
        context, logsumexp = _flash(query, key, value, 0.0, False, attn_mask=None, scale=1.0)
        _flash_backward(context, query, key, value, context, logsumexp, 0.0, False, attn_mask=None, scale=1.0)
        return abs(context.item() - 0.5) < 1e-6 and abs(logsumexp.item() - 0.6931472) < 1e-6
    except (TypeError, RuntimeError):
        return False


def refuses(problem: Problem) -> str | None:
    """What this kernel can't do."""
    scores = problem.scores
    if scores.query.device.type != "cpu":
        return f"it is the CPU's, the tensors are on {scores.query.device.type}"
    if scores.softcap is not None:
        return "it knows no softcap"
    # The kernel hides what lies ahead before it scales: a negative scale would make +inf of that −inf, zero a NaN.
    if is_causal(scores.mask) and scores.scale <= 0:
        return "a causal mask needs a scale above 0"
    if not available():
        return "this torch does not have it, or it answers differently"
    return problem.learned or problem.nothing or problem.poisoned


def refuses_transpose(problem: Problem) -> str | None:
    """What this kernel can't do with the transpose."""
    # The bias of the transpose is divided by the scale.
    return "the transpose needs a scale other than 0" if problem.scores.scale == 0 else refuses(problem)


def forward(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """The context (*leading, L, Ev) and the log-normalisers (*leading, L), in float32 at least."""
    query, key, values = _same_width(scores.query, scores.key, value)
    results = []
    for piece in _pieces(scores):
        part = query[..., piece.rows, :], key[..., piece.columns, :], values[..., piece.columns, :]
        results.append(_nothing_seen(part[0]) if piece.empty else _product(part, piece, scores))
    context, logsumexp = _joined(results)
    context = context[..., : value.shape[-1]].reshape(*scores.leading, scores.queries, value.shape[-1])
    return context, logsumexp.reshape(*scores.leading, scores.queries)


def backward(
    scores: Scores, value: Tensor, context: Tensor, known: Tensor, grad_context: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for query, key and value, by the flash kernel's own backward pass, a chunk at a time.

    They are linear in a row's weights: what the kernel's dtype can't hold of its log-normaliser scales its gradient.
    """
    logsumexp, rest = split(known, _norm_dtype(scores.query))
    if rest is not None:
        grad_context = (grad_context * torch.exp(-rest)[..., None]).to(grad_context.dtype)
    query, key, values = _same_width(scores.query, scores.key, value)
    _, contexts, grads = _same_width(scores.query, context, grad_context)
    logsumexp = logsumexp.masked_fill(logsumexp == -torch.inf, 0.0).reshape(*query.shape[:3])
    totals = [torch.zeros_like(t, dtype=_norm_dtype(query)) for t in (query, key, values)]
    for piece in _pieces(scores):
        if piece.empty:
            continue
        rows, columns = (..., piece.rows, slice(None)), (..., piece.columns, slice(None))
        parts = _flash_backward(
            grads[rows],
            query[rows],
            key[columns],
            values[columns],
            contexts[rows],
            logsumexp[..., piece.rows],
            0.0,
            piece.causal,
            attn_mask=piece.mask(scores),
            scale=scores.scale,
        )
        for total, part, where in zip(totals, parts, (rows, columns, columns), strict=True):
            total[where] += part
    targets = (scores.query, scores.key, value)
    grad_query, grad_key, grad_value = (
        total[..., : target.shape[-1]].reshape(target.shape).to(target.dtype)
        for total, target in zip(totals, targets, strict=True)
    )
    return grad_query, grad_key, grad_value


@dataclass(frozen=True)
class _Piece:
    """A chunk of queries with the keys that they may see, and how the kernel is told what they may not."""

    rows: slice
    columns: slice
    causal: bool = False
    masked: bool = False

    @property
    def empty(self) -> bool:
        return self.columns.start == self.columns.stop

    def mask(self, scores: Scores) -> Tensor | None:
        if not self.masked:
            return None
        assert scores.mask is not None
        # One row speaks for all queries where they all see the same.
        rows = slice(0, 1) if scores.mask.same_for_all_queries else self.rows
        visible, bias = scores.mask.block(rows, self.columns, scores.query.device)
        # Unless its last stride is 1, the kernel expands a mask to L × S before it reads it.
        return _four_dimensional(_added(visible, bias, scores.query.dtype), scores.leading).contiguous()


def _product(part: tuple[Tensor, Tensor, Tensor], piece: _Piece, scores: Scores) -> tuple[Tensor, Tensor]:
    mask = piece.mask(scores)
    context, logsumexp = _flash(*part, 0.0, piece.causal, attn_mask=mask, scale=scores.scale)
    return context, _correct_empty_rows(logsumexp, mask)


def _nothing_seen(query: Tensor) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(query), torch.full(query.shape[:-1], -torch.inf, dtype=_norm_dtype(query))


def _pieces(scores: Scores) -> Iterator[_Piece]:
    mask = scores.mask
    whole = slice(0, scores.queries), slice(0, scores.keys)
    if mask is None or is_causal(mask) or mask.same_for_all_queries:
        yield _Piece(*whole, causal=is_causal(mask), masked=mask is not None and not is_causal(mask))
        return
    for rows, columns in _masked_rows(scores, mask):
        yield _Piece(rows, columns, masked=True)


def _masked_rows(scores: Scores, mask: Mask) -> Iterator[tuple[slice, slice]]:
    # A mask that differs from head to head costs as much per head.
    visible, bias = mask.block(slice(0, 1), slice(0, 1), scores.query.device)
    per_row = scores.keys * max(t.shape[:-2].numel() for t in (visible, bias) if t is not None)
    height = max(1, min(tuning.masked_rows, tuning.chunk // per_row))
    for start in range(0, scores.queries, height):
        stop = min(start + height, scores.queries)
        yield slice(start, stop), slice(*mask.keys_seen(start, stop, scores.keys))


def _added(visible: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    """What may be seen as numbers to add: the bias or 0, −inf where hidden."""
    base = torch.zeros((), dtype=dtype) if bias is None else bias.detach().to(dtype)
    return torch.where(visible, base, torch.tensor(-torch.inf, dtype=dtype))


def _same_width(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three as the kernel wants them: four dimensions, one width, numbers side by side.

    Zeros in the padding add nothing to a score, and give columns of context that are cut off afterwards.
    """
    width = max(query.shape[-1], value.shape[-1])
    query, key, value = (_side_by_side(_four_dimensional(t, t.shape[:-2]), width) for t in (query, key, value))
    return query, key, value


def _side_by_side(tensor: Tensor, width: int) -> Tensor:
    tensor = pad(tensor, (0, width - tensor.shape[-1])) if tensor.shape[-1] < width else tensor
    # The kernel takes the last stride for 1, unchecked.
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _four_dimensional(tensor: Tensor, leading: tuple[int, ...]) -> Tensor:
    """(*leading, a, b) as (batch, heads, a, b); a mask's leading dimensions of 1 stay as they are."""
    if len(leading) < 2:
        return tensor.reshape(*tensor.shape[:-2], *[1] * (4 - tensor.ndim), *tensor.shape[-2:])
    if len(leading) == 2:
        return tensor.view(*[1] * (4 - tensor.ndim), *tensor.shape)
    return tensor.expand(*leading, *tensor.shape[-2:]).reshape(-1, leading[-1], *tensor.shape[-2:])


def _correct_empty_rows(logsumexp: Tensor, mask: Tensor | None) -> Tensor:
    """The kernel says 0 where a query sees nothing; −inf is meant."""
    suspects = logsumexp == 0
    if mask is None or not suspects.any():
        return logsumexp
    return logsumexp.masked_fill(suspects & (mask == -torch.inf).all(-1), -torch.inf)


def _joined(results: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(results) == 1:
        return results[0]
    contexts, logsumexps = zip(*results, strict=True)
    return torch.cat(contexts, -2), torch.cat(logsumexps, -1)


def _norm_dtype(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def transposed(scores: Scores, x: Tensor, known: Tensor) -> Tensor:
    """Aᵀ x for x (*leading, L, m), ``known`` the log-normalisers: (*leading, S, m), in float32 at least."""
    scores = scores.upcast()
    coarse, rest = split(known, scores.query.dtype)
    # What the bias can't hold of a log-normaliser scales what its query has to give.
    x = x.to(coarse.dtype) if rest is None else x.to(coarse.dtype) * torch.exp(-rest)[..., None]
    # A query that may attend to nothing has n = −inf; it contributes nothing.
    bias = torch.where(coarse == -torch.inf, coarse, -coarse)  # (*leading, L)
    mask = scores.mask
    if mask is None or mask.same_for_all_queries:
        return _unmasked(scores, x, bias)
    swapped = _with_bias(scores, bias)
    if is_causal(mask) and scores.queries == scores.keys:
        # Read backwards, "only later queries see this key" is the kernel's own causal mask.
        swapped = replace(
            swapped, query=swapped.query.flip(-2), key=swapped.key.flip(-2), mask=causal(scores.keys, scores.queries)
        )
        return _unnormalised(swapped, x.flip(-2)).flip(-2)
    return _unnormalised(replace(swapped, mask=Transposed(mask)), x)


def _unnormalised(swapped: Scores, x: Tensor) -> Tensor:
    context, logsumexp = forward(swapped, x)
    return context * torch.exp(logsumexp)[..., None]


def _unmasked(scores: Scores, x: Tensor, bias: Tensor) -> Tensor:
    """Where all queries see the same keys, the mask only says which keys receive anything, and how much more."""
    mask = dense(bias[..., None, :]).fit(scores.leading, scores.keys, scores.queries)
    received = _unnormalised(replace(scores, query=scores.key, key=scores.query, mask=mask), x)
    if scores.mask is None:
        return received
    visible, added = scores.mask.block(slice(0, 1), slice(0, scores.keys), x.device)  # (..., 1, S)
    if added is not None:
        received = received * torch.exp(added.to(x.dtype)).mT
    return received.masked_fill(~visible.mT, 0.0)


def _with_bias(scores: Scores, bias: Tensor) -> Scores:
    """The transposed scores with the queries' bias as one more channel, so that the mask can stay what it is."""
    ones = scores.key.new_ones(*scores.leading, scores.keys, 1)
    channel = (bias / scores.scale)[..., None]
    return replace(
        scores, query=torch.cat([scores.key, ones], -1), key=torch.cat([scores.query, channel], -1), mask=None
    )


def _kept(scores: Scores, right: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return outputs[0], refined(scores.upcast(), outputs[1])


def _backward(scores: Scores, right: tuple[Tensor, ...], kept: tuple[Tensor, ...], grads: Gradients) -> Gradients:
    context, known = kept
    if grads[0] is None or grads[1] is not None:
        return chunked.backward(scores, right[0], known, *grads)
    return backward(scores, right[0], context, known, grads[0])


#: A @ V and its log-normalisers.
PRODUCT = Rule(forward, _kept, _backward, reference.context_and_logsumexp)


def transpose(known: Tensor) -> Rule:
    """Aᵀ @ X, with the gradients of A @ dY as `chunked.transpose` has them."""

    def back(scores: Scores, right: tuple[Tensor, ...], kept: tuple[Tensor, ...], grads: Gradients) -> Gradients:
        assert grads[0] is not None
        reached, _ = forward(scores, grads[0])
        grad_query, grad_key, _ = backward(scores, grads[0], reached, kept[0], right[0])
        return grad_query, grad_key, reached

    return Rule(
        lambda scores, x: (transposed(scores, x, known).to(x.dtype),),
        lambda *_: (known,),
        back,
        reference.transposed_product,
    )
