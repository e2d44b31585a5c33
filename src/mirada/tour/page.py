"""From chapters to one HTML page that carries all it shows: no request, one script, a policy that allows no other.

Everything that comes in is text and is escaped here, once; only this file writes tags.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Literal

from mirada.viewer import View
from mirada.viewer import page as views
from mirada.viewer.payload import prepare

_LOOK = 1_000_000
"""Bytes that a view may take."""

Span = Literal["whole", "half", "tall"]


@dataclass(frozen=True)
class Fact:
    """A measured number and what it says."""

    value: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure as a PNG, in words for those who don't see it, and its caption."""

    png: bytes
    alt: str
    caption: str
    span: Span = "whole"


@dataclass(frozen=True, kw_only=True)
class Look:
    """A view to point at, see `mirada.view`, and its caption."""

    view: View
    caption: str
    opens: Mapping[str, Any]
    """What is looked at first: view, layer, head, query, key."""
    height: Literal["low", "high"] = "high"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a head; the first column names its row, the others hold numbers."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One system. In texts, `backticks` mark code."""

    name: str
    asks: str
    """Who asks whom: the thread through the story."""
    title: str
    result: str
    """How it did, in a few words."""
    text: Sequence[str]
    facts: Sequence[Fact] = ()
    look: Look | None = None
    pictures: Sequence[Picture] = ()
    table: Table | None = None
    commands: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Cover:
    """What the page opens with. `gaze` is SVG, see `gaze.py`."""

    lead: str
    facts: Sequence[Fact]
    gaze: str
    gaze_caption: str


def render(cover: Cover, chapters: Sequence[Chapter], *, seconds: float, version: str, torch: str) -> str:
    """The page."""
    style, script = _part("page.css"), views.script(_part("page.js"))
    return Template(_part("page.html")).substitute(
        style=style,
        script=script,
        # Both are allowed by their digest, so that not even an injected one would apply.
        style_hash=views.digest(style),
        script_hash=views.digest(script),
        icon=_data_uri("image/svg+xml", _part("eye.svg").encode()),
        lead=_prose(cover.lead),
        facts=_facts(cover.facts),
        gaze=cover.gaze,
        gaze_caption=_prose(cover.gaze_caption),
        contents="".join(f'<li><a href="#{escape(c.name)}">{escape(c.name)}</a></li>' for c in chapters),
        chapters="\n".join(map(_chapter, chapters)),
        version=escape(version),
        torch=escape(torch),
        day=date.today().isoformat(),
        seconds=f"{seconds:.0f}",
    )


def _part(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _prose(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _facts(facts: Iterable[Fact]) -> str:
    return "".join(f"<div><dt>{_prose(fact.meaning)}</dt><dd>{escape(fact.value)}</dd></div>" for fact in facts)


def _chapter(chapter: Chapter) -> str:
    name = escape(chapter.name)
    parts = [
        f'<section class="chapter" id="{name}" aria-labelledby="{name}-title">',
        f'<p class="kicker">{escape(chapter.name)} · {escape(chapter.asks)}</p>',
        f'<h2 id="{name}-title">{_prose(chapter.title)}</h2>',
        f'<div class="opening"><div>{"".join(f"<p>{_prose(text)}</p>" for text in chapter.text)}</div>',
        f'<dl class="facts">{_facts(chapter.facts)}</dl></div>' if chapter.facts else "</div>",
    ]
    if chapter.look:
        parts.append(_look(chapter.look))
    if chapter.pictures:
        parts.append(f'<div class="pictures">{"".join(map(_picture, chapter.pictures))}</div>')
    if chapter.table:
        parts.append(_table(chapter.table))
    if chapter.commands:
        parts.append(f"<pre><code>{escape(chr(10).join(chapter.commands))}</code></pre>")
    return "\n".join([*parts, "</section>"])


def _look(look: Look) -> str:
    return (
        f'<figure class="seen"><div class="room {look.height}" data-opens="{escape(json.dumps(dict(look.opens)))}">'
        f"{views.carried(prepare(look.view.scene, _LOOK))}"
        "<noscript><p>Here is a view to point at, which needs JavaScript.</p></noscript></div>"
        f"<figcaption>{_prose(look.caption)}</figcaption></figure>"
    )


def _picture(picture: Picture) -> str:
    return (
        f'<figure class="{picture.span}"><div class="plate">'
        f'<img src="{_data_uri("image/png", picture.png)}" alt="{escape(picture.alt)}" {_size(picture.png)}></div>'
        f"<figcaption>{_prose(picture.caption)}</figcaption></figure>"
    )


def _size(png: bytes) -> str:
    # Width and height stand at a fixed place in every PNG; knowing them, the page doesn't jump while it loads.
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    return f'width="{width // 2}" height="{height // 2}"'


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col"{_number(column)}>{_prose(name)}</th>' for column, name in enumerate(table.head))
    rows = "".join(f"<tr>{_row(row)}</tr>" for row in table.rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.caption)}"><table>'
        f"<caption>{_prose(table.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    return f'<th scope="row">{_prose(first)}</th>' + "".join(
        f'<td class="number">{_prose(cell)}</td>' for cell in others
    )


def _number(column: int) -> str:
    return ' class="number"' if column else ""
