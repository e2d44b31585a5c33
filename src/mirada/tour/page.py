"""From chapters to one HTML page that carries all it shows: no request, one script, a policy that allows no other.

Everything that comes in is text and is escaped here, once; only this file writes tags.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape
from pathlib import Path
from string import Template
from typing import Any, Literal

from mirada.plots import diagrams
from mirada.tour.script import part
from mirada.tour.script import script as trials
from mirada.tour.words import marked
from mirada.viewer import View
from mirada.viewer import page as views
from mirada.viewer.payload import prepare

_LOOK = 1_000_000
"""Bytes that a view may take."""
_PHONE = 560
"""Up to this many pixels wide, a figure may be shrunk on a phone."""

Span = Literal["whole", "half", "third", "tall"]


@dataclass(frozen=True)
class Fact:
    """A measured number and what it says."""

    value: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Text:
    """Paragraphs under a heading that other places can point to. For marks in texts see `words.marked`."""

    anchor: str
    heading: str
    paragraphs: Sequence[str]
    formula: str = ""
    points: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Words of the field that are used here for the first time, each with its meaning."""

    terms: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure as a PNG, its alternative text, and its caption."""

    png: bytes
    alt: str
    caption: str
    span: Span = "whole"


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Figures side by side where there is room."""

    pictures: Sequence[Picture]


