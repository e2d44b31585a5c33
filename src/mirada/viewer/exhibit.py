"""Attention that comes with all that belongs to it: words, a picture, something to try by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from mirada.viewer.labels import Labels
from mirada.viewer.playground import Trial


@dataclass(frozen=True, eq=False)
class Exhibit:
    """Layers on one example, as `mirada.view` takes them."""

    layers: Sequence[Any]
    labels: Labels
    """Of queries and keys."""
    title: str
    image: Tensor | None = None
    patch: int | None = None
    trials: Mapping[str, Trial] = field(default_factory=dict)


@runtime_checkable
class Exhibitor(Protocol):
    """What has examples to show: a run."""

    def exhibit(self, example: int = 0) -> Exhibit:
        """One of them."""
        ...
