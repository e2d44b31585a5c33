"""Log-normalisers, entropies and sums over queries in one pass over the weights, formed a chunk of rows at a time.

Computed one by one, each is as expensive as attention itself. A chunk of weights that is small enough for the
processor's cache answers all of them before the next one takes its place, and needs no values.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from mirada.kernels import chunked, reference
from mirada.kernels.autograd import Gradients, Outputs, Rule, differentiable
from mirada.kernels.chunks import Chunk, Memory, cached, chunks
from mirada.kernels.logsumexp import log_weights, too_large, weights_from
from mirada.kernels.problem import Problem
from mirada.kernels.scores import Scores
from mirada.kernels.tuning import tuning


class Found(NamedTuple):
    """Log-normalisers (*leading, L); entropies (*leading, L) and sums (*leading, bins, S), where they were wanted."""

    logsumexp: Tensor
    entropy: Tensor | None
    sums: Tensor | None


def refuses(problem: Problem) -> str | None:
    """What one pass can't do."""
    return problem.learned or problem.nothing


def run(problem: Problem) -> Found:
    """All that is wanted, differentiable."""
    known = None if problem.known is None or problem.entropy or problem.bins is not None else problem.known()
    rule = _rule(problem.entropy, problem.bins, known)
    return _found(problem, differentiable(rule, problem.scores))


def of_reference(problem: Problem) -> Found:
    """The same from the whole matrix."""
    return _found(problem, _from_weights(problem.scores, problem.entropy, problem.bins))


