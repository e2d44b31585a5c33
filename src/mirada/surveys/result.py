"""What a survey found: a table of heads for each summary, printed, asked, kept."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from rich.table import Table
from torch import Tensor

from mirada.models.strongest import short
from mirada.surveys.measuring import Measured
from mirada.surveys.questions import curve_names, edges
from mirada.surveys.state import State
from mirada.surveys.tally import Tally
from mirada.tables import plain_text
from mirada.training.settings import did_you_mean


class Summary:
    """One summary of every head. All tensors are (layers, heads) in float64, curves (layers, heads, bins).

    The mean, standard deviation, minimum, maximum and histogram are over queries, of all texts alike; of a summary that
    gives one number a text they are over texts, weighted with their number of queries.
    """

    def __init__(self, name: str, tally: Tally, bins: list[str]) -> None:
        self.name = name
        self.tally = tally
        self.bins = bins
        """What each bin of a curve holds; empty for a number."""

    @property
    def mean(self) -> Tensor:
        """NaN where nothing was counted."""
        return self._where_counted(self.tally.mean)

    @property
    def std(self) -> Tensor:
        """Standard deviation, √(Σ w (x − mean)² / Σ w)."""
        return (self.tally.squares / self.tally.weight).sqrt()

    @property
    def stderr(self) -> Tensor:
        """Standard error of the mean over texts; a text is a cluster of queries (Cochran 1977, section 6.4)."""
        return self.tally.standard_error()

    @property
    def count(self) -> Tensor:
        """How many queries were counted."""
        return self.tally.weight

    @property
    def texts(self) -> Tensor:
        """How many texts were counted."""
        return self.tally.texts

    @property
    def min(self) -> Tensor:
        """The least value."""
        return self._where_counted(self.tally.least)

    @property
    def max(self) -> Tensor:
        """The largest value."""
        return self._where_counted(self.tally.most)

    @property
    def histogram(self) -> Tensor:
        """(layers, heads, bins): how much was counted in each bin, see `edges`. A curve has none."""
        return self.tally.histogram

    @property
    def edges(self) -> Tensor | None:
        """The edges of the histogram's bins; the first and last bin take what lies beyond."""
        return edges(self.name)

    def strongest(self, count: int = 5) -> list[tuple[int, int]]:
        """The heads with the highest mean, as (layer, head); of entropy and effective keys, the lowest."""
        mean = self.mean if self.mean.ndim == 2 else self.mean[..., 0]
        low = self.name in LOWEST_FIRST
        order = mean.nan_to_num(nan=math.inf if low else -math.inf).flatten().argsort(stable=True, descending=not low)
        heads = mean.shape[1]
        found = [divmod(int(one), heads) for one in order[:count]]
        return [(layer, head) for layer, head in found if not mean[layer, head].isnan()]

    def _where_counted(self, tensor: Tensor) -> Tensor:
        return tensor.where(self.tally.weight > 0, torch.nan)


LOWEST_FIRST = ("entropy", "effective_keys")
"""Of these the lowest is the strongest."""


@dataclass(frozen=True)
class Example:
    """A text and a query where a summary of a head is high."""

    value: float
    name: str
    """Of the text: its line, or its batch and row."""
    start: int
    """The window's first token, counted in the text."""
    ids: tuple[int, ...]
    """The window's tokens."""
    query: int
    """The query's place in the window."""


class Survey:
    """Every head of a model over a corpus; made by `mirada.survey`.

    ``survey["entropy"]`` is a `Summary`; printed, a table of the strongest heads.
    """

    def __init__(self, state: State, settings: Mapping[str, str]) -> None:
        self.state = state
        """What was counted."""
        self.settings = dict(settings)
        """What was asked, of what."""

    @property
    def _total(self) -> Measured:
        assert self.state.total is not None
        return self.state.total

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the modules that attend, in the order of their calls."""
        return self._total.layers

    @property
    def heads(self) -> int:
        """The number of heads of the layer that has the most."""
        return self._total.blind.shape[1]

    @property
    def texts(self) -> int:
        """How many texts were counted; a text longer than a window counts as several."""
        return self._total.texts

    @property
    def tokens(self) -> int:
        """How many tokens they had."""
        return self._total.tokens

    @property
    def padding(self) -> int:
        """How many tokens of padding were left out."""
        return self._total.padding

    @property
    def blind(self) -> Tensor:
        """(layers, heads): queries that may attend to nothing; they are left out of all means."""
        return self._total.blind

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """Texts that could not be counted, and why; of many, the first hundred."""
        return list(self.state.skipped)

    def names(self) -> list[str]:
        """What was asked."""
        return list(self._total.tallies)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __getitem__(self, name: str) -> Summary:
        tallies = self._total.tallies
        if name not in tallies:
            raise KeyError(f"the survey has no {name!r}{did_you_mean(name, tallies)}")
        return Summary(name, tallies[name], curve_names(name, self.state.classes))

    def examples(self, name: str, layer: int, head: int) -> list[Example]:
        """The texts and queries where a summary of a head is highest, highest first."""
        self[name]
        found = self._total.examples.get(name)
        if found is None:
            return []
        rows = zip(*(tensor[layer, head].tolist() for tensor in (found.value, found.text, found.query)), strict=True)
        return [self._example(*row) for row in rows if row[1] in self.state.kept]

    def _example(self, value: float, number: int, query: int) -> Example:
        kept = self.state.kept[number]
        return Example(value, kept.name, kept.start, kept.ids, query)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Keep it in a folder: survey.json, heads.csv, sums.safetensors (histograms among them).

        Raises:
            ValueError: the folder holds something else.
            OSError: it can't be written.
        """
        from mirada.surveys.folder import SurveyFolder

        return SurveyFolder(folder).save(self)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Survey:
        """Read what `save` or the command line kept.

        Raises:
            ValueError: no survey there, a damaged file.
        """
        from mirada.surveys.folder import SurveyFolder

        return SurveyFolder(folder).load()

    @cached_property
    def short_layers(self) -> list[str]:
        """The layers' names without what they all share."""
        return short(self.layers)

    def __repr__(self) -> str:
        lines = ["strongest heads: layer.head, mean ± standard error", plain_text(self._table(), width=160)]
        return "\n".join([*lines, *self.notes()])

    def notes(self) -> list[str]:
        """What was left out."""
        found = [f"{self.texts} texts, {self.tokens} tokens; {self.padding} of padding left out"]
        if self.blind.any():
            found.append(f"up to {int(self.blind.max())} queries of a head may attend to nothing and are left out")
        count = self.state.skipped_count
        if count:
            few = "; ".join(f"{name}: {why}" for name, why in self.skipped[:3])
            found.append(f"{count} {'text' if count == 1 else 'texts'} skipped: {few}{'; …' if count > 3 else ''}")
        return found

    def _table(self) -> Table:
        grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
        for _ in range(6):
            grid.add_column(no_wrap=True)
        for name in self.names():
            summary = self[name]
            if summary.bins:
                continue
            told = f"{name} (lowest)" if name in LOWEST_FIRST else name
            grid.add_row(told, *(self._cell(summary, *head) for head in summary.strongest()))
        return grid

    def _cell(self, summary: Summary, layer: int, head: int) -> str:
        error = float(summary.stderr[layer, head])
        margin = "" if math.isnan(error) else f" ± {error:.2g}"
        return f"{self.short_layers[layer]}.{head} {float(summary.mean[layer, head]):.3g}{margin}"
