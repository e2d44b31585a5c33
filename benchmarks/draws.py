"""How much of a lesson's figure is its draw: each command of README's table, and the options beside it, for ten seeds.

``python benchmarks/draws.py`` trains them all on the embedded data (a quarter of an hour on one core) and writes
``results/draws.json``; README, the tour and the documentation take mean and spread from there. A draw is a seed of
everything: first weights, order of the batches, coins of teacher forcing. ``--only WORDS`` measures the commands that
hold these words again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

import mirada

RESULTS = Path(__file__).with_name("results") / "draws.json"
SEEDS = range(10)
COMMANDS: dict[str, dict[str, Any]] = {
    "counting": {},
    "pixels": {},
    "patches --model mlp": {"model": "mlp"},
    "patches": {},
    **{f"patches --heads {heads}": {"heads": heads} for heads in (1, 2, 4, 8)},
    "patches --model features": {"model": "features"},
    "patches --model block": {"model": "block"},
    "squares --attention none": {"attention": "none"},
    "squares": {},
    "squares --attention multihead": {"attention": "multihead"},
    "squares --teacher-forcing 0": {"teacher_forcing": 0.0},
    "squares --teacher-forcing 1": {"teacher_forcing": 1.0},
    "squares --score general": {"score": "general"},
    "squares --score additive": {"score": "additive"},
    "squares --hidden 3": {"hidden": 3},
}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], help="commands that hold one of these words")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for command, settings in COMMANDS.items():
        if any(word in command for word in options.only):
            results[command] = [draw(command, settings, seed) for seed in SEEDS]
            print(f"{command:32} {'  '.join(told(results[command]))}", flush=True)
            ordered = {name: results[name] for name in COMMANDS if name in results}
            RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")


def draw(command: str, settings: Mapping[str, Any], seed: int) -> dict[str, float]:
    """One training from one seed; what it reaches."""
    system = command.split()[0]
    seeds = {"seed": seed, "model_seed": seed} if system in ("counting", "squares") else {"seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        run = mirada.train(system, out=Path(folder) / "run", progress=False, **settings, **seeds)
        return {"seed": seed} | {name: round(value, 5) for name, value in figures(run)}


@torch.no_grad()
def figures(run: mirada.Run) -> Iterator[tuple[str, float]]:
    """What a run is judged by."""
    model: Any = run.model
    found = run.evaluate()
    yield from (found.get("test") or found["validation"]).items()
    if run.name == "counting":
        _, weights = model(torch.arange(10)[None])  # (1, 1, 10)
        yield "on 2 and 4", float(weights[0, 0, [2, 4]].sum())
    if run.name == "squares" and run.settings.attention == "single":
        train = run.data.train
        _, weights = model(train.source[:1], train.lengths[:1])  # (1, 2, 2)
        yield "least largest weight", float(weights[0].amax(-1).min())


def told(draws: list[dict[str, float]]) -> Iterator[str]:
    """Mean and spread of each figure.

    >>> list(told([{"seed": 0, "loss": 1.0}, {"seed": 1, "loss": 3.0}]))
    ['loss 2 ± 1.41']
    """
    for name in draws[0].keys() - {"seed"}:
        values = [one[name] for one in draws]
        yield f"{name} {statistics.mean(values):.3g} ± {statistics.stdev(values):.2g}"


if __name__ == "__main__":
    main()
