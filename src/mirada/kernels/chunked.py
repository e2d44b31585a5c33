"""Attention a chunk of rows at a time, in plain torch: any device, any mask, O(L + S) memory beside the inputs.

A chunk is some queries with all the keys that they may attend to, so each row is whole and needs no merging. The way
back forms each chunk again from the log-normalisers (Dao et al. 2022, section 3.1). Where the weights are wanted too,
they are formed where they will stand, in chunks that fit into the cache: as whole tensors, scores, exponentials and
products would each travel to memory and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mirada.kernels import reference
from mirada.kernels.autograd import Gradients, Rule
from mirada.kernels.chunks import Chunk, chunks
from mirada.kernels.logsumexp import refined, weights_from
from mirada.kernels.problem import Problem
from mirada.kernels.scores import HALF, Scores
from mirada.kernels.tuning import tuning


def refuses(problem: Problem) -> str | None:
    """What plain torch a chunk at a time can't do."""
    return problem.learned or problem.nothing


def forward(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """The context (*leading, L, Ev) and log Σ exp(score) (*leading, L), the latter in float32 at least."""
    scores, dtype = scores.upcast(), value.dtype
    value = value.to(scores.query.dtype)
    context = value.new_zeros(*scores.leading, scores.queries, value.shape[-1])
    logsumexp = value.new_full((*scores.leading, scores.queries), -torch.inf)
    for chunk in chunks(scores, tuning.chunk):
        block = chunk.block()
        logsumexp[chunk.at][..., chunk.rows] = torch.logsumexp(block, -1)
        some = reference.context(reference.softmax(block), value[chunk.at][..., chunk.keys, :])
        context[chunk.at][..., chunk.rows, :] = some
    return context.to(dtype), logsumexp


def backward(
    scores: Scores, value: Tensor, known: Tensor, grad_context: Tensor | None, grad_logsumexp: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for query, key and value from the log-normalisers ``known``.

    With P the weights, and dP = dO Vᵀ, the scores' gradient is P ∘ (dP − rowsum(P ∘ dP) + dlogsumexp).
    """
    dtypes, scores = (scores.query.dtype, scores.key.dtype, value.dtype), scores.upcast()
    value = finite_numbers(value.to(scores.query.dtype))
    grad_value = torch.zeros_like(value)

    def of_scores(chunk: Chunk) -> Tensor:
        at, _, rows, keys = chunk
        weights = weights_from(chunk.block(), known[at][..., rows])
        found = None
        if grad_context is not None:
            grad = grad_context[at][..., rows, :].to(weights.dtype)
            grad_value[at][..., keys, :] += weights.mT @ grad
            found = centred(weights, grad @ value[at][..., keys, :].mT)
        if grad_logsumexp is None:
            assert found is not None
            return found
        raised = weights * grad_logsumexp[at][..., rows, None].to(weights.dtype)
        return raised if found is None else found.add_(raised)

    grad_query, grad_key = pulled_back(scores, of_scores, tuning.chunk)
    return grad_query.to(dtypes[0]), grad_key.to(dtypes[1]), grad_value.to(dtypes[2])


def pulled_back(scores: Scores, of_scores: Callable[[Chunk], Tensor], elements: int) -> tuple[Tensor, Tensor]:
    """Gradients for query and key, from that of the scores, which ``of_scores`` gives for each chunk."""
    query, key = scores.query, scores.key
    if scores.mask is not None:
        query, key = finite_numbers(query), finite_numbers(key)
    grad_query, grad_key = torch.zeros_like(query), torch.zeros_like(key)
    for chunk in chunks(scores, elements):
        at, part, rows, keys = chunk
        grad = of_scores(chunk)
        if scores.softcap is not None:
            grad = grad * part.slopes(rows, keys)
        grad_query[at][..., rows, :] = grad @ key[at][..., keys, :] * scores.scale
        grad_key[at][..., keys, :] += grad.mT @ (query[at][..., rows, :] * scores.scale)
    return grad_query, grad_key


def centred(weights: Tensor, through: Tensor) -> Tensor:
    """The gradient of scores from that of their softmax: P ∘ (dP − rowsum(P ∘ dP)). Writes into ``through``."""
    pushed = through.mul_(weights)
    return pushed.addcmul_(weights, pushed.sum(-1, keepdim=True), value=-1)


def transposed(scores: Scores, x: Tensor, known: Tensor) -> Tensor:
    """Aᵀ x for x (*leading, L, m): (*leading, S, m)."""
    scores, dtype = scores.upcast(), x.dtype
    x = x.to(scores.query.dtype)
    received = x.new_zeros(*scores.leading, scores.keys, x.shape[-1])
    for (at, _, rows, keys), some in weights(scores, known):
        received[at][..., keys, :] += some.mT @ x[at][..., rows, :]
    return received.to(dtype)


def weights(scores: Scores, known: Tensor, *, together: bool = False) -> Iterator[tuple[Chunk, Tensor]]:
    """The weights themselves, chunk after chunk; with ``together`` rows of all heads at once."""
    for chunk in chunks(scores, tuning.chunk, together=together):
        yield chunk, weights_from(chunk.block(), known[chunk.at][..., chunk.rows])


def finite_numbers(tensor: Tensor) -> Tensor:
    """The tensor with 0 for NaN and inf: they may stand behind the mask, where 0 × NaN must be 0."""
    return torch.nan_to_num(tensor, nan=0.0, posinf=0.0, neginf=0.0)


def context_and_weights(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """The context (*leading, L, Ev) and the weights (*leading, L, S)."""
    # What no chunk holds is hidden, and stays 0.
    make = torch.empty if scores.unchanged else torch.zeros
    weights = make(*scores.leading, scores.queries, scores.keys, dtype=value.dtype, device=value.device)
    context = make(*scores.leading, scores.queries, value.shape[-1], dtype=value.dtype, device=value.device)
    in_place = scores.unchanged and value.dtype not in HALF  # half precision needs its scores in float32
    for chunk in chunks(scores, tuning.returned):
        at, part, rows, keys = chunk
        piece = weights[at][..., rows, keys]
        if in_place:
            block = part.block(rows, keys, piece.view(-1))
            torch.softmax(block, -1, out=block)
        else:
            piece.copy_(reference.weights(part.rectangle(rows, keys)))
        torch.matmul(piece, value[at][..., keys, :], out=context[at][..., rows, :])
    return context, weights


def context_and_weights_backward(
    scores: Scores, value: Tensor, weights: Tensor, grad_context: Tensor | None, grad_weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients for query, key and value, from those of context and weights."""
    grad_value = torch.zeros_like(value)

    def of_scores(chunk: Chunk) -> Tensor:
        at, _, rows, keys = chunk
        piece = weights[at][..., rows, keys]
        given = None if grad_weights is None else grad_weights[at][..., rows, keys]
        if grad_context is None:
            assert given is not None
            return centred(piece, given.clone())
        grad = grad_context[at][..., rows, :]
        grad_value[at][..., keys, :] += piece.mT @ grad
        through = grad @ value[at][..., keys, :].mT
        return centred(piece, through if given is None else through.add_(given))

    grad_query, grad_key = pulled_back(scores, of_scores, tuning.returned)
    return grad_query, grad_key, None if grad_context is None else grad_value


def _kept(scores: Scores, right: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (refined(scores.upcast(), outputs[1]),)


def _backward(scores: Scores, right: tuple[Tensor, ...], kept: tuple[Tensor, ...], grads: Gradients) -> Gradients:
    return backward(scores, right[0], kept[0], *grads)


#: A @ V and its log-normalisers.
PRODUCT = Rule(forward, _kept, _backward, lambda *args: reference.context_and_logsumexp(*args))
#: A @ V and A, which is kept, as it was wanted.
WEIGHTS = Rule(
    context_and_weights,
    lambda scores, right, outputs: (outputs[1],),
    lambda scores, right, kept, grads: context_and_weights_backward(scores, right[0], kept[0], *grads),
    reference.context_and_weights,
)


def transpose(known: Tensor) -> Rule:
    """Aᵀ @ X. Its gradients are those of A @ dY with X as the incoming gradient, since ⟨dY, Aᵀ X⟩ = ⟨A dY, X⟩."""

    def back(scores: Scores, right: tuple[Tensor, ...], kept: tuple[Tensor, ...], grads: Gradients) -> Gradients:
        assert grads[0] is not None
        grad_query, grad_key, _ = backward(scores, grads[0], kept[0], right[0], None)
        return grad_query, grad_key, forward(scores, grads[0])[0]

    return Rule(
        lambda scores, x: (transposed(scores, x, known),), lambda *_: (known,), back, reference.transposed_product
    )
