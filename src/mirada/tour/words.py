"""Texts and numbers as the page says them."""

from __future__ import annotations

import re
from html import escape

from mirada.experiment import Run

_MARKS = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\{(query|key|value):([^}]+)\}"), r'<b class="\1-text">\2</b>'),
    (re.compile(r"\*\*([^*]+)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"\^\{([^}]+)\}"), r"<sup>\1</sup>"),
    (re.compile(r"_\{([^}]+)\}"), r"<sub>\1</sub>"),
)


def marked(text: str) -> str:
    """A text as HTML: escaped, then `code`, **strong**, {query:words}, {key:words}, {value:words}, x^{up}, x_{down}.

    >>> marked("{query:q} < e^{s} in `code`")
    '<b class="query-text">q</b> &lt; e<sup>s</sup> in <code>code</code>'
    """
    text = escape(text)
    for mark, tags in _MARKS:
        text = mark.sub(tags, text)
    return text


def percent(share: float) -> str:
    """Give a share in percent.

    >>> percent(0.9736)
    '97.4 %'
    """
    return f"{100 * share:.1f} %"


def parameters(run: Run) -> int:
    """How many numbers the model has learnt."""
    return sum(parameter.numel() for parameter in run.model.parameters())


def percents(weights: list[float]) -> str:
    """Weights as whole percents.

    >>> percents([0.25, 0.75])
    '25 75'
    """
    return " ".join(f"{100 * weight:.0f}" for weight in weights)
