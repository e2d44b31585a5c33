"""Attention in the plane: a query among its keys, and a context as the weighted sum of values."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mirada.plots.style import BLUE, CYCLE, FAINT, INK, SMALL, array, axes_or_new, headline, quiet, signed

_OFFERED = tuple(colour for colour in CYCLE if colour != BLUE)  # keys and their values; blue is the query's


def vectors(query: Any, keys: Any, *, scale: float = 1.0, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw a query and its keys as arrows from the origin, with their lengths and the cosines between them.

    A score is the product of the three numbers that can be read off: length of the query, length of the key, cosine.
    Where the softmax was taken of scaled scores, the legend has those too.

    Args:
        query: (2,).
        keys: (S, 2).
        scale: what the scores were multiplied by before the softmax; 1/√d in a model.
        ax: where to draw; without it, on a page of its own.
        title: a sentence above.

    Returns:
        The axes.

    Raises:
        ValueError: not vectors in the plane.

    Example:
        >>> ax = vectors([1.0, 0.0], [[0.0, 2.0], [3.0, 0.0]])
        >>> print(ax.get_legend().get_texts()[1].get_text())
        key 1: length 2.00, cosine 0.00, score 0.00
    """
    asks = _plane("query", query, 1)
    offers = _plane("keys", keys, 2)
    lengths = np.linalg.norm(offers, axis=1)
    scores = offers @ asks
    reach = np.linalg.norm(asks) * lengths
    cosines = np.divide(scores, reach, out=np.zeros_like(scores), where=reach > 0)
    ax = axes_or_new(ax, 4.6, 5.0)
    handles = [_arrow(ax, (0, 0), asks, BLUE, f"query: length {np.linalg.norm(asks):.2f}", width=0.012)]
    for number, (key, length, cosine, score) in enumerate(zip(offers, lengths, cosines, scores, strict=True), start=1):
        text = f"key {number}: length {length:.2f}, cosine {signed(cosine)}, score {signed(score)}"
        text += f" × {scale:.2f} = {signed(score * scale)}" if scale != 1 else ""
        handles.append(_arrow(ax, (0, 0), key, _OFFERED[(number - 1) % len(_OFFERED)], text))
        _beyond(ax, key, f"key {number}")
    _beyond(ax, asks, "query")
    _frame(ax, np.vstack([asks, offers]), handles)
    headline(ax, title)
    return ax


def weighted_sum(values: Any, weights: Any, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw a context as what it is: the values, each shortened to its weight, laid head to tail.

    Args:
        values: (S, 2).
        weights: (S,).
        ax: where to draw; without it, on a page of its own.
        title: a sentence above.

    Returns:
        The axes.

    Raises:
        ValueError: not vectors in the plane, or not one weight for each.

    Example:
        >>> ax = weighted_sum([[1.0, 0.0], [0.0, 1.0]], [0.25, 0.75])
        >>> print(ax.get_legend().get_texts()[-1].get_text())
        context: (0.25, 0.75)
    """
    offers = _plane("values", values, 2)
    shares = array(weights).astype(float).ravel()
    if len(shares) != len(offers):
        raise ValueError(f"weights must be one for each of the {len(offers)} values, not {len(shares)}")
    steps = offers * shares[:, None]
    stops = np.vstack([np.zeros(2), np.cumsum(steps, axis=0)])
    ax = axes_or_new(ax, 4.6, 5.0)
    handles = []
    for number, (value, share, start, step) in enumerate(zip(offers, shares, stops, steps, strict=False), start=1):
        colour = _OFFERED[(number - 1) % len(_OFFERED)]
        ax.plot([0, value[0]], [0, value[1]], color=colour, linewidth=1, linestyle=(0, (2, 2)), zorder=2)
        ax.plot(*value, color=colour, marker="o", markersize=4, zorder=2)
        _beyond(ax, value, f"value {number}")
        handles.append(_arrow(ax, start, step, colour, f"value {number} × {share:.2f}"))
    context = stops[-1]
    handles.append(
        _arrow(ax, (0, 0), context, INK, f"context: ({signed(context[0])}, {signed(context[1])})", width=0.012)
    )
    _frame(ax, np.vstack([offers, stops]), handles)
    headline(ax, title)
    return ax


def _plane(argument: str, values: Any, dimensions: int) -> np.ndarray:
    given = array(values).astype(float)
    given = given.reshape(-1) if dimensions == 1 else given
    if given.ndim != dimensions or given.shape[-1] != 2:
        wanted = "(2,)" if dimensions == 1 else "(n, 2)"
        raise ValueError(f"{argument} must be of shape {wanted} to be drawn in the plane, not {array(values).shape}")
    return given


def _arrow(ax: Axes, start: Any, step: Any, colour: str, label: str, width: float = 0.008) -> Any:
    return ax.quiver(
        *start, *step, angles="xy", scale_units="xy", scale=1, width=width, color=colour, label=label, zorder=3
    )


def _frame(ax: Axes, points: np.ndarray, handles: list[Any]) -> None:
    """Show the origin and every arrowhead, one unit as long across as upwards, and the words below."""
    quiet(ax)
    ax.axhline(0, color=FAINT, linewidth=0.6)
    ax.axvline(0, color=FAINT, linewidth=0.6)
    shown = np.vstack([points, np.zeros(2)])
    low, high = shown.min(axis=0), shown.max(axis=0)
    middle, reach = (low + high) / 2, 0.72 * max((high - low).max(), 1e-9)
    ax.set(xlim=middle[0] + reach * np.array([-1, 1]), ylim=middle[1] + reach * np.array([-1, 1]), aspect="equal")
    # Standing on the bottom of its place, so that the layout knows how much space the words need.
    ax.set_anchor("S")
    below = {"loc": "upper left", "bbox_to_anchor": (0, 0), "borderaxespad": 3.0, "frameon": False}
    ax.legend(handles=handles, fontsize=SMALL, labelcolor=INK, **below)


def _beyond(ax: Axes, tip: np.ndarray, name: str) -> None:
    """Write a name just past an arrow's tip, where the arrow points."""
    length = np.hypot(*tip)
    away = tip / length * 8 if length else np.array([8, 8])
    side = "left" if away[0] > 3 else "right" if away[0] < -3 else "center"
    ax.annotate(
        name,
        tuple(tip),
        tuple(away),
        textcoords="offset points",
        ha=side,
        va="center",
        fontsize=SMALL,
        color=INK,
        zorder=4,
    )
