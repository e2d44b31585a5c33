"""Normalisers and entropies of rows that nothing hides: block by block, each score formed once, and no values.

A block of keys gives its own normaliser n_b and entropy H_b, and the row's follow from those (the chain rule of
entropy, Shannon 1948, section 6): with w_b = exp(n_b − n), H = Σ_b w_b (H_b − log w_b). No term is negative, so no
digits are lost however large the scores are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mirada.kernels.chunks import capacity
from mirada.kernels.logsumexp import kept
from mirada.kernels.scores import Scores

_SIDE = 512  # of a block: long enough for its product to be fast


@torch.no_grad()
def logsumexp(scores: Scores) -> Tensor:
    """The normalisers, (*leading, L), good enough to give weights back."""
    exact = scores.query.new_empty(scores.query.shape[:-1].numel(), dtype=torch.float64).view(-1, scores.queries)
    for at, blocks in _bands(scores):
        exact[at] = torch.stack([_normaliser(block, room) for block, room in blocks], -1).logsumexp(-1)
    return kept(exact, scores.query.dtype).view(*scores.leading, -1)


@torch.no_grad()
def entropy(scores: Scores) -> tuple[Tensor, Tensor]:
    """The entropies, (*leading, L), and the same normalisers."""
    found = scores.query.new_empty(scores.query.shape[:-1].numel()).view(-1, scores.queries)
    exact = torch.empty_like(found, dtype=torch.float64)
    for at, blocks in _bands(scores):
        own, inside = (torch.stack(part, -1) for part in zip(*(_entropy(*block) for block in blocks), strict=True))
        exact[at] = own.logsumexp(-1)
        logs = (own - exact[at][..., None]).to(found.dtype)
        found[at] = (logs.exp() * (inside - logs)).sum(-1)
    known = kept(exact, found.dtype)
    return found.view(*scores.leading, -1), known.view(*scores.leading, -1)


def _normaliser(block: Tensor, room: Tensor) -> Tensor:
    """The normalisers of a block's rows, in float64: the largest weight is e⁰ over what all sum up to."""
    weights = torch.softmax(block, -1, out=room)
    return block.amax(-1).double() - weights.amax(-1).log()


def _entropy(block: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    """The same, and the entropies; writes into both."""
    largest = block.amax(-1, keepdim=True)
    weights = torch.softmax(block.sub_(largest), -1, out=room)
    total = -weights.amax(-1).log()
    return largest[..., 0].double() + total, total - weights.mul_(block).sum(-1)


def _bands(scores: Scores) -> Iterator[tuple[tuple[slice, slice], Iterator[tuple[Tensor, Tensor]]]]:
    """Some queries at a time: which of M, which queries, and the blocks of their scores with room for as many numbers.

    M are all leading dimensions laid in a row. All blocks take the same memory.
    """
    query, key = (tensor.reshape(-1, *tensor.shape[-2:]) for tensor in (scores.query * scores.scale, scores.key))
    elements, height = capacity(query.device), min(scores.queries, _SIDE)
    together = min(len(query), max(1, elements // (height * min(scores.keys, _SIDE))))
    width = min(scores.keys, max(1, elements // (height * together)))
    memory = query.new_empty(2, together * height * width)
    for start in range(0, len(query), together):
        for row in range(0, scores.queries, height):
            at = slice(start, start + together), slice(row, row + height)
            yield at, _blocks(query[at], key[at[0]], width, memory)


def _blocks(query: Tensor, key: Tensor, width: int, memory: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    for column in range(0, key.shape[1], width):
        some = key[:, column : column + width].mT
        block, room = memory[:, : query.shape[:2].numel() * some.shape[-1]].view(2, *query.shape[:2], -1)
        yield torch.bmm(query, some, out=block), room
