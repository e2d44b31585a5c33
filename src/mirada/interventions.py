"""What can be changed in a model's attention while it is watched: heads ablated, edges knocked out, weights made even.

>>> import torch, mirada
>>> model = torch.nn.MultiheadAttention(8, 2, bias=False)
>>> with mirada.watch(model, edit=mirada.interventions.ablate(heads=[0, 1])):
...     output, _ = model(*[torch.randn(3, 1, 8)] * 3)
>>> output.abs().max().item()
0.0
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from mirada.masks import Mask, as_mask
from mirada.watching.edits import Edit
from mirada.watching.select import check_heads

__all__ = ["Edit", "ablate", "knock_out_edges", "uniform"]

Layers = int | str | Iterable[int | str] | None
Heads = int | Iterable[int] | None


def ablate(*, layers: Layers = None, heads: Heads = None) -> Edit:
    """Silences heads: their context is 0 (Michel et al. 2019).

    Args:
        layers: names or patterns of modules, or numbers of blocks; None means all.
        heads: numbers of heads; None means all.

    >>> import mirada, torch
    >>> model = torch.nn.MultiheadAttention(8, 2, bias=False)
    >>> with mirada.watch(model, edit=ablate()):
    ...     output, _ = model(*[torch.randn(3, 1, 8)] * 3)
    >>> output.abs().max().item()
    0.0
    """
    return Edit("ablate", _as_given(layers), check_heads(heads))


def knock_out_edges(mask: Mask | Tensor, *, layers: Layers = None, heads: Heads = None) -> Edit:
    """Cuts edges: queries attend only where both the model and this mask allow it (Geva et al. 2023).

    Args:
        mask: a ``mirada.masks`` mask, or a tensor that broadcasts to (..., L, S): bool (True = may attend) or floating.
        layers: names or patterns of modules, or numbers of blocks; None means all.
        heads: numbers of heads; None means all.

    Raises:
        TypeError: a mask that is neither bool nor floating. One that doesn't fit is a ValueError at the call.

    >>> import mirada, torch
    >>> model = torch.nn.MultiheadAttention(8, 2)
    >>> with mirada.watch(model, edit=knock_out_edges(mirada.masks.sliding_window(0, 0))) as records:
    ...     output, _ = model(*[torch.randn(2, 1, 8)] * 3)
    >>> records[0].matrix.to_dense()[0, 0].tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    rule = as_mask(mask)
    if rule is None:
        raise TypeError("mask must be a mask or a tensor, got None: an edit that cuts nothing")
    return Edit("knock out edges", _as_given(layers), check_heads(heads), rule)


def uniform(*, layers: Layers = None, heads: Heads = None) -> Edit:
    """Makes each query attend to all keys that it may attend to alike.

    Args:
        layers: names or patterns of modules, or numbers of blocks; None means all.
        heads: numbers of heads; None means all.

    >>> import mirada, torch
    >>> model = torch.nn.MultiheadAttention(8, 2)
    >>> with mirada.watch(model, edit=uniform(heads=1)) as records:
    ...     output, _ = model(*[torch.randn(2, 1, 8)] * 3)
    >>> records[0].matrix.to_dense()[0, 1].tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    return Edit("uniform", _as_given(layers), check_heads(heads))


def _as_given(layers: Layers) -> tuple[int | str, ...] | None:
    if layers is None:
        return None
    return (layers,) if isinstance(layers, (int, str)) else tuple(layers)
