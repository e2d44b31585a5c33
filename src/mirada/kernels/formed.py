"""Context and weights together: the matrix is formed, since it is asked for, but in pieces that fit into the cache.

As whole tensors, scores, exponentials and products would each travel to memory and back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mirada.kernels import plain
from mirada.kernels.scores import Scores

_ELEMENTS = 1 << 18  # of a piece: 1 MB in float32


def forward(scores: Scores, value: Tensor) -> tuple[Tensor, Tensor]:
    """The context (*leading, L, Ev) and the weights (*leading, L, S)."""
    # What no piece holds is hidden, and stays 0; without a mask nothing is, and writing zeros first would cost a pass.
    new = value.new_empty if scores.mask is None else value.new_zeros
    weights = new(*scores.leading, scores.queries, scores.keys)
    context = new(*scores.leading, scores.queries, value.shape[-1])
    for at, rows, columns, part in scores.pieces(_ELEMENTS):
        piece = weights[at][..., rows, columns]
        if part.mask is None:
            torch.softmax(part.whole(), -1, out=piece)
        elif not part.empty:
            piece.copy_(plain.softmax(part.whole()))
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
        grad_query[at][..., rows, :] = pushed @ part.key * scores.scale
        grad_key[at][..., columns, :] += pushed.mT @ (part.query * scores.scale)
    return grad_query, grad_key, None if grad_context is None else grad_value
