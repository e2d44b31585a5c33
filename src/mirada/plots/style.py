"""One style for every picture: ink, colours, the colour map, pages, and how a page reaches the disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from mirada.storage import write_whole

INK = "#1d2a35"
FAINT = "#8b979f"
VEIL = "#e4e6e8"

# Okabe & Ito (2008): told apart with every common kind of colour blindness, and in print.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
CYCLE = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY)

TITLE, TEXT, SMALL = 11.0, 9.0, 7.5
DPI = 150


def _even_steps() -> LinearSegmentedColormap:
    """Pale to deep, each step as large to the eye as the next: straight in the lightness of OKLab (Ottosson 2020)."""
    lightness = np.linspace(0.985, 0.27, 256)
    along = np.linspace(0.0, 1.0, 256)
    chroma = np.interp(along, [0, 0.2, 0.45, 0.8, 1], [0.015, 0.075, 0.105, 0.125, 0.12])
    hue = np.radians(112 + 158 * along**0.8)
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    cone = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(to_rgb @ cone**3, 0, 1)
    rgb = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return LinearSegmentedColormap.from_list("mirada", rgb.T)


COLOUR_MAP = _even_steps()
DIVERGING = LinearSegmentedColormap.from_list("mirada-diverging", [BLUE, "#ffffff", RED])


def array(values: Any) -> np.ndarray:
    """Anything that holds numbers as a NumPy array: tensors of any device and dtype, attention matrices, lists."""
    if hasattr(values, "to_dense"):
        values = values.to_dense()
    if hasattr(values, "detach"):
        # NumPy has no bfloat16, and nothing is drawn finer than a double.
        values = values.detach().cpu().double().numpy()
    return np.asarray(values)


def figure(width: float = 6.4, height: float = 4.0, title: str | None = None) -> Figure:
    """Give an empty page of `width` × `height` inches, laid out so that nothing overlaps.

    Example:
        >>> len(figure(3, 2, "Two by two").subplots(2, 2).flat)
        4
    """
    page = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    if title:
        page.suptitle(title, x=0.01, ha="left", fontsize=TITLE, color=INK, fontweight="bold", wrap=True)
    return page


def panels(
    rows: int, columns: int, *, width: float = 1.5, height: float | None = None, title: str | None = None
) -> tuple[Figure, list[Axes]]:
    """Give a page of rows × columns axes, each `width` × `height` inches, and the axes in reading order.

    Example:
        >>> page, axes = panels(2, 5, title="Ten sequences")
        >>> len(axes)
        10
    """
    page = figure(columns * width, rows * (height or width) + (0.4 if title else 0), title)
    return page, list(page.subplots(rows, columns, squeeze=False).flat)


def signed(number: float, digits: int = 2) -> str:
    """A number with a minus as wide as its digits.

    >>> signed(-0.5)
    '−0.50'
    """
    return f"{number:.{digits}f}".replace("-", "−")


def axes_or_new(ax: Axes | None, width: float, height: float) -> Axes:
    """Take the given axes, or new ones on a page of their own."""
    return figure(width, height).add_subplot() if ax is None else ax


def headline(ax: Axes, title: str | None) -> None:
    """Write a title as a sentence: upright, from the left."""
    if title:
        ax.set_title(title, loc="left", fontsize=TEXT, color=INK, pad=6)


def bare(ax: Axes) -> None:
    """Take frame and ticks away: the picture is its own frame."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def quiet(ax: Axes, x: str = "", y: str = "") -> None:
    """Keep two thin spines and a faint grid, and write what the axes count: the lines speak."""
    if x:
        ax.set_xlabel(x, fontsize=SMALL, color=INK)
    if y:
        ax.set_ylabel(y, fontsize=SMALL, color=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT)
    ax.tick_params(labelsize=SMALL, colors=INK, color=FAINT)
    ax.grid(True, color=VEIL, linewidth=0.6)
    ax.set_axisbelow(True)


def png(page: Figure, dpi: float | None = None) -> bytes:
    """Give the page as the bytes of a PNG file, in dots an inch if they are named.

    Example:
        >>> png(figure(1, 1))[1:4]
        b'PNG'
    """
    return _encoded(page, "png", dpi)


def save(page: Figure, path: str | Path) -> Path:
    """Write the page to `path`, whole or not at all; the ending (.png, .svg, .pdf) says in which format.

    Raises:
        ValueError: the ending names no format that matplotlib can write.
        OSError: the folder can't be made or written, or the disk is full.
    """
    path = Path(path)
    formats = page.canvas.get_supported_filetypes()
    if path.suffix[1:] not in formats:
        raise ValueError(
            f"path {path} must end in a picture format: {', '.join(f'.{name}' for name in sorted(formats))}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_whole(path, _encoded(page, path.suffix[1:]))


def _encoded(page: Figure, kind: str, dpi: float | None = None) -> bytes:
    buffer = io.BytesIO()
    page.savefig(buffer, format=kind, dpi="figure" if dpi is None else dpi)
    return buffer.getvalue()
