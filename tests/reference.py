"""Attention written out in float64, step by step: what everything else is compared with."""

from __future__ import annotations

import torch
from torch import Tensor


def weights(query: Tensor, key: Tensor, visible: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """The attention matrix, zeros where nothing is seen."""
    scores = scale * torch.einsum("...ie,...je->...ij", query.double(), key.double())
    if bias is not None:
        scores = scores + bias.double()
    scores = torch.where(visible, scores, -torch.inf)
    top = scores.amax(-1, keepdim=True) if scores.shape[-1] else scores.sum(-1, keepdim=True)
    unnormalised = torch.where(visible, torch.exp(scores - torch.where(top == -torch.inf, 0.0, top)), 0.0)
    total = unnormalised.sum(-1, keepdim=True)
    return unnormalised / torch.where(total == 0, 1.0, total)
