"""The strongest keys of each query, a chunk of rows at a time.

Most keys need not be compared one by one: a row is folded into columns, and the k strongest keys lie in the k columns
whose largest scores are the largest.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mirada.kernels import reference
from mirada.kernels.autograd import wanted
from mirada.kernels.chunks import Memory, cached, chunks
from mirada.kernels.problem import Problem
from mirada.kernels.tuning import tuning


def run(problem: Problem) -> tuple[Tensor, Tensor]:
    """Weights and keys (*leading, L, k), strongest first; the weights differentiable in query and key."""
    scores, k = problem.scores, problem.k
    found = scores.query.new_zeros(*scores.leading, scores.queries, k)
    indices = torch.arange(k, device=found.device).expand(found.shape).clone()  # for queries that attend to nothing
    memory = Memory(found, 2)
    with torch.no_grad():
        for chunk in chunks(scores, cached(found.device), tuning.cached_rows):
            # Of fewer keys than k the whole row is taken, so that there are k to give.
            few = chunk.keys.stop - chunk.keys.start < k
            chunk = chunk._replace(keys=slice(0, scores.keys)) if few else chunk
            buffers = memory.buffers(chunk, scores.keys)
            block = chunk.block(buffers[0])
            best, where = strongest(block, k)
            weights = torch.softmax(block, -1, out=buffers[1][: block.numel()].view(block.shape)).gather(-1, where)
            weights = weights.masked_fill_(best == -torch.inf, 0.0)  # 0 / 0 where a query attends to nothing
            found[chunk.at][..., chunk.rows, :] = weights
            indices[chunk.at][..., chunk.rows, :] = where + chunk.keys.start
    return (_with_graph(problem, found, indices) if wanted(scores) else found), indices


def strongest(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """As ``scores.topk(k)``, of which torch compares every entry with the best so far: (…, rows, k) each."""
    width = tuning.columns_per_k * k  # of that many columns torch's partial sort takes the k largest fast
    folds = scores.shape[-1] // width
    if folds < 4:
        best, keys = scores.topk(k, -1)
        return best, keys
    folded = scores[..., : folds * width].unflatten(-1, (folds, width))
    columns = folded.amax(-2).topk(k, -1, sorted=False).indices[..., None, :].expand(*folded.shape[:-1], k)
    rest = torch.arange(folds * width, scores.shape[-1], device=scores.device)
    keys = (columns + width * torch.arange(folds, device=scores.device)[:, None]).flatten(-2)
    keys = torch.cat([keys, rest.expand(*keys.shape[:-1], -1)], -1)
    best, at = scores.gather(-1, keys).topk(k, -1)
    return best, keys.gather(-1, at)


def _with_graph(problem: Problem, weights: Tensor, indices: Tensor) -> Tensor:
    """The weights with their gradients: those of exp(score − log-normaliser), for the chosen pairs alone."""
    scores = problem.scores
    assert problem.known is not None
    chosen = scores.key[..., None, :, :].expand(*scores.leading, scores.queries, scores.keys, scores.width)
    chosen = chosen.gather(-2, indices[..., None].expand(*indices.shape, scores.width))  # (*leading, L, k, E)
    pairs = (scores.query[..., None, :] * chosen).sum(-1) * scores.scale
    pairs = pairs if scores.softcap is None else scores.softcap * torch.tanh(pairs / scores.softcap)
    logs = torch.where(weights > 0, pairs - problem.known()[..., None], 0.0)
    return weights * torch.exp(logs - logs.detach())


def of_reference(problem: Problem) -> tuple[Tensor, Tensor]:
    """The same from the whole matrix, differentiable in a learned mask too."""
    weights, indices = reference.weights(problem.scores).topk(problem.k, -1)
    return weights, indices
