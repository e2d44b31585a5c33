"""A matrix as coloured cells: rows are queries, columns are keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from mirada.plots.style import (
    COLOUR_MAP,
    DIVERGING,
    FAINT,
    INK,
    RED,
    SMALL,
    TEXT,
    VEIL,
    array,
    axes_or_new,
    bare,
    headline,
    signed,
)

# Past this many cells a side, hatching would be one grey smear.
READABLE = 64
# Up to here every query and key has its number; up to twice as many, white lines set the cells apart.
ROOMY = 12

Values = Literal["decimals", "percents"] | Sequence[Sequence[object]] | np.ndarray | None


def heatmap(
    weights: Any,
    *,
    ax: Axes | None = None,
    row_labels: Sequence[object] | None = None,
    column_labels: Sequence[object] | None = None,
    values: Values = None,
    red: Any = None,
    hidden: Any = None,
    limits: tuple[float, float] | None = None,
    diverging: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw a matrix (queries, keys) as cells: the deeper the colour, the larger the number.

    Args:
        weights: (L, S) numbers: a tensor, an array or an AttentionMatrix.
        ax: where to draw; without it, on a page of its own.
        row_labels: L names for the queries.
        column_labels: S names for the keys.
        values: what to write in the cells: "decimals" (two), "percents" (whole), or an (L, S) array of texts.
        red: (L, S) booleans: texts to be written in red.
        hidden: (L, S) booleans, True = may not be seen: grey and hatched, unlike a weight of 0.
            -inf and NaN always are.
        limits: the numbers that get the palest and the deepest colour; without it, 0 (or less) and the largest.
        diverging: colour negative numbers blue and positive ones red, 0 white, with as much colour either way.
        title: a sentence above the cells.

    Returns:
        The axes.

    Raises:
        ValueError: `weights` isn't a matrix, or what comes with it has another shape.

    Example:
        >>> ax = heatmap([[0.9, 0.1], [0.5, 0.5]], values="percents")
        >>> [text.get_text() for text in ax.texts]
        ['90', '10', '50', '50']
    """
    numbers = array(weights).astype(float)
    if numbers.ndim != 2:
        raise ValueError(
            f"weights must be a matrix (queries, keys), not of shape {numbers.shape}; choose one: weights[0]"
        )
    rows, columns = numbers.shape
    veiled = ~np.isfinite(numbers) | (False if hidden is None else _matching("hidden", hidden, numbers).astype(bool))
    reds = None if red is None else _matching("red", red, numbers).astype(bool)
    ax = axes_or_new(ax, *_page_size(rows, columns, values is not None))
    headline(ax, title)
    if not numbers.size:
        bare(ax)
        return ax

    seen = numbers[~veiled]
    low, high = limits or (min(0.0, seen.min(initial=0.0)), seen.max(initial=0.0))
    if diverging:
        low, high = -max(-low, high), max(-low, high)
    shown = np.ma.masked_array(numbers, veiled)
    norm = Normalize(low, high if high > low else low + 1)
    ax.imshow(shown, cmap=DIVERGING if diverging else COLOUR_MAP, norm=norm, aspect="auto", interpolation="nearest")
    _veil(ax, veiled)
    if max(rows, columns) <= 2 * ROOMY:
        # White lines between the cells, so that equal neighbours can still be counted.
        ax.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, color="white", linewidth=0.8, zorder=2)
        ax.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, color="white", linewidth=0.8, zorder=2)
    texts = _texts(numbers, veiled, values)
    if texts is not None:
        size = _text_size(ax, texts)
        for (row, column), text in np.ndenumerate(texts):
            if text:
                along = float(norm(numbers[row, column]))
                deep = not veiled[row, column] and (abs(along - 0.5) > 0.3 if diverging else along > 0.52)
                _write(ax, row, column, text, size, deep, reds is not None and bool(reds[row, column]))
    _name(ax, row_labels, column_labels, rows, columns)
    return ax


