"""Images, their patches, and where attention falls on them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from mirada.plots.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    RED,
    SMALL,
    array,
    axes_or_new,
    bare,
    headline,
    panels,
)

Patch = int | tuple[int, int]
"""Pixels a side of a square patch, or height and width."""


def grid(
    images: Any,
    labels: Any,
    predictions: Any = None,
    *,
    rows: int = 8,
    columns: int = 8,
    title: str | None = None,
) -> Figure:
    """Draw images in a grid, each under its label, or under "label/prediction": green when right, bold red when wrong.

    Args:
        images: (N, H, W), (N, 1, H, W) or flat (N, H·W) square ones; the first rows · columns are drawn.
        labels: (N,) what each is.
        predictions: (N,) what a model took each for.
        rows: how many below each other.
        columns: how many side by side.
        title: a sentence above the grid.

    Returns:
        The page.

    Raises:
        ValueError: the images can't be drawn, or labels or predictions are not one for each image.

    Example:
        >>> page = grid([[[0, 1], [1, 0]]], labels=[3], predictions=[5], rows=1, columns=1)
        >>> page.axes[0].get_title()
        '3/5'
    """
    pictures = _pictures(images)
    names = _one_each("labels", labels, pictures)
    guesses = None if predictions is None else _one_each("predictions", predictions, pictures)
    page, axes = panels(rows, columns, width=0.72, height=0.86, title=title)
    for ax in axes:
        bare(ax)
    for number, (ax, picture) in enumerate(zip(axes, pictures, strict=False)):
        _paper(ax, picture)
        right = guesses is not None and guesses[number] == names[number]
        ax.set_title(
            names[number] if guesses is None else f"{names[number]}/{guesses[number]}",
            fontsize=SMALL,
            pad=2,
            color=INK if guesses is None else GREEN if right else RED,
            fontweight="bold" if guesses is not None and not right else "normal",
        )
    return page


def patches(image: Any, patch: Patch, *, ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw an image cut into patches, numbered in reading order from 1.

    Args:
        image: (H, W), (1, H, W) or flat (H·W,) and square.
        patch: pixels a side, or height and width of a patch; they divide H and W.
        ax: where to draw; without it, on a page of its own.
        title: a sentence above.

    Returns:
        The axes.

    Raises:
        ValueError: not an image, or `patch` doesn't divide its sides.

    Example:
        >>> len(patches([[0, 1], [1, 0]], 1).texts)
        4
    """
    tiles = _tiles(_picture(image), patch)
    high, wide, tall, broad = tiles.shape
    gap = max(1, round(min(tall, broad) / 7))
    ax = axes_or_new(ax, 3.2, 3.2)
    ax.imshow(_mosaic(tiles, gap), cmap="gray_r", interpolation="nearest", vmin=0, vmax=1.15)
    for row, column in np.ndindex(high, wide):
        left, top = column * (broad + gap) - 0.5, row * (tall + gap) - 0.5
        ax.add_patch(Rectangle((left, top), broad, tall, fill=False, edgecolor=FAINT, linewidth=0.6))
        place = left + 0.06 * broad, top + 0.08 * tall
        number = ax.text(*place, str(row * wide + column + 1), va="top", fontsize=SMALL)
        number.set(color=BLUE, path_effects=[withStroke(linewidth=2, foreground="white")])
    bare(ax)
    # Half a pixel of air, or the outermost frames are cut in two.
    ax.set(xlim=(-1, wide * (broad + gap) - gap), ylim=(high * (tall + gap) - gap, -1))
    headline(ax, title)
    return ax


