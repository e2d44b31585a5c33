"""The one ES module, put together from the small files in `static`: no build step, no request for a second file."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files

from mirada.viewer.protocol import CONSTANTS

# In the order in which they stand on each other.
PARTS = (
    "dom", "colour", "legend", "hatch", "names", "codec", "matrix", "source", "live", "grouped", "reading",
    "state", "mixed", "vector", "save", "table", "menu", "measures", "heat", "heads", "tiles", "sheet", "map",
    "difference", "compare", "strongest", "token_paint", "tokens", "image", "steps",
    "try_drawing", "try_digits", "try_corners", "try_matrix", "tryit", "head_switches", "edges", "playground_text",
    "precision", "frame", "address", "hosts",
)  # fmt: skip

_IMPORT = re.compile(r"^import [^;]*? from \"\./\w+\.js\";\n", re.MULTILINE)
# What a browser needs no more: comments that have lines of their own, indentation. No string goes over several lines.
_UNREAD = re.compile(r"^ *//.*\n|^ */\*\*(?s:.*?)\*/\n|^ +", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)


@cache
def module() -> str:
    """The module's text. Its default export is what a notebook's widget wants; `show` is for a page."""
    css = f"const CSS_TEXT = {json.dumps(part('view.css'))};\nconst PROTOCOL = {json.dumps(CONSTANTS)};"
    parts = [scoped(part(f"{name}.js")) for name in PARTS]
    return "\n".join([css, *parts, "export { show };", "export default { render };", ""])


def scoped(text: str) -> str:
    """A file in a scope of its own, as modules have it: only what it exports is seen by the others."""
    exported = ", ".join(_EXPORT.findall(text))
    body = _EXPORT.sub("", _IMPORT.sub("", _UNREAD.sub("", text)))
    return f"const {{ {exported} }} = (() => {{\n{body}return {{ {exported} }};\n}})();"


@cache
def part(name: str) -> str:
    """A file of `static`."""
    return files("mirada.viewer").joinpath("static", name).read_text(encoding="utf-8")
