"""The texts and queries where a summary of a head is highest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

KEPT = 3
"""Texts that are kept for each head and summary."""


@dataclass(frozen=True, eq=False)
class Examples:
    """The highest values of each head, one a text, highest first: (layers, heads, KEPT)."""

    value: Tensor
    """float64; −inf where there are fewer texts."""
    text: Tensor
    """The number of the text; −1 where there is none."""
    query: Tensor
    """The query's position in it; 0 where the value is of the text as a whole."""

    @classmethod
    def of(cls, values: Tensor, weights: Tensor, names: Tensor) -> Examples:
        """Of one layer of a batch: values and weights (texts, heads, n), names (texts,)."""
        shown = values.double().where(weights > 0, -torch.inf)
        best, query = shown.max(-1)  # (texts, heads)
        text = names[:, None].expand_as(best).where(best > -torch.inf, -1)
        return _highest(cls(best.mT, text.mT, query.mT))

    @classmethod
    def stacked(cls, rows: Sequence[Examples], first: int, heads: int) -> Examples:
        """The layers' examples as one, at their place among so many heads."""
        fills = {"value": -torch.inf, "text": -1, "query": 0}

        def filled(tensor: Tensor, name: str) -> Tensor:
            return functional.pad(tensor, (0, 0, first, heads - first - len(tensor)), value=fills[name])

        return cls(*(torch.stack([filled(getattr(row, one.name), one.name) for row in rows]) for one in fields(cls)))

    def merge(self, other: Examples) -> Examples:
        """The highest of both."""
        joined = (torch.cat([getattr(self, one.name), getattr(other, one.name)], -1) for one in fields(self))
        return _highest(Examples(*joined))

    def tensors(self) -> dict[str, Tensor]:
        """All of it, by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}

    def texts(self) -> set[int]:
        """The texts that are needed to show them."""
        return set(self.text.flatten().tolist()) - {-1}


def _highest(found: Examples) -> Examples:
    """KEPT of them, in an order that does not depend on the order in which they came: of equals the earliest text."""
    early = found.text.argsort(stable=True, dim=-1)
    value, text, query = (tensor.gather(-1, early) for tensor in (found.value, found.text, found.query))
    order = value.argsort(stable=True, dim=-1, descending=True)[..., :KEPT]
    value, text, query = (tensor.gather(-1, order) for tensor in (value, text, query))
    missing = KEPT - value.shape[-1]
    if missing > 0:
        value = functional.pad(value, (0, missing), value=-torch.inf)
        text, query = functional.pad(text, (0, missing), value=-1), functional.pad(query, (0, missing))
    return Examples(value, text, query)
