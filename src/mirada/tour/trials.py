"""What can be tried in a page: two arrows, three scores, a matrix and its mask, ten digits, a drawn digit, two corners.

Each function gives what `trial` of `static/trials.js` gets: its kind, what it begins with, and the models that run
there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from string import Template
from typing import Any

from torch import Tensor

from mirada.experiment import Run
from mirada.tour.carried import carried
from mirada.tour.script import part, script
from mirada.viewer.embedded import Embedded
from mirada.viewer.page import digest, in_html

_BEGIN = 'trial(document.querySelector(".try"), JSON.parse(document.querySelector("[data-trial]").textContent));'

DECODERS = {
    "none": "without attention: the encoder's last state",
    "single": "attention with one head",
    "multihead": "attention with three heads",
}


def vectors(query: Sequence[float], key: Sequence[float]) -> dict[str, Any]:
    """Drag a query and a key in the plane: their dot product by features, and by lengths and angle."""
    return {"kind": "vectors", "about": {"query": list(query), "key": list(key)}}


def softmax(scores: Sequence[float]) -> dict[str, Any]:
    """Move scores and a temperature: the weights, and the surprise in bits at each key."""
    return {"kind": "softmax", "about": {"scores": list(scores)}}


def matrix(x: Tensor) -> dict[str, Any]:
    """Edit the rows of x (L, E), which are query, key and value at once, and their mask."""
    return {"kind": "matrix", "about": {"numbers": [[round(v, 4) for v in row] for row in x.tolist()]}}


def digits(run: Run) -> dict[str, Any]:
    """Type ten digits for a run of `counting`."""
    return {"kind": "digits", "about": {"example": "2024193752"}, "model": carried(run)}


def drawing(run: Run) -> dict[str, Any]:
    """Draw a digit for a run of `pixels` or `patches`."""
    if run.name == "pixels":
        images, grid, unit, query = run.data.images, list(run.data.images.size), "pixel", 19
    else:
        model: Any = run.model
        images, grid, unit, query = (
            run.data,
            [side // patch for side, patch in zip(run.data.size, model.patch, strict=True)],
            "patch",
            5,
        )
    about = {
        "size": list(images.size),
        "grid": grid,
        "unit": unit,
        "query": query,
        "classes": list(images.classes),
        "example": images.test_images[0].flatten().tolist(),
    }
    return {"kind": "digit", "about": about, "model": carried(run)}


def corners(runs: Mapping[str, Run]) -> dict[str, Any]:
    """Drag two corners for runs of `squares`, by their attention; the numbers shown are those of `single`."""
    example = runs["single"].data.test.source[0].tolist()
    return {
        "kind": "corners",
        "about": {"example": example, "attends": "single", "words": {name: DECODERS[name] for name in runs}},
        "models": {attention: carried(run) for attention, run in runs.items()},
    }


def embed(data: Mapping[str, Any], title: str, height: int = 640) -> Embedded:
    """The trial as a page of its own, in a frame: it carries its models, and asks for nothing.

    >>> import torch
    >>> embed(matrix(torch.eye(3)), "Edit a matrix")._repr_html_()[:45]
    '<iframe title="Edit a matrix" style="width: 1'
    """
    style = part("colours.css") + part("try.css") + part("trial.css")
    begin = f"{script()}\n{_BEGIN}"
    page = Template(part("trial.html")).substitute(
        title=escape(title),
        style=style,
        style_hash=digest(style),
        script=begin,
        script_hash=digest(begin),
        data=in_html(dict(data)),
    )
    return Embedded(page, title, height)
