"""What the page and Python must agree on; the page's module carries it as a constant, so that they cannot differ."""

from __future__ import annotations

TILE = 256
"""Cells a side of a tile of the map."""
WHOLE = 1 << 20
"""Up to so many weights a head, the browser forms the whole head; beyond, what follows from all of it comes along."""
MEASURES = ("entropy", "sink", "previous", "concentration")
"""The numbers of each head that an overview begins with, (H,) each; the small maps follow."""
PARTS = ("query", "keys", "added", "values", "context")
"""What an answer to "parts" holds, one after the other; the last two only where the values are known."""

CONSTANTS = {"TILE": TILE, "WHOLE": WHOLE, "MEASURES": MEASURES, "PARTS": PARTS}