def _matching(argument: str, values: Any, numbers: np.ndarray) -> np.ndarray:
    given = array(values)
    if given.shape != numbers.shape:
        raise ValueError(f"{argument} must have the shape of weights, {numbers.shape}, not {given.shape}")
    return given


def _page_size(rows: int, columns: int, written: bool) -> tuple[float, float]:
    cell = 0.55 if written else 0.35
    return min(max(cell * columns, 2.0), 9.0) + 0.8, min(max(cell * 0.8 * rows, 1.4), 9.0) + 0.7


def _veil(ax: Axes, veiled: np.ndarray) -> None:
    """Grey and hatch the hidden cells, each run of neighbours in a row as one strip."""
    ax.set_facecolor(VEIL)
    if not veiled.any() or max(veiled.shape) > READABLE:
        return
    strips = []
    for row, line in enumerate(veiled):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
        strips += [Rectangle((a - 0.5, row - 0.5), b - a, 1) for a, b in edges.reshape(-1, 2).tolist()]
    ax.add_collection(PatchCollection(strips, facecolor=VEIL, edgecolor="#b9bfc4", linewidth=0, hatch="////", zorder=1))


def _texts(numbers: np.ndarray, veiled: np.ndarray, values: Values) -> np.ndarray | None:
    if values is None:
        return None
    if isinstance(values, str):
        write = {"decimals": signed, "percents": lambda number: f"{100 * number:.0f}"}.get(values)
        if write is None:
            raise ValueError(f'values must be "decimals", "percents" or an array of texts, not {values!r}')
        texts = [write(x) if np.isfinite(x) else {np.inf: "∞", -np.inf: "−∞"}.get(x, "NaN") for x in numbers.flat]
        return np.array(texts, dtype=object).reshape(numbers.shape)
    return _matching("values", np.asarray(values, dtype=object), numbers).astype(str)


def _text_size(ax: Axes, texts: np.ndarray) -> float:
    """Points: as large as the widest text allows in its cell, within what the eye can take."""
    box = ax.get_window_extent()
    rows, columns = texts.shape
    points = 72 / ax.figure.dpi
    longest = max((len(text) for text in texts.flat), default=1) or 1
    return min(TEXT, box.width * points / columns / longest * 1.25, box.height * points / rows * 0.6)


def _write(ax: Axes, row: int, column: int, text: str, size: float, deep: bool, red: bool) -> None:
    ax.text(
        column,
        row,
        text,
        ha="center",
        va="center",
        fontsize=size,
        color=RED if red else "white" if deep else INK,
        fontweight="bold" if red else "normal",
        # Red on deep blue can't be read without a rim.
        path_effects=[withStroke(linewidth=2.2, foreground="white")] if red else None,
        # The layout needn't measure what lies inside the cells: a third of the time of a page.
        in_layout=False,
    )


def _name(
    ax: Axes, row_labels: Sequence[object] | None, column_labels: Sequence[object] | None, rows: int, columns: int
) -> None:
    """Name queries and keys; where no names are given, number a few, from 1."""
    ax.tick_params(length=0, labelsize=SMALL, colors=INK, labelcolor=INK)
    ax.spines[:].set_visible(False)
    for axis, labels, count, argument in (
        (ax.yaxis, row_labels, rows, "row_labels"),
        (ax.xaxis, column_labels, columns, "column_labels"),
    ):
        if labels is None:
            shown = _counted(count)
            axis.set_ticks([number - 1 for number in shown], map(str, shown))
            axis.set_tick_params(labelcolor=FAINT)
        elif len(labels) == count:
            axis.set_ticks(range(count), [str(label) for label in labels])
        else:
            raise ValueError(f"{argument} must name all {count}, not {len(labels)}")


def _counted(count: int) -> list[int]:
    """1 and some of the numbers up to `count`: all where they fit, else round ones."""
    if count <= ROOMY:
        return list(range(1, count + 1))
    ticks = MaxNLocator(nbins=8, integer=True, steps=[1, 2, 5, 10]).tick_values(0, count)
    return [1, *(int(tick) for tick in ticks if 1 < tick <= count)]
