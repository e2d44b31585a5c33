"""What this machine can do: rates measured now, and the time that counted arithmetic and bytes take at them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Rates:
    """Of the threads in use: multiplications and additions, exponentials, and bytes moved, each a second."""

    products: float
    exponentials: float
    bytes: float

    def seconds(self, *, products: float = 0, exponentials: float = 0, bytes: float = 0) -> float:
        """The time that so much takes at these rates, one after another."""
        return products / self.products + exponentials / self.exponentials + bytes / self.bytes


def measured() -> Rates:
    """From a product of two 1,024 × 1,024 matrices, exponentials in the cache, and a copy of 64 MB."""
    square, few, many = torch.randn(1024, 1024), torch.randn(1 << 16), torch.randn(1 << 24)
    into_few, into_many = torch.empty_like(few), torch.empty_like(many)
    return Rates(
        products=2 * 1024**3 / _seconds(lambda: square @ square),
        exponentials=len(few) / _seconds(lambda: torch.exp(few, out=into_few)),
        bytes=2 * 4 * len(many) / _seconds(lambda: into_many.copy_(many)),
    )


def _seconds(work: Callable[[], Any]) -> float:
    work()
    times = []
    for _ in range(15):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)