def over_image(
    image: Any,
    weights: Any,
    *,
    patch: Patch | None = None,
    query: int | None = None,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Lay the weights of one query over an image: the more orange, the more it is attended to.

    Args:
        image: (H, W), (1, H, W) or flat (H·W,) and square.
        weights: (S,) one weight for each patch in reading order, or for each pixel; the largest gets the full colour.
        patch: pixels a side of a patch, or its height and width; without it, the squares that S asks for.
        query: which patch attends: outlined in blue.
        ax: where to draw; without it, on a page of its own.
        title: a sentence above.

    Returns:
        The axes.

    Raises:
        ValueError: the weights don't tile the image.

    Example:
        >>> ax = over_image([[0, 1], [1, 0]], [0.1, 0.2, 0.3, 0.4], query=3)
        >>> len(ax.patches)
        1
    """
    picture = _picture(image)
    attended = array(weights).astype(float).ravel()
    size = _size_of_patch(picture, len(attended), patch)
    ax = axes_or_new(ax, 2.4, 2.6)
    ax.imshow(_tinted(picture, attended, size), interpolation="nearest")
    if query is not None:
        _outline(ax, query, picture.shape[1] // size[1], size, 0, 0)
    bare(ax)
    headline(ax, title)
    return ax


def gaze(
    image: Any, weights: Any, *, patch: Patch | None = None, ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Draw what every patch attends to: one small image for each, in the patch's place, with the patch outlined.

    Args:
        image: (H, W), (1, H, W) or flat (H·W,) and square.
        weights: (S, S) the attention of one head among the S patches; each row's largest gets the full colour.
        patch: pixels a side of a patch, or its height and width; without it, the squares that S asks for.
        ax: where to draw; without it, on a page of its own.
        title: a sentence above.

    Returns:
        The axes.

    Raises:
        ValueError: the weights aren't square, or don't tile the image.

    Example:
        >>> import numpy as np
        >>> len(gaze([[0, 1], [1, 0]], np.full((4, 4), 0.25)).patches)
        4
    """
    picture = _picture(image)
    attended = array(weights).astype(float)
    if attended.ndim != 2 or attended.shape[0] != attended.shape[1]:
        raise ValueError(f"weights must be (patches, patches) of one head, not of shape {attended.shape}")
    size = _size_of_patch(picture, len(attended), patch)
    high, wide = picture.shape[0] // size[0], picture.shape[1] // size[1]
    gap = max(2, round(min(picture.shape) / 7))
    thumbs = np.stack([_tinted(picture, row, size) for row in attended]).reshape(high, wide, *picture.shape, 3)
    ax = axes_or_new(ax, 4.2, 4.4)
    ax.imshow(_mosaic(thumbs, gap), interpolation="nearest")
    for query in range(len(attended)):
        top, left = (place * (side + gap) for place, side in zip(divmod(query, wide), picture.shape, strict=True))
        _outline(ax, query, wide, size, left, top)
    bare(ax)
    headline(ax, title)
    return ax


def gazes(image: Any, weights: Any, *, patch: Patch | None = None, title: str | None = None) -> Figure:
    """Draw what every patch attends to, head by head: a `gaze` for each.

    Args:
        image: (H, W), (1, H, W) or flat (H·W,) and square.
        weights: (heads, S, S) among the S patches.
        patch: pixels a side of a patch, or its height and width; without it, the squares that S asks for.
        title: a sentence above.

    Returns:
        The page.

    Raises:
        ValueError: not (heads, S, S), or the weights don't tile the image.

    Example:
        >>> import numpy as np
        >>> len(gazes([[0, 1], [1, 0]], np.full((3, 4, 4), 0.25)).axes)
        3
    """
    attended = array(weights)
    if attended.ndim != 3:
        raise ValueError(f"weights must be (heads, patches, patches), not of shape {attended.shape}")
    columns = min(len(attended), 4)
    rows = math.ceil(len(attended) / columns)
    page, axes = panels(rows, columns, width=2.5, height=2.7, title=title)
    for ax in axes[len(attended) :]:
        bare(ax)
    for head, (ax, of_head) in enumerate(zip(axes, attended, strict=False), start=1):
        gaze(image, of_head, patch=patch, ax=ax, title=f"head {head}")
    return page


def _pictures(images: Any) -> np.ndarray:
    """Give (N, H, W) in 0 (paper) to 1 (ink), the darkest and the lightest of all the images being 0 and 1."""
    given = array(images).astype(float)
    if given.ndim == 4 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim == 2 and math.isqrt(given.shape[1]) ** 2 == given.shape[1]:
        given = given.reshape(len(given), math.isqrt(given.shape[1]), -1)
    if given.ndim != 3:
        raise ValueError(f"images must be (N, H, W), (N, 1, H, W) or square ones as (N, H·W), not {given.shape}")
    low, high = given.min(initial=np.inf), given.max(initial=-np.inf)
    return (given - low) / (high - low) if high > low else np.zeros_like(given)


def _picture(image: Any) -> np.ndarray:
    given = array(image)
    try:
        return _pictures(given[None] if given.ndim < 3 else given)[0]
    except (ValueError, IndexError):
        raise ValueError(f"image must be (H, W), (1, H, W) or a square one as (H·W,), not {given.shape}") from None


def _paper(ax: Axes, picture: np.ndarray) -> None:
    ax.imshow(picture, cmap="gray_r", interpolation="nearest", vmin=0, vmax=1)


def _one_each(argument: str, values: Any, pictures: np.ndarray) -> Sequence[str]:
    given = array(values).ravel()
    if len(given) != len(pictures):
        raise ValueError(f"{argument} must be one for each of the {len(pictures)} images, not {len(given)}")
    # Tensors come as doubles, and a class is no 3.0.
    return [f"{value:g}" if isinstance(value, float) else str(value) for value in given.tolist()]


def _sides(patch: Patch) -> tuple[int, int]:
    """Height and width of a patch."""
    return (patch, patch) if isinstance(patch, int) else (patch[0], patch[1])


def _tiles(picture: np.ndarray, patch: Patch) -> np.ndarray:
    """Cut (H, W) into (H / h, W / w, h, w)."""
    (height, width), (high, wide) = picture.shape, _sides(patch)
    if min(high, wide) < 1 or height % high or width % wide:
        raise ValueError(f"patch must divide the sides of the image, {height} and {width}, not {patch}")
    return picture.reshape(height // high, high, width // wide, wide).swapaxes(1, 2)


def _mosaic(tiles: np.ndarray, gap: int) -> np.ndarray:
    """Lay (rows, columns, h, w[, rgb]) out as one image, with `gap` pixels of table between the cards."""
    rows, columns, height, width = tiles.shape[:4]
    colour = tiles.shape[4:]
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *colour)
    canvas = np.full(shape, 0.92 if colour else 0.0)
    for row, column in np.ndindex(rows, columns):
        top, left = row * (height + gap), column * (width + gap)
        canvas[top : top + height, left : left + width] = tiles[row, column]
    return canvas


def _size_of_patch(picture: np.ndarray, count: int, patch: Patch | None) -> tuple[int, int]:
    height, width = picture.shape
    high, wide = _sides(math.isqrt(height * width // max(count, 1)) if patch is None else patch)
    if min(high, wide) < 1 or height % high or width % wide or (height // high) * (width // wide) != count:
        wanted = f"patches of {high}×{wide} pixels" if patch else "square patches"
        raise ValueError(
            f"weights must be one for each patch: {count} don't cut a {height}×{width} image into {wanted}"
        )
    return high, wide


def _tinted(picture: np.ndarray, attended: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Dye the paper under the ink: as a marker pen does, colour multiplies what is there."""
    most = np.nanmax(attended, initial=0.0)
    strength = np.nan_to_num(attended / most) if most > 0 else np.zeros_like(attended)
    grid = picture.shape[0] // size[0], picture.shape[1] // size[1]
    per_pixel = np.kron(strength.reshape(grid), np.ones(size))  # (H, W)
    ink = 1 - 0.82 * picture[..., None]  # (H, W, 1)
    return ink * (1 - per_pixel[..., None] * (1 - np.array(to_rgb(ORANGE))))


def _outline(ax: Axes, query: int, wide: int, size: tuple[int, int], left: int, top: int) -> None:
    row, column = divmod(query, wide)
    corner = (left + column * size[1] - 0.5, top + row * size[0] - 0.5)
    ax.add_patch(Rectangle(corner, size[1], size[0], fill=False, edgecolor=BLUE, linewidth=1.4))
