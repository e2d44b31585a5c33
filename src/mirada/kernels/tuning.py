"""Every threshold of the kernels: its value, its unit, and the measurement behind it.

Measured on two cores (x86-64, torch 2.13); the rows are those of ``benchmarks/questions.py`` and
``benchmarks/speed.py`` and of docs/speed.md. Tests give kernels sizes of their own by `changed`: small matrices then
take the ways of large ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any


@dataclass
class Tuning:
    """The thresholds. A size in entries is that of a float32 tensor with as many numbers, 4 bytes each."""

    few_weights: int = 1 << 16
    """Entries L × S × heads: so few are formed outright, which takes less than the bookkeeping of doing without
    (speed.py, "a small call")."""

    few_returned: int = 1 << 18
    """Entries: the same for weights that are returned and so formed in any case (speed.py, MultiHeadAttention, 16
    tokens)."""

    keys_per_channel: float = 0.5
    """Keys for each channel, up to which weights are fewer numbers than queries, and formed outright (speed.py,
    `patches --model wide`)."""

    rule_entries: int = 1 << 18
    """Entries of a mask that is a rule: above, chunks that skip what it hides are faster than a mask as a tensor
    (speed.py, "window of 256")."""

    mask_entries: int = 1 << 24
    """Entries of a mask handed to torch's public call, 64 MB: above, it is cut into chunks."""

    chunk: int = 1 << 22
    """Entries of a chunk of rows, 16 MB, in kernels that are limited by memory alone (questions.py, memory)."""

    cached: int = 1 << 20
    """Entries of a chunk that should stay in a processor's cache, 4 MB (questions.py, "statistics": with half as many
    the same, with twice as many 1.1 of its time)."""

    cached_rows: int = 64
    """Queries of such a chunk at the least: products of fewer rows are slow (questions.py, 16,384 tokens)."""

    block_keys: int = 1024
    """Keys of a block of a row too long for the cache, at the least (questions.py, 16,384 tokens)."""

    columns_per_k: int = 64
    """Columns for each of the k strongest keys: torch sorts partially from there on (questions.py, top(8))."""

    returned: int = 1 << 20
    """Entries of a piece of weights that are returned, 4 MB (speed.py, weights under a mask)."""

    masked_rows: int = 256
    """Queries of a chunk under a mask: in a taller one more keys are masked (speed.py, "window of 256")."""

    small_tile: int = 1 << 18
    """Entries of a rectangle that is formed outright (questions.py, "a window of 256 × 256 weights")."""

    large_tile: int = 1 << 20
    """Entries of a rectangle from which one pass over its rows is less work than products (questions.py, "256 × 256
    map")."""

    tile_keys: int = 1 << 18
    """Numbers of one head's keys, above which that pass took up to twice as long from run to run (docs/speed.md)."""

    tile_bins: int = 16
    """Bins of keys in one product at the least, however narrow the keys."""

    trusted: float = 16.0
    """Nats: float32 holds a log-normaliser up to here to within 1e-6; larger ones are kept in float64."""

    near_zero: float = 8.0
    """Nats: where no row's largest score is further from 0, entropies need no scores relative to it."""

    large_score: float = 4096.0
    """Nats: float32 holds a score of this size to within 0.0002, and so a weight to as much of itself."""

    noise: float = 1e-7
    """Of the numbers averaged: where float32's own rounding drowns the coefficients of Chebyshev's polynomials."""

    queries_per_node: int = 4
    """Queries for each Chebyshev node, below which plain attention is as fast (speed.py, `pixels`)."""

    steepest: float = 6.0
    """Nats: scores up to which sums of e^score by weights of either sign lose no digit of float32 (speed.py,
    `pixels`)."""


tuning = Tuning()


@contextmanager
def changed(**values: Any) -> Iterator[None]:
    """Other thresholds inside the block.

    >>> with changed(few_weights=0):
    ...     tuning.few_weights
    0
    """
    before = {field.name: getattr(tuning, field.name) for field in fields(tuning)}
    unknown = set(values) - set(before)
    if unknown:
        raise TypeError(f"no threshold is called {sorted(unknown)[0]!r}: there are {', '.join(before)}")
    vars(tuning).update(values)
    try:
        yield
    finally:
        vars(tuning).update(before)
