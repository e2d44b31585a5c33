"""Keys and values, projected once and passed along."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Memory(NamedTuple):
    """Projected keys and values of a source: made once by `remember`, then asked as often as one likes.

    A decoder asks the same source at every step. Holding its keys inside the layer would save the same work, but the
    next batch, or the next thread, would find them there.
    """

    key: Tensor
    """(..., S, E)"""
    value: Tensor
    """(..., S, Ev)"""
