"""Fixed bins: the same for every text, process and survey, so that histograms and curves add up and compare."""

from __future__ import annotations

import torch
from torch import Tensor

SHARES = torch.linspace(0, 1, 65, dtype=torch.float64)
"""Edges for shares of attention: 64 bins from 0 to 1."""
NATS = torch.linspace(0, 16, 81, dtype=torch.float64)
"""Edges for entropies: 80 bins of 0.2 nats; ln 8,886,110 = 16."""
SIZES = torch.cat([torch.zeros(1, dtype=torch.float64), 2.0 ** torch.arange(-4, 21, 0.5, dtype=torch.float64)])
"""Edges for positions and numbers of keys: half octaves from 1/16 to about a million."""
_DECADES = 10.0 ** torch.arange(-8, 8.25, 0.25, dtype=torch.float64)
NUMBERS = torch.cat([-_DECADES.flip(0), torch.zeros(1, dtype=torch.float64), _DECADES])
"""Edges for any numbers: four bins a decade from 10⁻⁸ to 10⁸, of either sign."""

OCTAVES = 22
"""Bins of positions and distances: 0, 1, 2–3, 4–7, … 2²⁰ and beyond."""


def histogram(values: Tensor, weights: Tensor, edges: Tensor) -> Tensor:
    """How much weight falls between neighbouring edges: values (rows, n), weights broadcastable to it -> (rows, bins).

    The first and last bin take what lies beyond them. Of a bin the lower edge belongs to it.
    """
    bins = len(edges) - 1
    found = torch.bucketize(values.double().contiguous(), edges[1:-1].to(values.device), right=True)
    counts = torch.zeros(len(values), bins, dtype=torch.float64, device=values.device)
    return counts.scatter_add_(1, found, weights.double().expand_as(values))


def octave(numbers: Tensor) -> Tensor:
    """The bin of whole numbers from 0 up: 0, 1, 2–3, 4–7, …

    >>> octave(torch.tensor([0, 1, 2, 3, 4, 7, 8])).tolist()
    [0, 1, 2, 2, 3, 3, 4]
    """
    starts = 2 ** torch.arange(OCTAVES - 1, device=numbers.device)
    return torch.bucketize(numbers, starts, right=True)


def octave_names() -> list[str]:
    """What each bin of `octave` holds.

    >>> octave_names()[:4]
    ['0', '1', '2–3', '4–7']
    """
    names = ["0", "1", *(f"{2**n}–{2 ** (n + 1) - 1}" for n in range(1, OCTAVES - 2))]
    return [*names, f"{2 ** (OCTAVES - 2)}–"]
