"""A question to a kernel, and what a kernel says of itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from mirada.kernels.autograd import wanted
from mirada.kernels.scores import Scores, finite


@dataclass(eq=False, slots=True)  # frozen, it would take a microsecond more
class Problem:
    """What is to be computed of which attention. A question says which of the fields it needs."""

    scores: Scores
    value: Tensor | None = None  # right side of a product: (*leading, S, Ev); of the transpose: (*leading, L, m)
    known: Callable[[], Tensor] | None = None  # the log-normalisers (*leading, L)
    given: tuple[Tensor, Tensor, Tensor] | None = None  # query, key, value before their heads were repeated
    entropy: bool = False  # statistics: whether entropies are wanted
    bins: Tensor | None = (
        None  # statistics: the bin of each query (L,), rising, on the CPU: sums of the weights in each are wanted
    )
    rectangle: tuple[slice, slice] | None = None  # tile: queries and keys
    picture: tuple[int, int] | None = None  # tile: bins of queries and of keys
    k: int = 0  # topk: how many keys

    @property
    def weights(self) -> int:
        """How many weights there are, over all heads."""
        return self.scores.query.shape[:-1].numel() * self.scores.keys

    @property
    def graph(self) -> bool:
        """Whether gradients are wanted."""
        return wanted(self.scores, *(() if self.value is None else (self.value,)))

    @property
    def learned(self) -> str | None:
        """Why kernels that never form the matrix can't serve a learned mask, if it is one."""
        mask = self.scores.mask
        return (
            "the mask is learned: its gradient is as large as the matrix"
            if mask is not None and mask.requires_grad
            else None
        )

    @property
    def nothing(self) -> str | None:
        """Whether there is nothing to compute."""
        value = self.value
        empty = self.scores.empty or (value is not None and value.numel() == 0)
        return "there is nothing to attend with or to" if empty else None

    @property
    def poisoned(self) -> str | None:
        """Whether NaN or inf may stand behind the mask, where 0 × NaN lets it through. Reads query, key and value."""
        scores = self.scores
        hidden = scores.mask is not None and not finite(scores.query, scores.key, self.value)
        return "NaN or inf may stand behind the mask, and 0 × NaN lets it through" if hidden else None


class Declined(str):
    """Why a kernel that began with a problem gives it back: its answer could not be trusted."""


class Kernel(NamedTuple):
    """One way to answer a question."""

    name: str  # of its file
    does: str
    refuses: Callable[[Problem], str | None]  # the reason, or None where it takes the problem
    run: Callable[[Problem], Any]  # the answer, or `Declined`
    may_decline: bool = False
