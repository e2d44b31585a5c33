"""Attention rollout of one query through all layers of a scene, of weights that are given as well."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mirada.matrix import AttentionMatrix
from mirada.viewer.scene import Matrix


def rolled(layers: Sequence[Matrix], query: int) -> Tensor:
    """How much of each token reaches a query of the last layer, (S,): Abnar & Zuidema 2020, half of a layer residual.

    Raises:
        ValueError: layers over different tokens.
    """
    sizes = dict.fromkeys(tuple(layer.shape[-2:]) for layer in layers)
    if len(sizes) > 1 or len(set(next(iter(sizes)))) > 1:
        found = ", ".join(f"{queries} × {keys}" for queries, keys in sizes)
        raise ValueError(f"rollout needs layers over the same tokens, these have {found}")
    mass = torch.nn.functional.one_hot(torch.tensor(query), layers[0].shape[-1]).float()
    for layer in reversed(layers):
        mass = _through(layer, mass)
    return mass


def _through(layer: Matrix, mass: Tensor) -> Tensor:
    """A row of mass (L,) sent back through one layer (H, L, L)."""
    if isinstance(layer, AttentionMatrix):
        sent = mass.to(layer.device)[:, None].expand(layer.shape[0], -1, 1)
        seen = (layer.T @ sent.to(layer.dtype)).float()[..., 0].mean(0)
    else:
        every = torch.arange(layer.shape[-2], device=layer.device)
        seen = (mass.to(layer.device) @ layer.rows(every)).mean(0)
    return 0.5 * mass + 0.5 * seen.cpu()
