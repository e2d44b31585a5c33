"""What a survey can be asked: summaries by name, and one's own; each with the bins of its histogram or curve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mirada.surveys import bins
from mirada.surveys.one_pass import CURVES, PER_QUERY
from mirada.training.settings import did_you_mean

#: What is asked where nothing is said.
DEFAULT = ("entropy", "effective_keys", "sink", "previous_token", "duplicate_token", "induction", "distance")
#: What needs ``score``: found by gradients and by ablated forward passes, a number a text.
SCORED = ("importance", "ablation")

#: One's own summary: of the record of one text without its padding, (heads,) or a number a query, (heads, L).
Own = Callable[[Any], Tensor]

_SHARES = ("sink", "previous_token", "duplicate_token", "induction", "padding_share")


@dataclass(frozen=True)
class Questions:
    """What one survey asks."""

    names: tuple[str, ...]
    own: Mapping[str, Own]

    @property
    def in_one_pass(self) -> tuple[str, ...]:
        """Those that `one_pass` answers."""
        return tuple(name for name in self.names if name in (*PER_QUERY, *CURVES))

    @property
    def all(self) -> tuple[str, ...]:
        """All names."""
        return (*self.names, *self.own)


def questions(ask: str | Iterable[str] | Mapping[str, Own] | None, *, scored: bool) -> Questions:
    """What is asked, checked.

    Args:
        ask: names, ``{name: function}``, or a mixture: a list of names and such mappings. `DEFAULT` if left out, and
            ``importance`` with a score.
        scored: whether a score is given.

    Raises:
        ValueError: an unknown name, with the nearest one; importance or ablation without a score; nothing.
        TypeError: one's own that is no function.
    """
    parts: list[Any] = [ask] if isinstance(ask, str | Mapping) else list(DEFAULT if ask is None else ask)
    if ask is None and scored:
        parts.append("importance")
    names: list[str] = []
    own: dict[str, Own] = {}
    for part in parts:
        if isinstance(part, Mapping):
            own |= {str(name): _function(name, function) for name, function in part.items()}
        else:
            names.append(_known(part))
    if not names and not own:
        raise ValueError(f"ask: nothing is asked; there are {', '.join(known())}, and {{name: function of a record}}")
    twice = [name for name in own if name in known()]
    if twice:
        raise ValueError(f"ask: {twice[0]!r} is a summary of the survey's own: call yours by another name")
    needy = [name for name in names if name in SCORED]
    if needy and not scored:
        raise ValueError(f"ask: {needy[0]!r} needs score=, a function (output, batch) -> one number a text")
    return Questions(tuple(dict.fromkeys(names)), own)


def known() -> tuple[str, ...]:
    """All names that can be asked."""
    return (*PER_QUERY, *CURVES, *SCORED)


def edges(name: str) -> Tensor | None:
    """The edges of a summary's histogram; None for a curve."""
    if name in CURVES:
        return None
    if name in _SHARES:
        return bins.SHARES
    return {"entropy": bins.NATS, "effective_keys": bins.SIZES, "distance": bins.SIZES}.get(name, bins.NUMBERS)


def curve_bins(name: str, classes: int) -> int:
    """How many bins a curve has; 0 for a number."""
    sizes = {CURVES[0]: 2 * bins.OCTAVES - 1, CURVES[1]: classes, CURVES[2]: bins.OCTAVES}
    return sizes.get(name, 0)


def curve_names(name: str, classes: Iterable[str]) -> list[str]:
    """What each bin of a curve holds; none for a number."""
    octaves = bins.octave_names()
    behind, ahead = [f"−{one}" for one in octaves[1:]], [f"+{one}" for one in octaves[1:]]
    return {
        "attention_by_distance": ["0", *behind, *ahead],
        "attention_by_token_class": list(classes),
        "received_by_position": octaves,
    }.get(name, [])  # fmt: skip


def _known(name: Any) -> str:
    if name not in known():
        raise ValueError(f"ask: no summary is called {name!r}{did_you_mean(str(name), known())}")
    return name


def _function(name: Any, function: Any) -> Any:
    if not callable(function):
        raise TypeError(f"ask[{name!r}] must be a function of a record, got {type(function).__name__}")
    return function
