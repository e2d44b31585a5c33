"""Which heads differ between two surveys: Welch's test for each head, corrected for there being many heads."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from rich.table import Table
from scipy import stats
from torch import Tensor

from mirada.models.strongest import short
from mirada.surveys.result import Summary, Survey
from mirada.tables import plain_text

LEVEL = 0.05
"""The false discovery rate at which heads are said to differ."""


@dataclass(frozen=True, eq=False)
class Difference:
    """One summary of every head in two surveys. All tensors are (layers, heads); NaN where a test is not possible."""

    name: str
    first: Tensor
    second: Tensor
    pvalue: Tensor
    """Of Welch's test, two-sided: how often two equal heads would differ by as much, by the choice of texts alone."""
    adjusted: Tensor
    """The same corrected for all heads of the summary: of those with at most q, about a share q differ by chance."""

    @property
    def difference(self) -> Tensor:
        """Second minus first."""
        return self.second - self.first

    def found(self, level: float = LEVEL) -> list[tuple[int, int]]:
        """The heads that differ at a false discovery rate, largest difference first."""
        layers, heads = (self.adjusted <= level).nonzero().unbind(-1)
        order = self.difference[layers, heads].abs().argsort(descending=True, stable=True)
        return [(int(layers[n]), int(heads[n])) for n in order]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two surveys, summary by summary; printed, a table."""

    layers: tuple[str, ...]
    differences: tuple[Difference, ...]
    texts: tuple[int, int]

    def __getitem__(self, name: str) -> Difference:
        return next(one for one in self.differences if one.name == name)

    def __repr__(self) -> str:
        grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        for one in self.differences:
            heads = one.found()
            tested = int((~one.pvalue.isnan()).sum())
            shown = [self._cell(one, *head) for head in heads[:4]]
            grid.add_row(one.name, f"{len(heads)} of {tested} heads differ", *shown, *[""] * (4 - len(shown)))
        said = (
            f"Welch's test of the means over {self.texts[0]} and {self.texts[1]} texts, each head by itself; the "
            "p-values of a summary are corrected (Benjamini and Hochberg 1995): of the heads that differ at "
            f"{LEVEL:g}, about {100 * LEVEL:g} % do so by chance. Texts count as independent. Where both surveys read "
            "the same ones, a true difference is found less often than it could be."
        )
        return f"{said}\nlayer.head: difference (second − first), corrected p\n{plain_text(grid, width=160)}"

    def _cell(self, one: Difference, layer: int, head: int) -> str:
        name = short(self.layers)[layer]
        return f"{name}.{head}: {float(one.difference[layer, head]):+.3g}, {float(one.adjusted[layer, head]):.1g}"


def compare(first: Survey, second: Survey) -> Comparison:
    """Test each head of two surveys for a difference, for every summary that both have.

    Raises:
        ValueError: their layers or heads differ, or they share no summary.
    """
    if (first.layers, first.heads) != (second.layers, second.heads):
        raise ValueError(
            f"the surveys are of different heads: {len(first.layers)} layers of {first.heads} ({first.layers[0]}, …) "
            f"and {len(second.layers)} of {second.heads} ({second.layers[0]}, …)"
        )
    shared = [name for name in first if name in second.names() and not first[name].bins]
    if not shared:
        raise ValueError(f"the surveys share no summary: {', '.join(first)} and {', '.join(second)}")
    found = tuple(_tested(first[name], second[name]) for name in shared)
    return Comparison(first.layers, found, (first.texts, second.texts))


def _tested(first: Summary, second: Summary) -> Difference:
    """Welch (1947): t = (x − y) / √(a + b), with a and b the squared standard errors of the means."""
    a, b = first.stderr.square(), second.stderr.square()
    freedom = (a + b).square() / (a.square() / (first.texts - 1) + b.square() / (second.texts - 1))
    apart = (second.mean - first.mean).abs()
    t = apart / (a + b).sqrt()
    certain = a + b == 0  # no spread at all: they are equal or they are not
    t = t.where(~certain, torch.where(apart > 0, math.inf, 0.0))
    pvalue = torch.from_numpy(2 * stats.t.sf(t.numpy(), freedom.where(~certain, 1.0).numpy()))
    adjusted = torch.full_like(pvalue, torch.nan)
    tested = ~pvalue.isnan()
    if tested.any():
        adjusted[tested] = torch.from_numpy(stats.false_discovery_control(pvalue[tested].numpy()))
    return Difference(first.name, first.mean, second.mean, pvalue, adjusted)
