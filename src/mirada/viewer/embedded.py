"""A page within a page: what a notebook shows where no kernel answers, and what an exported notebook keeps."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Embedded:
    """A page that carries all it shows, in a frame as wide as its place.

    >>> Embedded("<p>1 < 2</p>", "A sum", 80)._repr_html_()
    '<iframe title="A sum" ... srcdoc="&lt;p&gt;1 &lt; 2&lt;/p&gt;"></iframe>'
    """

    page: str
    """The page's HTML."""
    title: str
    """What a screen reader says of the frame."""
    height: int
    """In pixels."""

    def _repr_html_(self) -> str:
        style = f"width: 100%; height: {self.height}px; border: 0"
        return f'<iframe title="{escape(self.title)}" style="{style}" srcdoc="{escape(self.page)}"></iframe>'

    def __repr__(self) -> str:
        return f"Embedded({self.title!r}, {len(self.page.encode()):,} bytes)"
