"""The tour's one script, put together from the small files in `static`: no build step, no second request."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

# In the order in which they stand on each other: first the models, then what can be tried with them.
MODELS = (
    "arithmetic", "attention", "parameters", "recurrent",
    "model_counting", "model_pixels", "model_patches", "model_squares", "models",
)  # fmt: skip
TRIALS = (
    "elements", "weights_picture", "digit_picture",
    "try_digit", "try_ten_digits", "try_corners", "try_matrix", "trials",
)  # fmt: skip

_IMPORT = re.compile(r"^import [^;]*? from \"\./\w+\.js\";\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|const|class) (\w+))", re.MULTILINE)


@cache
def script() -> str:
    """All files as one scope: `modelOf` and `trial` are what it gives to the page."""
    inside = "\n".join(_scoped(part(f"{name}.js")) for name in (*MODELS, *TRIALS))
    return f"const {{ modelOf, trial }} = (() => {{\n{inside}\nreturn {{ modelOf, trial }};\n}})();"


def _scoped(text: str) -> str:
    """A file in a scope of its own, as modules have it: the others see only what it exports."""
    exported = ", ".join(_EXPORT.findall(text))
    body = _EXPORT.sub("", _IMPORT.sub("", text))
    return f"const {{ {exported} }} = (() => {{\n{body}return {{ {exported} }};\n}})();"


@cache
def part(name: str) -> str:
    """A file of `static`."""
    return files("mirada.tour").joinpath("static", name).read_text(encoding="utf-8")
