"""Points on the way round a shape, and where a model thinks that the way goes on."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

from mirada.plots.style import BLUE, FAINT, INK, RED, SMALL, array, axes_or_new, bare, headline


def corners(points: Any, predictions: Any = None, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw a shape's corners, numbered in the order in which they come, and the predicted ones.

    What is given is filled, what is to be predicted is hollow, predictions are red rings.

    Args:
        points: (n, 2) the true corners, source points first.
        predictions: (m, 2) a model's idea of the last m of them, joined to where they should have been.
        ax: where to draw; without it, on a page of its own.
        title: a sentence above.

    Returns:
        The axes.

    Raises:
        ValueError: not (n, 2) and (m, 2) with m ≤ n.

    Example:
        >>> ax = corners([(-1, -1), (-1, 1), (1, 1), (1, -1)], predictions=[(0.9, 1.1), (1.0, -0.8)])
        >>> [text.get_text() for text in ax.texts]
        ['1', '2', '3', '4']
    """
    true = _pairs("points", points)
    guessed = None if predictions is None else _pairs("predictions", predictions)
    if guessed is not None and len(guessed) > len(true):
        raise ValueError(f"predictions must not be more than the {len(true)} points, but there are {len(guessed)}")
    given = len(true) - (0 if guessed is None else len(guessed))
    ax = axes_or_new(ax, 2.6, 2.6)
    ax.plot(*true.T, color=FAINT, linewidth=1, zorder=1)
    ax.scatter(*true[:given].T, s=130, color=BLUE, zorder=3, linewidths=0)
    ax.scatter(*true[given:].T, s=130, facecolor="white", edgecolor=BLUE, linewidths=1.4, zorder=3)
    for number, (x, y) in enumerate(true, start=1):
        colour = "white" if number <= given else INK
        ax.text(x, y, str(number), ha="center", va="center_baseline", fontsize=SMALL, color=colour, zorder=4)
    if guessed is not None:
        for (x, y), (u, v) in zip(true[given:], guessed, strict=True):
            ax.plot([x, u], [y, v], color=RED, linewidth=1, linestyle=":", zorder=2)
        ax.scatter(*guessed.T, s=130, facecolor="white", linewidths=0, zorder=2.5)  # no dots of the line in a ring
        ax.scatter(*guessed.T, s=130, facecolor="none", edgecolor=RED, linewidths=1.8, zorder=5)
    bare(ax)
    ax.set_aspect("equal")
    ax.margins(0.18)
    headline(ax, title)
    return ax


def _pairs(argument: str, values: Any) -> Any:
    pairs = array(values).astype(float)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"{argument} must be of shape (n, 2), x and y of each, not {pairs.shape}")
    return pairs