def one_pass(scores: Scores, entropy: bool, bins: Tensor | None) -> Outputs:
    """Log-normalisers, good enough to give weights back; entropies and sums, where they are wanted."""
    like = scores.query
    largest = like.new_full((*scores.leading, scores.queries), -torch.inf)
    total, entropies = torch.zeros_like(largest), torch.zeros_like(largest)
    sums = None if bins is None else like.new_zeros(*scores.leading, count(bins), scores.keys)
    memory, elements = Memory(like, 2 if entropy else 1), cached(like.device)
    for chunk in chunks(scores, elements, tuning.cached_rows):
        width = scores.keys if sums is not None else max(tuning.block_keys, elements // chunk.queries)
        found = []
        for start in range(chunk.keys.start, chunk.keys.stop, width):
            block = chunk._replace(keys=slice(start, min(start + width, chunk.keys.stop)))
            *rows, weights = of_block(block, entropy, memory.buffers(chunk, width))
            found.append(rows)
            if sums is not None and bins is not None:
                _add(sums[chunk.at], bins[chunk.rows], weights, chunk.keys)
        for whole, part in zip((largest, total, entropies), _joined(found), strict=True):
            whole[chunk.at][..., chunk.rows] = part
    known = largest + total
    if like.dtype != torch.float64 and too_large(known).any():
        known = largest.double() + total
    return known, *([entropies.clamp_min_(0.0)] if entropy else []), *([] if sums is None else [sums])


def of_block(chunk: Chunk, entropy: bool, buffers: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of a block of scores s, by rows: the largest m, log Σ exp(s − m), the entropy; and the weights A = softmax(s).

    The largest weight is 1 / Σ exp(s − m). The entropy is log Σ exp(s) − Σ A s; relative to m no digits are lost,
    however large the scores are.
    """
    block = chunk.block(buffers[0])
    largest = block.amax(-1, keepdim=True)
    hidden = largest == -torch.inf
    unseen = chunk.part.mask is not None and bool(hidden.any())
    middle = largest.masked_fill(hidden, 0.0) if unseen else largest
    relative = entropy and not (block.device.type == "cpu" and bool((middle.abs() <= tuning.near_zero).all()))
    if relative:
        block.sub_(middle)
    if entropy:
        for side in chunk.part.masked(chunk.rows, chunk.keys):  # 0 × −inf is NaN
            start = chunk.keys.start
            block[..., side.start - start : side.stop - start].clamp_(min=torch.finfo(block.dtype).min)
    weights = torch.softmax(block, -1, out=buffers[1][: block.numel()].view(block.shape) if entropy else block)
    total = -weights.amax(-1).log()
    found = torch.zeros_like(total)
    if entropy:
        found = total - block.mul_(weights).sum(-1)
        found = found if relative else found + largest[..., 0]
    if unseen:
        weights.masked_fill_(hidden, 0.0)
        total, found = total.masked_fill(hidden[..., 0], 0.0), found.masked_fill(hidden[..., 0], 0.0)
    return largest[..., 0], total, found, weights


def _joined(blocks: list[list[Tensor]]) -> list[Tensor]:
    """The rows' from those of their blocks, by the chain rule of entropy (Shannon 1948, section 6).

    With w_b the share of block b, H = Σ_b w_b (H_b − log w_b): no term is negative.
    """
    if len(blocks) == 1:
        return blocks[0]
    each, totals, inside = (torch.stack(part, -1) for part in zip(*blocks, strict=True))
    largest = each.amax(-1)
    shifted = each - largest.masked_fill(largest == -torch.inf, 0.0)[..., None] + totals
    total = shifted.logsumexp(-1)
    logs = (shifted - total[..., None]).clamp_min(torch.finfo(total.dtype).min)
    entropy = (logs.exp() * (inside - logs)).sum(-1)
    unseen = largest == -torch.inf
    return [largest, total.masked_fill(unseen, 0.0), entropy.masked_fill(unseen, 0.0)]


def _add(sums: Tensor, bins: Tensor, weights: Tensor, keys: slice) -> None:
    """Adds the weights (…, rows, keys) to the sums (…, bins, S) of the bins that their queries are in."""
    first, last = int(bins[0]), int(bins[-1])
    if first == last:
        reached = weights.sum(-2, keepdim=True)
    else:  # of its own: where keys are cut out, adding into the sums themselves takes four times as long
        reached = weights.new_zeros(*weights.shape[:-2], last + 1 - first, weights.shape[-1])
        reached.index_add_(-2, (bins - first).to(weights.device), weights)
    sums[..., first : last + 1, keys] += reached


def _backward(
    scores: Scores, known: Tensor, entropy: Tensor | None, bins: Tensor | None, grads: Gradients
) -> tuple[Tensor, Tensor]:
    """Gradients for query and key from those of log-normalisers, entropies and sums, whichever there are.

    That of a score is A (dn − (log A + H) dH + dS − rowsum(A dS)).
    """
    of_logsumexp, of_entropy, of_sums = grads

    def of_scores(chunk: Chunk) -> Tensor:
        at, _, rows, keys = chunk
        block, own = chunk.block(), known[at][..., rows]
        weights = weights_from(block, own)
        grad = torch.zeros_like(weights)
        if of_sums is not None and bins is not None:
            grad = chunked.centred(
                weights, of_sums[at][..., keys].index_select(-2, bins[rows].to(weights.device)).to(weights)
            )
        if of_logsumexp is not None:
            grad += weights * of_logsumexp[at][..., rows, None].to(weights)
        if of_entropy is not None and entropy is not None:
            logs = log_weights(block, own, weights) + entropy[at][..., rows, None]
            grad -= weights * logs * of_entropy[at][..., rows, None]
        return grad

    return chunked.pulled_back(scores, of_scores, tuning.chunk)


def _rule(entropy: bool, bins: Tensor | None, known: Tensor | None) -> Rule:
    def forward(scores: Scores) -> Outputs:
        return one_pass(scores, entropy, bins) if known is None else (known.clone(),)

    def kept(scores: Scores, right: Outputs, outputs: Outputs) -> Outputs:
        return outputs[:2] if entropy else outputs[:1]

    def backward(scores: Scores, right: Outputs, kept: Outputs, grads: Gradients) -> Gradients:
        each = iter(grads)
        spread = next(each), next(each) if entropy else None, None if bins is None else next(each)
        return _backward(scores, kept[0], kept[1] if entropy else None, bins, spread)

    return Rule(forward, kept, backward, lambda scores: _from_weights(scores, entropy, bins))


def _from_weights(scores: Scores, entropy: bool, bins: Tensor | None) -> Outputs:
    known = reference.logsumexp(scores)
    found = (known, *([reference.entropy(scores, known)] if entropy else []))
    if bins is None:
        return found
    members = functional.one_hot(bins, count(bins)).to(scores.query)  # (L, bins)
    return *found, members.mT @ reference.weights(scores)


def _found(problem: Problem, outputs: Outputs) -> Found:
    each = iter(outputs)
    return Found(next(each), next(each) if problem.entropy else None, None if problem.bins is None else next(each))


def count(bins: Tensor) -> int:
    """How many bins there are, where queries rise through them."""
    return int(bins[-1]) + 1 if len(bins) else 1
