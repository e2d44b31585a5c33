"""mirada beside its peers on the same work, in one process, by turns.

    python benchmarks/speed.py [--quick] [--only systems heads calls masks start] [--data-dir FOLDER]

Prints one table: the work, mirada's time, each baseline's, how many times as long the baseline takes, what is aimed
at, and the floor: counted arithmetic at rates measured in the same run, or the bare operations themselves. A ratio that
the spread leaves open is not printed as one. Writes benchmarks/results/speed.json (speed-quick.json with --quick).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import floors
import timing

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Work:
    """The same work done by mirada and by others. Each may do a part: ``times`` says how often the whole holds it."""

    name: str
    mirada: Callable[[], Any]
    others: dict[str, Callable[[], Any]]
    aim: str
    times: dict[str, float] = field(default_factory=dict)
    floor: float | Callable[[], Any] | None = None
    rounds: int = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds and sizes: under three minutes on two cores")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), default=list(GROUPS), help="groups of work")
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("MIRADA_MNIST"), help="MNIST's four IDX files")
    options = parser.parse_args()
    console = Console(width=150)
    rates = floors.measured()
    console.print(
        f"{rates.products / 1e9:.0f} billion products and sums a second, {rates.exponentials / 1e9:.2f} billion "
        f"exponentials, {rates.bytes / 1e9:.1f} GB moved; {torch.get_num_threads()} threads, torch {torch.__version__}"
    )
    table = Table("work", "mirada", "baseline", "its time", "it takes", "aim", "floor", "mirada / floor")
    found = []
    for group in options.only:
        for work in GROUPS[group](options, rates):
            rows = measured(work, options.quick)
            found.extend(rows)
            for row in rows:
                table.add_row(*cells(row))
                console.print("  ".join(cells(row)), style="dim")
    console.print(table)
    name = "speed-quick.json" if options.quick else "speed.json"
    timing.write(RESULTS / name, {"rates": rates, "rows": found})


def measured(work: Work, quick: bool) -> list[dict[str, Any]]:
    """A row for each baseline."""
    works = {"mirada": work.mirada, **work.others}
    if callable(work.floor):
        works["floor"] = work.floor
    rounds = max(3, work.rounds // 2) if quick else work.rounds
    seconds = {
        name: [one * work.times.get(name, 1) for one in each]
        for name, each in timing.interleaved(works, rounds).items()
    }
    own = timing.times(seconds["mirada"])
    floor = timing.times(seconds["floor"]).median if callable(work.floor) else work.floor
    return [
        {
            "work": work.name,
            "mirada": own,
            "baseline": name,
            "its": timing.times(seconds[name]),
            "ratio": timing.ratio(seconds[name], seconds["mirada"]),
            "aim": work.aim,
            "floor": floor,
        }
        for name in work.others
    ]


def cells(row: dict[str, Any]) -> list[str]:
    """A row as text."""
    floor = row["floor"]
    return [
        row["work"],
        spread(row["mirada"]),
        row["baseline"],
        spread(row["its"]),
        str(row["ratio"]),
        row["aim"],
        "" if floor is None else human(floor),
        "" if floor is None else f"{row['mirada'].median / floor:.1f}",
    ]


def spread(times: timing.Times) -> str:
    """Median and half the distance of the quartiles."""
    return f"{human(times.median)} ± {100 * (times.high - times.low) / 2 / times.median:.0f} %"


def human(seconds: float) -> str:
    """A time in its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def systems(options: argparse.Namespace, rates: floors.Rates) -> Iterator[Work]:
    """The four trainable systems; those on images need MNIST."""
    import lessons

    yield from lessons.works(options, rates)


def heads(options: argparse.Namespace, rates: floors.Rates) -> Iterator[Work]:
    """MultiHeadAttention beside torch's and x-transformers'."""
    import layers

    yield from layers.works(options.quick, rates)


def calls(options: argparse.Namespace, rates: floors.Rates) -> Iterator[Work]:
    """What a call costs beyond torch's own."""
    import products

    yield from products.calls()


def masks(options: argparse.Namespace, rates: floors.Rates) -> Iterator[Work]:
    """Rules, not tensors, beside a dense mask."""
    import products

    yield from products.masked(options.quick)


def start(options: argparse.Namespace, rates: floors.Rates) -> Iterator[Work]:
    """From nothing: imports and the command's help."""
    import starting

    yield from starting.works()


GROUPS: dict[str, Callable[[argparse.Namespace, floors.Rates], Iterator[Work]]] = {
    "systems": systems,
    "heads": heads,
    "calls": calls,
    "masks": masks,
    "start": start,
}

if __name__ == "__main__":
    main()
