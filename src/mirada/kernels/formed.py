"""Context and weights together: the matrix is formed, since it is asked for, but in pieces that fit into the cache.

As whole tensors, scores, exponentials and products would each travel to memory and back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mirada.kernels import reference
from mirada.kernels.chunks import bands
from mirada.kernels.scores import HALF, Scores

_ELEMENTS = 1 << 20  # of a piece: 4 MB in float32


def forward(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """The context (*leading, L, Ev) and the weights (*leading, L, S)."""
    outright = scores.unchanged and value.dtype not in HALF  # half precision needs its scores in float32
    return _seen_by_all(scores, value) if outright else _masked(scores, value)


def _seen_by_all(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """Scores are written where the weights will stand: no memory is touched that isn't asked for."""
    values = value.reshape(-1, *value.shape[-2:])  # (M, S, Ev), M all leading dimensions
    weights = value.new_empty(len(values), scores.queries, scores.keys)
    context = value.new_empty(len(values), scores.queries, value.shape[-1])
    for at, rows, band in bands(scores, _ELEMENTS, into=weights):
        torch.bmm(band, values[at], out=context[at, rows])
    return context.view(*scores.leading, *context.shape[1:]), weights.view(*scores.leading, *weights.shape[1:])


def _masked(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """What no piece holds is hidden, and stays 0."""
    weights = value.new_zeros(*scores.leading, scores.queries, scores.keys)
    context = value.new_zeros(*scores.leading, scores.queries, value.shape[-1])
    for at, rows, columns, part in scores.pieces(_ELEMENTS):
        if not part.empty:
            piece = weights[at][..., rows, columns]
            piece.copy_(reference.weights(part))
            torch.matmul(piece, value[at][..., columns, :], out=context[at][..., rows, :])
    return context, weights


def backward(
    scores: Scores, value: Tensor, weights: Tensor, grad_context: Tensor | None, grad_weights: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Gradients for query, key and value, from those of context and weights."""
    grad_query = torch.empty_like(scores.query)
    grad_key, grad_value = torch.zeros_like(scores.key), torch.zeros_like(value)
    for at, rows, columns, part in scores.pieces(_ELEMENTS):
        piece = weights[at][..., rows, columns]
        reaching = None if grad_weights is None else grad_weights[at][..., rows, columns]
        if grad_context is not None:
            grad = grad_context[at][..., rows, :]
            through = grad @ value[at][..., columns, :].mT
            reaching = through if reaching is None else through.add_(reaching)
            grad_value[at][..., columns, :] += piece.mT @ grad
        assert reaching is not None
        pushed = piece * reaching
        pushed.addcmul_(piece, pushed.sum(-1, keepdim=True), value=-1)  # the gradient of the scores
        pushed = pushed * part.slopes(slice(0, part.queries), slice(0, part.keys))
        grad_query[at][..., rows, :] = pushed @ part.key * scores.scale
        grad_key[at][..., columns, :] += pushed.mT @ (part.query * scores.scale)
    return grad_query, grad_key, None if grad_context is None else grad_value
