"""What README promises of the systems: each line of its table is trained by the very command that stands in it."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import mirada

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
TABLE = re.findall(r"^\| `(mirada train [^`]+)` \| ([^|]+) \| ([^|]+) \|$", README, re.MULTILINE)
ROWS = [(command, says) for command, says, _ in TABLE]
DRAWS = json.loads((Path(__file__).parents[1] / "benchmarks" / "results" / "draws.json").read_text())
QUICK = [row for row in ROWS if "--data mnist" not in row[0]]
MNIST = [row for row in ROWS if "--data mnist" in row[0]]


def measured(run: mirada.Run) -> list[tuple[float, float]]:
    """The figures of a run in the order in which README gives them, and how far another machine's may lie."""
    found = run.evaluate()
    match run.name:
        case "counting":
            model: Any = run.model
            with torch.no_grad():
                _, weights = model(torch.arange(10)[None])
            wrong = round((1 - found["test"]["accuracy"]) * len(run.data.test[0]))
            return [(wrong, 20), (100_000, 0), (100 * float(weights[0, 0, [2, 4]].sum()), 3), (2, 0), (4, 0)]
        case "pixels":
            return [(100 * found["test"]["accuracy"], 1), (found["test"]["bits"], 0.06)]
        case "patches":
            return [(100 * found["validation"]["accuracy"], 1.5)]
        case "squares":
            return [(found["test"]["loss"], 0.2 * found["test"]["loss"])]
    raise AssertionError(f"README says nothing of {run.name}")


def hold(command: str, says: str, folder: Path, more: tuple[str, ...] = ()) -> None:
    words = command.split()[1:]
    subprocess.run(
        [sys.executable, "-m", "mirada", *words, *more, "--out", str(folder)], check=True, capture_output=True
    )
    promised = [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*(?:\.\d+)?", says)]
    for promise, (value, margin) in zip(promised, measured(mirada.load(folder)), strict=True):
        assert abs(promise - value) <= margin, f"{command}: README says {says}, here it is {value:.4f}"


def test_every_system_that_is_trained_has_a_line():
    walkthrough, *trained = mirada.systems.names()[:5]  # the lessons come first
    assert walkthrough == "walkthrough"
    assert {command.split()[2] for command, _ in ROWS} == set(trained)


@pytest.mark.parametrize(("owner", "name"), [(mirada, "mirada"), (mirada.AttentionMatrix, "A")])
def test_every_name_is_there(owner, name):
    names = set(re.findall(rf"\b{name}\.([a-z]\w*)", README)) - {"sh", "git"}
    assert names
    assert [one for one in sorted(names) if not hasattr(owner, one)] == []


def drawn(command: str) -> tuple[str, str]:
    """A command as benchmarks/draws.py has it, and the figure that README gives of its draws."""
    name = command.removeprefix("mirada train ").replace("squares --attention single", "squares")
    return name, {"counting": "on 2 and 4", "squares": "loss"}.get(name.split()[0], "accuracy")


@pytest.mark.parametrize(("command", "_", "says"), TABLE, ids=[command for command, *_ in TABLE])
def test_the_draws_are_those_that_were_measured(command, _, says):
    name, figure = drawn(command)
    if "mnist" in command:
        assert says == "–"
        return
    values = [one[figure] for one in DRAWS[name]]
    assert len(values) == 10
    mean, spread = statistics.mean(values), statistics.stdev(values)
    wanted = f"{mean:.3f} ± {spread:.3f}" if figure == "loss" else f"{100 * mean:.1f} ± {100 * spread:.1f} %"
    assert says == wanted


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_comes_out_as_it_was_measured(tmp_path, name):
    """Seed 0 of each, trained again; another machine rounds otherwise, so a small model may end a little elsewhere."""
    system, *options = name.split()
    seeds = ["--seed", "0", *(["--model-seed", "0"] if system in ("counting", "squares") else [])]
    command = [sys.executable, "-m", "mirada", "train", system, *options, *seeds, "--out", str(tmp_path / "run")]
    subprocess.run(command, check=True, capture_output=True)
    found = mirada.load(tmp_path / "run").evaluate()
    loss = (found.get("test") or found["validation"])["loss"]
    assert loss == pytest.approx(DRAWS[name][0]["loss"], rel=0.2)


@pytest.mark.parametrize(("command", "says"), QUICK, ids=[command for command, _ in QUICK])
def test_a_line_of_the_table(tmp_path, command, says):
    hold(command, says, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.mnist
@pytest.mark.parametrize(("command", "says"), MNIST, ids=[command for command, _ in MNIST])
def test_a_line_of_the_table_on_mnist(tmp_path, command, says):
    hold(command, says, tmp_path / "run", ("--data-dir", os.environ["MIRADA_MNIST"]))


@pytest.mark.slow
def test_the_tour_prints_what_readme_shows(tmp_path):
    said = subprocess.run(
        [sys.executable, "-m", "mirada", "tour", "--out", "mirada-tour"],
        cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    (shown,) = re.findall(r"```\n(attention .*?mirada-tour/index\.html)\n```", README, re.DOTALL)
    without_seconds = [re.sub(r"\s+\d+\.\d s$", "", line) for line in said.strip().splitlines()]
    assert [re.sub(r"\s+\d+\.\d s$", "", line) for line in shown.splitlines()] == without_seconds
