"""Questions asked on the spot, so that the tensors can be let go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from mirada.matrix import AttentionMatrix

#: A question: what it makes of a matrix is kept.
Question = Callable[[AttentionMatrix], object]

_BINS = 64


def entropy(matrix: AttentionMatrix) -> Tensor:
    """(..., L), in nats."""
    return matrix.entropy()


def received(matrix: AttentionMatrix) -> Tensor:
    """(..., S): the columns' sums."""
    return matrix.received()


def coarse_map(matrix: AttentionMatrix) -> Tensor:
    """(..., 64, 64) or smaller: the whole matrix as a picture."""
    *leading, queries, keys = matrix.shape
    bins = (min(_BINS, queries), min(_BINS, keys))
    return matrix.tile((0, queries), (0, keys), bins) if 0 not in bins else matrix.query.new_zeros(*leading, *bins)


QUESTIONS: dict[str, Question] = {"entropy": entropy, "received": received, "map": coarse_map}


def questions(ask: Iterable[str] | Mapping[str, Question] | None) -> Mapping[str, Question]:
    """The questions by name: all that are known, some of them by name, or one's own as functions."""
    if ask is None:
        return QUESTIONS
    if isinstance(ask, Mapping):
        wrong = [name for name, question in ask.items() if not callable(question)]
        if wrong:
            raise TypeError(f"ask[{wrong[0]!r}] must be a function of an AttentionMatrix, got {ask[wrong[0]]!r}")
        return ask
    names = (ask,) if isinstance(ask, str) else tuple(ask)
    unknown = [name for name in names if name not in QUESTIONS]
    if unknown:
        raise ValueError(f"ask has {unknown[0]!r}; known are {', '.join(QUESTIONS)}, or give {{name: function}}")
    return {name: QUESTIONS[name] for name in names}