@dataclass(frozen=True, kw_only=True)
class Diagrams:
    """Diagrams of models side by side: (SVG, caption) each, see `mirada.plots.diagrams`."""

    diagrams: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Look:
    """A view to point at, see `mirada.view`, and its caption."""

    view: View
    caption: str
    opens: Mapping[str, Any]
    """What is shown first: view, layer, head, query, key."""
    height: Literal["low", "high"] = "high"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the reader can try; `data` is what `trial` of `static/trials.js` gets."""

    heading: str
    caption: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under a head; the first column names its row, the others hold numbers."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Next:
    """Commands to go on with, and what to look for in what they show."""

    steps: Sequence[tuple[str, str]]


Part = Text | Terms | Pictures | Diagrams | Look | Trial | Table | Next


@dataclass(frozen=True, kw_only=True)
class Chapter:
    """One system, told part by part."""

    name: str
    subject: str
    """What attends to what: the thread through the story."""
    title: str
    result: str
    """How it did, in a few words."""
    text: Sequence[str]
    facts: Sequence[Fact] = ()
    parts: Sequence[Part] = ()


@dataclass(frozen=True, kw_only=True)
class Cover:
    """What the page opens with. `gaze` is SVG, see `gaze.py`."""

    lead: str
    facts: Sequence[Fact]
    gaze: str
    gaze_caption: str
    questions: Sequence[tuple[str, str]] = ()
    """Questions, each with the anchor of the text that answers it."""


def render(cover: Cover, chapters: Sequence[Chapter], *, seconds: float, version: str, torch: str) -> str:
    """The page. Its first chapter is the introduction; the others are numbered from 1."""
    style = part("colours.css") + _file("page.css") + part("try.css") + diagrams.STYLE
    script = f"{views.script(trials())}\n{_file('page.js')}"
    return Template(_file("page.html")).substitute(
        style=style,
        script=script,
        # Both are allowed by their digest, so that not even an injected one would apply.
        style_hash=views.digest(style),
        script_hash=views.digest(script),
        icon=_data_uri("image/svg+xml", _file("eye.svg").encode()),
        lead=marked(cover.lead),
        facts=_facts(cover.facts),
        gaze=cover.gaze,
        gaze_caption=marked(cover.gaze_caption),
        questions="".join(f'<li><a href="#{escape(to)}">{marked(text)}</a></li>' for text, to in cover.questions),
        contents="".join(
            f'<li><a href="#{escape(c.name)}">{_numbered(n, escape(c.name))}</a></li>' for n, c in enumerate(chapters)
        ),
        chapters="\n".join(_chapter(n, c) for n, c in enumerate(chapters)),
        version=escape(version),
        torch=escape(torch),
        day=date.today().isoformat(),
        seconds=f"{seconds:.0f}",
    )


def _numbered(number: int, name: str) -> str:
    return f"{number} · {name}" if number else name


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _facts(facts: Iterable[Fact]) -> str:
    return "".join(f"<div><dt>{marked(fact.meaning)}</dt><dd>{escape(fact.value)}</dd></div>" for fact in facts)


def _chapter(number: int, chapter: Chapter) -> str:
    name = escape(chapter.name)
    opening = [
        f'<section class="chapter" id="{name}" aria-labelledby="{name}-title">',
        f'<p class="kicker">{_numbered(number, name)} · {escape(chapter.subject)}</p>',
        f'<h2 id="{name}-title">{marked(chapter.title)}</h2>',
        f'<div class="opening"><div>{_paragraphs(chapter.text)}</div>',
        f'<dl class="facts">{_facts(chapter.facts)}</dl></div>' if chapter.facts else "</div>",
    ]
    return "\n".join([*opening, *(_PARTS[type(one)](one) for one in chapter.parts), "</section>"])


def _paragraphs(texts: Iterable[str]) -> str:
    return "".join(f"<p>{marked(text)}</p>" for text in texts)


def _text(text: Text) -> str:
    formula = f'<p class="formula">{marked(text.formula)}</p>' if text.formula else ""
    points = f"<ul>{''.join(f'<li>{marked(point)}</li>' for point in text.points)}</ul>" if text.points else ""
    return (
        f'<div class="answer" id="{escape(text.anchor)}"><h3>{marked(text.heading)}</h3>'
        f"{_paragraphs(text.paragraphs[:1])}{formula}{points}{_paragraphs(text.paragraphs[1:])}</div>"
    )


def _terms(terms: Terms) -> str:
    listed = "".join(f"<div><dt>{marked(name)}</dt><dd>{marked(meaning)}</dd></div>" for name, meaning in terms.terms)
    return f'<div class="terms"><h3>Words</h3><dl>{listed}</dl></div>'


def _look(look: Look) -> str:
    return (
        f'<figure class="seen"><div class="room {look.height}" data-opens="{escape(json.dumps(dict(look.opens)))}">'
        f"{views.carried(prepare(look.view.scene, _LOOK))}"
        "<noscript><p>Here is a view to point at, which needs JavaScript.</p></noscript></div>"
        f"<figcaption>{marked(look.caption)}</figcaption></figure>"
    )


def _trial(trial: Trial) -> str:
    data = views.in_html(dict(trial.data))
    return (
        f'<div class="trial"><h3>{marked(trial.heading)}</h3><p>{marked(trial.caption)}</p>'
        f'<script type="application/json" data-trial>{data}</script>'
        '<div class="try"><noscript><p>What can be tried here needs JavaScript.</p></noscript></div></div>'
    )


def _pictures(pictures: Pictures) -> str:
    return f'<div class="pictures">{"".join(map(_picture, pictures.pictures))}</div>'


def _picture(picture: Picture) -> str:
    return (
        f'<figure class="{picture.span}{_wide(picture.png)}">'
        '<div class="plate" tabindex="0" role="group" aria-label="figure">'
        f'<img src="{_data_uri("image/png", picture.png)}" alt="{escape(picture.alt)}" {_size(picture.png)}></div>'
        f"<figcaption>{marked(picture.caption)}</figcaption></figure>"
    )


def _wide(png: bytes) -> str:
    # Letters of a wider figure can't be read when it is shrunk to a phone's width.
    return " wide" if int.from_bytes(png[16:20], "big") // 2 > _PHONE else ""


def _size(png: bytes) -> str:
    # Width and height stand at a fixed place in every PNG; knowing them, the page doesn't jump while it loads.
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    return f'width="{width // 2}" height="{height // 2}"'


def _diagrams(drawn: Diagrams) -> str:
    figures = "".join(
        f'<figure><div class="plate">{svg}</div><figcaption>{marked(caption)}</figcaption></figure>'
        for svg, caption in drawn.diagrams
    )
    one = " one" if len(drawn.diagrams) == 1 else ""
    return f'<div class="diagrams{one}">{figures}</div>'


def _next(steps: Next) -> str:
    listed = "".join(
        f"<li><pre><code>{escape(command)}</code></pre><p>{marked(text)}</p></li>" for command, text in steps.steps
    )
    return f'<div class="next"><h3>What next</h3><ul>{listed}</ul></div>'


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col"{_number(column)}>{marked(name)}</th>' for column, name in enumerate(table.head))
    rows = "".join(f"<tr>{_row(row)}</tr>" for row in table.rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(table.caption)}"><table>'
        f"<caption>{marked(table.caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(cells: Sequence[str]) -> str:
    first, *others = cells
    return f'<th scope="row">{marked(first)}</th>' + "".join(
        f'<td class="number">{marked(cell)}</td>' for cell in others
    )


def _number(column: int) -> str:
    return ' class="number"' if column else ""


_PARTS: dict[type, Callable[[Any], str]] = {
    Text: _text,
    Terms: _terms,
    Pictures: _pictures,
    Diagrams: _diagrams,
    Look: _look,
    Trial: _trial,
    Table: _table,
    Next: _next,
}
