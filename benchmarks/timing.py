"""Side by side in one process: machines are shared and drift, so only ratios taken together say anything."""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Times:
    """Seconds of one piece of work: median, and the quartiles around it."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Ratio:
    """How many times as long one piece of work takes as another: the median over rounds, and the quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        # A ratio that may as well be 1 is none.
        return (
            f"{self.median:.2f} x" if not self.low < 1 < self.high else f"about 1 x ({self.low:.2f} to {self.high:.2f})"
        )


def interleaved(
    works: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each work in each round; every round runs all of them, after one round that doesn't count.

    In another order each time: who comes first finds the caches as the last one left them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    order, turns = list(works.items()), random.Random(0)
    for number in range(rounds + 1):
        turns.shuffle(order)
        for name, work in order:
            began = clock()
            work()
            if number:
                seconds[name].append(clock() - began)
    return seconds


def times(seconds: list[float]) -> Times:
    return Times(statistics.median(seconds), *_quartiles(seconds))


def ratio(seconds: list[float], baseline: list[float]) -> Ratio:
    each = [one / other for one, other in zip(seconds, baseline, strict=True)]
    return Ratio(statistics.median(each), *_quartiles(each))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def write(path: Path, results: dict[str, Any]) -> None:
    """The results as JSON, with the machine they were measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine(), **results}, indent=2, default=lambda thing: asdict(thing))
    beside = path.with_suffix(".new")
    beside.write_text(text + "\n")
    beside.replace(path)


def _quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    quartiles = statistics.quantiles(values, n=4, method="inclusive")
    return quartiles[0], quartiles[2]
