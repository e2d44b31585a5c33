"""The tour's one script, put together from the small files in `static`: no build step, no second request."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from mirada.viewer.script import scoped

# In the order in which they stand on each other: first the models, then what can be tried with them.
MODELS = (
    "arithmetic", "attention", "parameters", "recurrent",
    "model_counting", "model_pixels", "model_patches", "model_squares", "models",
)  # fmt: skip
TRIALS = (
    "elements", "handles", "weights_picture", "digit_picture",
    "try_digit", "try_ten_digits", "try_corners", "try_matrix", "try_softmax", "try_vectors", "trials",
)  # fmt: skip


@cache
def script() -> str:
    """All files as one scope: `modelOf` and `trial` are what it gives to the page."""
    inside = "\n".join(scoped(part(f"{name}.js")) for name in (*MODELS, *TRIALS))
    return f"const {{ modelOf, trial }} = (() => {{\n{inside}\nreturn {{ modelOf, trial }};\n}})();"


@cache
def part(name: str) -> str:
    """A file of `static`."""
    return files("mirada.tour").joinpath("static", name).read_text(encoding="utf-8")
