"""Something to try by hand in a live view: the page sends what the hand did, and shows what comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["draw", "digits", "corners", "matrix", "language"]


@dataclass(frozen=True)
class Trial:
    """What a page offers, and who answers.

    ===========  ======================================  ====================================================
    kind         the page sends                          and gets
    ===========  ======================================  ====================================================
    ``draw``     ``pixels`` (H·W) 0 … 255, ``query``     ``probabilities``, ``looks`` (P) of that patch or null
    ``digits``   ``digits``, a string                    ``probability``, ``weights``
    ``corners``  ``points``, two of [x, y]               ``finished``: one {name, points, weights} a model
    ``matrix``   ``matrix``, ``mask``, ``scale``         ``scores``, ``masked``, ``weights``, ``context``
    ``language`` as `mirada.models.playground` has it    the same, and a scene that takes the place of the page's
    ===========  ======================================  ====================================================

    ``answer`` raises a ValueError where it can't take what was sent.
    """

    kind: Kind
    answer: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    about: Mapping[str, Any] = field(default_factory=dict)
    """What the page must know: sizes, names, an example."""


def offered(trials: Mapping[str, Trial]) -> dict[str, Any]:
    """What a page is told of some trials."""
    return {"trials": {name: {"kind": trial.kind, **trial.about} for name, trial in trials.items()}}
