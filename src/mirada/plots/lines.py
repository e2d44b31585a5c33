"""How a run went: one line for each split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mirada.plots.style import BLUE, CYCLE, GREEN, INK, ORANGE, SMALL, axes_or_new, headline, quiet

# A split keeps its colour from picture to picture; splits with other names take what is left.
_SPLITS = {"train": ORANGE, "validation": BLUE, "test": GREEN}


def curves(
    metrics: Iterable[Mapping[str, Any]],
    key: str,
    *,
    ax: Axes | None = None,
    log: bool = False,
    title: str | None = None,
) -> Axes:
    """Draw a metric over the epochs, one line for each split; a split measured once is a point.

    Args:
        metrics: rows with "epoch", "split" and `key`, as in a run's metrics.jsonl; rows without `key` are passed over.
        key: the metric: "loss", "accuracy", "bits", ...
        ax: where to draw; without it, on a page of its own.
        log: a logarithmic scale, for losses that fall by orders of magnitude.
        title: a sentence above the lines.

    Returns:
        The axes.

    Raises:
        ValueError: no row has `key`.

    Example:
        >>> rows = [{"epoch": e, "split": "train", "loss": 1 / e} for e in (1, 2, 3)]
        >>> curves(rows, "loss", log=True).get_yscale()
        'log'
    """
    lines: dict[str, list[tuple[float, float]]] = {}
    known: set[str] = set()
    for row in metrics:
        known |= row.keys() - {"epoch", "split"}
        if key in row:
            lines.setdefault(str(row["split"]), []).append((row["epoch"], row[key]))
    if not lines:
        raise ValueError(f"key {key!r} is in no row of metrics; there are: {', '.join(sorted(known)) or 'no rows'}")
    ax = axes_or_new(ax, 5.2, 3.2)
    spare = (colour for colour in CYCLE if colour not in _SPLITS.values())
    for split, points in lines.items():
        epochs, numbers = zip(*points, strict=True)
        colour = _SPLITS.get(split) or next(spare, INK)
        once = len(points) == 1
        ax.plot(
            epochs,
            numbers,
            color=colour,
            linewidth=1.8,
            marker="o" if once else "",
            markersize=6,
            label=split,
            zorder=3,
        )
    quiet(ax)
    ax.set_yscale("log" if log else "linear")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    ax.set_xlabel("epoch", fontsize=SMALL, color=INK)
    ax.set_ylabel(key, fontsize=SMALL, color=INK)
    ax.legend(frameon=False, fontsize=SMALL, labelcolor=INK)
    headline(ax, title)
    return ax
