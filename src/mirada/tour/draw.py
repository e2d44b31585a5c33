"""Figures as pictures of the page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from mirada.tour.page import Picture, Span

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Two dots of the picture to each of the page's, so that letters are sharp on fine screens too.
_DPI = 200


def picture(figure: Figure, alt: str, caption: str, span: Span = "whole") -> Picture:
    """Draw a figure for the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return Picture(png=buffer.getvalue(), alt=alt, caption=caption, span=span)
