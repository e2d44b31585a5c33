"""Entropy, attention received and a coarse map in one pass over the weights, which are formed a chunk at a time.

Computed one by one, each is a product with the matrix and as expensive as attention itself. But a chunk of weights that
is small enough for the processor's cache answers all three before the next one takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from mirada.matrix import AttentionMatrix

#: What is answered, by name: entropy (..., L) in nats, received (..., S), map (..., 64, 64) or smaller.
KNOWN = ("entropy", "received", "map")

#: A question: what it makes of a matrix is kept.
Question = Callable[[AttentionMatrix], object]
#: All that is computed of one matrix: answers by name.
Inquiry = Callable[[AttentionMatrix], Mapping[str, object]]


def known(matrix: AttentionMatrix) -> Mapping[str, Tensor]:
    """The answers by name, without gradients."""
    with torch.no_grad():
        found = matrix.statistics()
    return {"entropy": found.entropy, "received": found.received, "map": found.map}


def inquiry(ask: Iterable[str] | Mapping[str, Question] | None) -> Inquiry:
    """What is asked of each matrix: all that is known, some of it by name, or one's own functions."""
    if isinstance(ask, Mapping):
        return _of_ones_own(ask)
    names = KNOWN if ask is None else (ask,) if isinstance(ask, str) else tuple(ask)
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise ValueError(f"ask has {unknown[0]!r}; known are {', '.join(KNOWN)}, or give {{name: function}}")

    def by_name(matrix: AttentionMatrix) -> Mapping[str, object]:
        answers = known(matrix)
        return {name: answers[name] for name in names}

    return by_name


def _of_ones_own(ask: Mapping[str, Question]) -> Inquiry:
    wrong = [name for name, question in ask.items() if not callable(question)]
    if wrong:
        raise TypeError(f"ask[{wrong[0]!r}] must be a function of an AttentionMatrix, got {ask[wrong[0]]!r}")
    return lambda matrix: {name: question(matrix) for name, question in ask.items()}
