"""Diagrams of models as SVG: boxes in rows, arrows between them, a shape on every arrow.

A diagram is as wide as a phone, so its words stay readable there; its colours are the page's. `STYLE` is what a page's
style sheet needs for it, light and dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

Kind = Literal["plain", "query", "key", "value", "weights", "data"]

STYLE = """
.diagram { display: block; width: 100%; max-width: 26rem; height: auto; margin: 0 auto; }
.diagram text { font: 13px system-ui, sans-serif; }
.diagram text { fill: var(--ink, #1d2a35); text-anchor: middle; }
.diagram .detail, .diagram .shape { font-size: 11px; fill: var(--soft, #56636d); }
.diagram .shape { text-anchor: start; }
.diagram .shape.left { text-anchor: end; }
.diagram .box { fill: var(--card, #fff); stroke: var(--soft, #56636d); stroke-width: 1.25; }
.diagram .data .box { stroke: none; fill: none; }
.diagram .query .box { stroke: var(--query, #0072b2); stroke-width: 2.5; }
.diagram .key .box { stroke: var(--key, #e69f00); stroke-width: 2.5; }
.diagram .value .box { stroke: var(--value, #009e73); stroke-width: 2.5; }
.diagram .weights .box { stroke: var(--key, #e69f00); stroke-width: 2.5; stroke-dasharray: 5 3; }
.diagram .arrow { fill: none; stroke: var(--soft, #56636d); stroke-width: 1.25; }
.diagram .head { fill: var(--soft, #56636d); }
"""

_WIDTH, _BOX, _ROW, _MARGIN = 340.0, 40.0, 74.0, 6.0  # in SVG units, one to a pixel of a phone
_WIDEST = {1: 190.0, 2: 140.0, 3: 100.0}


@dataclass(frozen=True, kw_only=True)
class Box:
    """A part of a model. Boxes with `kind="data"` are what goes in and out: words without a frame."""

    name: str
    text: str
    detail: str = ""
    kind: Kind = "plain"


@dataclass(frozen=True)
class Arrow:
    """From a box to one further down, with the shape of what flows there; `around` passes the boxes between."""

    start: str
    end: str
    shape: str = ""
    around: bool = False


def diagram(rows: Sequence[Sequence[Box]], arrows: Sequence[Arrow], *, label: str) -> str:
    """Draw boxes row by row, one to three in a row, and the arrows between them.

    Args:
        rows: from top to bottom.
        arrows: between boxes, by their names.
        label: what is drawn, in words.

    Returns:
        An `<svg>` element. Its style is `STYLE`.

    Raises:
        ValueError: a row of no box or of more than three, two boxes with one name, or an arrow to no box.

    >>> rows = [[Box(name="x", text="x", kind="data")], [Box(name="layer", text="linear", detail="6 numbers")]]
    >>> "5 × 2" in diagram(rows, [Arrow("x", "layer", "5 × 2")], label="a layer")
    True
    """
    places = _places(rows)
    for arrow in arrows:
        for name in (arrow.start, arrow.end):
            if name not in places:
                raise ValueError(f"arrows: {name!r} is the name of no box")
    height = len(rows) * _ROW - (_ROW - _BOX) + 2 * _MARGIN
    inside = [part for arrow in arrows for part in _arrow(arrow, places)]
    inside += [part for row in rows for box in row for part in _box(box, places[box.name])]
    return (
        f'<svg class="diagram" viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-label="{escape(label)}">'
        f"{''.join(inside)}</svg>"
    )


@dataclass(frozen=True)
class _Place:
    x: float
    top: float
    width: float

    @property
    def bottom(self) -> float:
        return self.top + _BOX


def _places(rows: Sequence[Sequence[Box]]) -> dict[str, _Place]:
    places: dict[str, _Place] = {}
    for number, row in enumerate(rows):
        if not 1 <= len(row) <= 3:
            raise ValueError(f"rows: row {number + 1} has {len(row)} boxes, wanted 1 to 3")
        for column, box in enumerate(row):
            if box.name in places:
                raise ValueError(f"rows: two boxes are named {box.name!r}")
            x = (column + 0.5) * _WIDTH / len(row)
            places[box.name] = _Place(x, _MARGIN + number * _ROW, _WIDEST[len(row)])
    return places


def _box(box: Box, place: _Place) -> Iterator[str]:
    left = place.x - place.width / 2
    yield f'<g class="{box.kind}">'
    yield f'<rect class="box" x="{left:g}" y="{place.top:g}" width="{place.width:g}" height="{_BOX:g}" rx="8"/>'
    middle = place.top + (17 if box.detail else 25)
    yield f'<text x="{place.x:g}" y="{middle:g}">{escape(box.text)}</text>'
    if box.detail:
        yield f'<text class="detail" x="{place.x:g}" y="{place.top + 33:g}">{escape(box.detail)}</text>'
    yield "</g>"


def _arrow(arrow: Arrow, places: dict[str, _Place]) -> Iterator[str]:
    start, end = places[arrow.start], places[arrow.end]
    points = _around(start, end) if arrow.around else _straight(start, end)
    path = "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
    yield f'<path class="arrow" d="{path}"/>'
    (x0, y0), (x, y) = points[-2:]
    length = max(((x - x0) ** 2 + (y - y0) ** 2) ** 0.5, 1e-9)
    along, across = ((x - x0) / length, (y - y0) / length), (-(y - y0) / length, (x - x0) / length)
    corners = [(x, y)] + [
        (x - 7 * along[0] + side * across[0], y - 7 * along[1] + side * across[1]) for side in (3.5, -3.5)
    ]
    yield f'<path class="head" d="M{"L".join(f"{a:.1f} {b:.1f}" for a, b in corners)}Z"/>'
    if arrow.shape:
        yield _shape(arrow, points)


def _straight(start: _Place, end: _Place) -> list[tuple[float, float]]:
    if abs(start.x - end.x) < 1:
        return [(start.x, start.bottom), (end.x, end.top - 1)]
    # An arrow that comes from the side enters the box near that side, so that arrows don't end on one point.
    reach = max(-0.36, min(0.36, (start.x - end.x) / end.width)) * end.width
    leave = max(-0.36, min(0.36, (end.x - start.x) / start.width)) * start.width
    return [(start.x + leave, start.bottom), (end.x + reach, end.top - 1)]


def _around(start: _Place, end: _Place) -> list[tuple[float, float]]:
    """Out to the right, down past the boxes between, and in again."""
    side = _WIDTH - 14
    from_y, to_y = start.top + _BOX / 2, end.top + _BOX / 2
    return [(start.x + start.width / 2, from_y), (side, from_y), (side, to_y), (end.x + end.width / 2 + 1, to_y)]


def _shape(arrow: Arrow, points: list[tuple[float, float]]) -> str:
    """The shape's words, in the gap below the box that it comes from, on the arrow's outer side."""
    if arrow.around:
        (x, y), inward = points[1], True
        x, y = x, y + _ROW / 2
    else:
        (x0, y0), (x1, y1) = points
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        inward = x < _WIDTH / 2 - 12
    side = " left" if inward else ""
    return f'<text class="shape{side}" x="{x + (-6 if inward else 6):g}" y="{y + 4:g}">{escape(arrow.shape)}</text>'
