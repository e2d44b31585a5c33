"""Attention that comes with all that belongs to it: words, a picture, something to try by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from mirada.dense import DenseAttention
from mirada.matrix import AttentionMatrix
from mirada.viewer.labels import Labels
from mirada.viewer.playground import Trial


@dataclass(frozen=True, eq=False)
class Exhibit:
    """What a system's `exhibit` gives: the attention on one example, as `mirada.view` takes it."""

    layers: Any
    """The records of `mirada.watch`, or what else `mirada.view` takes, for a batch of one."""
    labels: Labels
    """Of queries and keys."""
    title: str
    image: Tensor | None = None
    patch: int | tuple[int, int] | None = None
    trials: Mapping[str, Trial] = field(default_factory=dict)
    """What can be tried by hand, by name."""


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention under a name of its own: what an exhibit shows in place of a record of `mirada.watch`."""

    name: str
    matrix: AttentionMatrix | DenseAttention
    """(H, L, S)."""
    value: Tensor
    """(H, S, Ev)."""


@runtime_checkable
class Exhibitor(Protocol):
    """What has examples to show: a run."""

    def exhibit(self, example: int = 0) -> Exhibit:
        """One of them."""
        ...


def picked(examples: Tensor, example: int) -> Tensor:
    """One of a system's test examples (N, ...).

    >>> import torch
    >>> picked(torch.zeros(5, 2), 7)
    Traceback (most recent call last):
        ...
    ValueError: example=7 is not among the 5 test examples, 0 to 4
    """
    if not 0 <= example < len(examples):
        raise ValueError(f"example={example} is not among the {len(examples)} test examples, 0 to {len(examples) - 1}")
    return examples[example]
