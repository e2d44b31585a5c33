"""Images whose patches show what they attend to when pointed at: SVG and CSS, no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from torch import Tensor


def gaze(images: Tensor, weights: Tensor, labels: Sequence[str]) -> str:
    """Lay images out two in a row, the weights of their patches hidden over them.

    Args:
        images: (N, H, W), from 0 (paper) to 1 (ink).
        weights: (N, P, P) weights of each patch (row) on each patch, in reading order; P is a square number.
        labels: what each image shows.

    Returns:
        An SVG element. Pointing at a patch, or tapping it, shows what it attends to; those of the first image can be
        reached by keyboard, too.
    """
    height, width = images.shape[-2:]
    gap = width / 8
    digits = ""
    for number, (image, attended, label) in enumerate(zip(images, weights, labels, strict=True)):
        row, column = divmod(number, 2)
        place = f"translate({column * (width + gap):g} {row * (height + gap):g})"
        parts = "".join(_digit(image, attended, escape(label), tab=-1 if number else 0))
        digits += f'<g class="digit" transform="{place}">{parts}</g>'
    rows = (len(images) + 1) // 2
    box = f"-0.1 -0.1 {2 * width + gap + 0.2:g} {rows * (height + gap) - gap + 0.2:g}"
    return f'<svg viewBox="{box}" role="group" aria-label="Images and their patches">{digits}</svg>'


def _digit(image: Tensor, attended: Tensor, label: str, tab: int) -> Iterator[str]:
    height, width = image.shape
    side = round(len(attended) ** 0.5)
    patch = (width / side, height / side)
    yield f'<rect class="field" width="{width}" height="{height}" rx="0.15"/>'
    for (y, x), ink in zip(
        ((y, x) for y in range(height) for x in range(width)), image.flatten().tolist(), strict=True
    ):
        if ink > 0:
            yield _rect("pixel", x, y, 1, 1, f' fill-opacity="{ink:.2f}"')
    first = int(image.unflatten(0, (side, -1)).unflatten(2, (side, -1)).sum((1, 3)).argmax())
    for asking, weights in enumerate(attended):
        strongest = weights.argsort(descending=True)[:2].tolist()
        words = f"{label}, patch {asking + 1}: attends most to patches {' and '.join(str(i + 1) for i in strongest)}"
        shown = "".join(
            _rect("weight", *_corner(key, side, patch), *patch, f' fill-opacity="{weight:.2f}"')
            for key, weight in enumerate((0.85 * weights / weights.max()).tolist())
        )
        yield (
            f'<g class="ask{" first" if asking == first else ""}" tabindex="{tab}" role="img" aria-label="{words}">'
            f'<g class="look">{shown}</g>{_rect("spot", *_corner(asking, side, patch), *patch)}</g>'
        )


def _corner(patch: int, side: int, size: tuple[float, float]) -> tuple[float, float]:
    return patch % side * size[0], patch // side * size[1]


def _rect(kind: str, x: float, y: float, width: float, height: float, more: str = "") -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{more}/>'
