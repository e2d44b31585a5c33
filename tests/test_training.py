"""Training is the textbook's loop bit for bit, goes on as if it had never stopped, and says what went wrong."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from mirada import systems
from mirada.experiment import train
from mirada.training import checkpoint, processes
from mirada.training.loop import DivergedError, Recipe, Tally, fit
from mirada.training.processes import Batch, Sums
from mirada.training.run import Folder, RunError

SCRIPTS = Path(__file__).parent / "scripts"
GOAL = torch.tensor([1.0, 1.0, 1.0, -3.0, 0.5])


class Number(nn.Module):
    """A model that is one number."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))


def measure(model: nn.Module, batch: Batch) -> Sums:
    return {"loss": (model.value - batch[0]).square().sum(), "count": torch.tensor(len(batch[0]))}


def report(sums: Sums) -> dict[str, float]:
    return {"loss": float(sums["loss"] / sums["count"])}


def shuffled(generator: Generator) -> Iterator[Batch]:
    for index in torch.randperm(5, generator=generator).split(2):
        yield (GOAL[index],)


def trained(folder: Path, model: nn.Module | None = None, **changes: Any) -> tuple[nn.Module, Folder]:
    model = model or Number()
    recipe = Recipe(**{"epochs": 3, "learning_rate": 0.1, **changes.pop("recipe", {})})
    course: dict[str, Any] = {
        "batches": shuffled,
        "steps": 3,
        "held_out": {"validation": lambda: [(GOAL[:1],)]},
        "measure": measure,
        "report": report,
        "progress": False,
    }
    fit(model, recipe=recipe, folder=Folder(folder), **(course | changes))
    return model, Folder(folder)


def told(folder: Folder, split: str, key: str = "loss") -> list[float]:
    return [line[key] for line in folder.metrics() if line["split"] == split]


def without_seconds(folder: Folder) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in folder.metrics()]


def test_adams_first_step_is_the_learning_rate(tmp_path: Path) -> None:
    one = torch.ones(1)
    model, folder = trained(
        tmp_path, batches=lambda _: [(one,)], steps=1, held_out={"validation": lambda: [(one,)]}, recipe={"epochs": 1}
    )
    assert model.value.item() == pytest.approx(0.1)
    assert told(folder, "train") == [1.0]  # (0 - 1)², as it was when the step was taken
    assert told(folder, "validation") == pytest.approx([0.81])  # (0.1 - 1)²


@pytest.mark.parametrize("schedule", ["constant", "onecycle"])
def test_it_is_the_textbooks_loop(tmp_path: Path, schedule: str) -> None:
    far = GOAL + 100  # so far that every epoch is the best so far

    def batches(generator: Generator) -> Iterator[Batch]:
        for index in torch.randperm(5, generator=generator).split(2):
            yield (far[index],)

    splits = {"validation": lambda: [(far,)]}
    model, _ = trained(tmp_path, batches=batches, held_out=splits, recipe={"schedule": schedule})
    textbook, generator = Number(), Generator().manual_seed(42)
    optimizer = torch.optim.Adam(textbook.parameters(), lr=0.1, fused=True)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9) if schedule == "onecycle" else None
    for _ in range(3):
        for (goals,) in batches(generator):
            optimizer.zero_grad()
            (textbook.value - goals).square().mean().backward()
            optimizer.step()
            if cycle:
                cycle.step()
    assert torch.equal(model.value, textbook.value)


def test_metrics_weigh_items_not_batches(tmp_path: Path) -> None:
    splits = {"validation": lambda: [(GOAL[:4],), (GOAL[4:],)], "more": lambda: [(GOAL[:2],)]}
    model, folder = trained(tmp_path, held_out=splits, recipe={"epochs": 1, "learning_rate": 1e-30})
    assert model.value.item() == pytest.approx(0)
    mean = GOAL.square().mean().item()
    assert told(folder, "train") == pytest.approx([mean])
    assert told(folder, "validation") == pytest.approx([mean])
    assert told(folder, "more") == [1.0]


def test_lines_of_metrics_are_in_the_order_of_events(tmp_path: Path) -> None:
    _, folder = trained(tmp_path, final={"test": lambda: [(GOAL,)]}, recipe={"epochs": 2})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [(line["epoch"], line["split"]) for line in map(json.loads, lines)][:4] == [
        (1, "train"),
        (1, "validation"),
        (2, "train"),
        (2, "validation"),
    ]
    assert all(line["seconds"] >= 0 for line in folder.metrics())


def overshooting(tmp_path: Path, **changes: Any) -> tuple[nn.Module, Folder]:
    """The number walks to 100 by about 1 an epoch; validation would have it stop at 3."""
    one_step = {"batches": lambda _: [(torch.full((1,), 100.0),)], "steps": 1}
    recipe = {"epochs": 6, "learning_rate": 1.0} | changes.pop("recipe", {})
    splits = {"validation": lambda: [(torch.full((1,), 3.0),)]}
    return trained(tmp_path, held_out=splits, recipe=recipe, **one_step, **changes)


def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path) -> None:
    model, folder = overshooting(tmp_path, final={"test": lambda: [(torch.zeros(1),)]})
    losses = told(folder, "validation")
    assert losses.index(min(losses)) == 2
    assert losses[-1] > 8  # the last epoch is far off
    assert model.value.item() == pytest.approx(3, abs=0.01)
    assert torch.equal(folder.weights()["value"], model.value)
    final = folder.metrics()[-1]
    assert (final["epoch"], final["split"]) == (3, "test")
    assert final["loss"] == pytest.approx(9, abs=0.1)  # measured with the best weights
    assert not model.training


@pytest.mark.parametrize(("patience", "epochs"), [(None, 6), (1, 4), (2, 5), (3, 6), (9, 6)])
def test_patience_counts_epochs_without_a_better_one(tmp_path: Path, patience: int | None, epochs: int) -> None:
    _, folder = overshooting(tmp_path, recipe={"patience": patience})
    assert len(told(folder, "validation")) == epochs


def test_the_highest_accuracy_can_be_the_best_and_the_first_of_equals_is(tmp_path: Path) -> None:
    def hits(sums: Sums) -> dict[str, float]:
        return {**report(sums), "accuracy": float(sums["loss"] > 0.5)}  # right when it is far from 3

    model, folder = overshooting(tmp_path, metrics={"loss": "falls", "accuracy": "rises"}, best="accuracy", report=hits)
    assert told(folder, "validation", "accuracy") == [1, 1, 0, 1, 1, 1]
    assert model.value.item() == pytest.approx(1, abs=0.01)


def test_the_lowest_bits_can_be_the_best(tmp_path: Path) -> None:
    def bits(sums: Sums) -> dict[str, float]:
        return {**report(sums), "bits": report(sums)["loss"] / math.log(2)}

    model, _ = overshooting(tmp_path, metrics={"loss": "falls", "bits": "falls"}, best="bits", report=bits)
    assert model.value.item() == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"best": "score"}, "best='score' is not among the metrics loss"),
        ({"metrics": {"loss": "falls", "bits": "falls"}}, "report gives loss; the metrics named are loss, bits"),
    ],
)
def test_metrics_that_are_not_reported_are_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        overshooting(tmp_path, **changes)


def test_without_validation_there_is_no_best_epoch(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the splits test: 'validation' chooses"):
        trained(tmp_path, held_out={"test": lambda: [(GOAL,)]})


class Coin(Number):
    """A model that throws a coin in training, as teacher forcing does."""

    def forward(self) -> Tensor:
        return self.value + (torch.rand(()) if self.training else 0)


def with_coin(model: nn.Module, batch: Batch) -> Sums:
    return {"loss": (model() - batch[0]).square().sum(), "count": torch.tensor(len(batch[0]))}


def test_a_seed_is_a_run_whatever_was_drawn_before(tmp_path: Path) -> None:
    runs = []
    for seed in (1, 1, 2):
        torch.rand(len(runs))
        runs.append(trained(tmp_path / str(len(runs)), Coin(), measure=with_coin, recipe={"seed": seed})[1])
    assert without_seconds(runs[0]) == without_seconds(runs[1])
    assert (runs[0].path / "model.safetensors").read_bytes() == (runs[1].path / "model.safetensors").read_bytes()
    assert told(runs[0], "train") != told(runs[2], "train")


@pytest.mark.parametrize("schedule", ["constant", "onecycle"])
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str
) -> None:
    monkeypatch.setattr(checkpoint, "_PAUSE", 0.0)
    calls = 0

    def interrupted(model: nn.Module, batch: Batch) -> Sums:
        nonlocal calls
        calls += 1
        if calls == 14:
            raise KeyboardInterrupt
        return with_coin(model, batch)

    recipe = {"epochs": 5, "schedule": schedule}
    _, whole = trained(tmp_path / "whole", Coin(), measure=with_coin, recipe=recipe)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", Coin(), measure=interrupted, recipe=recipe)
    assert 0 < len(told(Folder(tmp_path / "run"), "validation")) < 5
    model, run = trained(tmp_path / "run", Coin(5.0), measure=with_coin, recipe=recipe, resume=True)
    assert without_seconds(run) == without_seconds(whole)
    assert torch.equal(model.value, whole.weights()["value"])


def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    _, folder = trained(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.name != "resume.pt"}
    model, _ = trained(tmp_path, Number(5.0), resume=True)
    assert torch.equal(model.value, folder.weights()["value"])
    assert before == {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.name != "resume.pt"}


def test_a_state_of_another_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_PAUSE", 0.0)
    with pytest.raises(DivergedError):
        trained(tmp_path, report=failing_at(4))
    other = nn.Module()
    other.another = nn.Parameter(torch.zeros(3))
    with pytest.raises(RunError, match=r"resume\.pt doesn't fit this model"):
        trained(tmp_path, other, resume=True)


def failing_at(call: int, value: float = math.nan) -> Callable[[Sums], dict[str, float]]:
    calls = 0

    def failing(sums: Sums) -> dict[str, float]:
        nonlocal calls
        calls += 1
        return {"loss": value} if calls == call else report(sums)

    return failing


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(("call", "place"), [(1, "epoch 1: train"), (4, "epoch 2: validation"), (5, "epoch 3: train")])
def test_a_loss_that_is_no_number_is_told_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, call: int, place: str
) -> None:
    monkeypatch.setattr(checkpoint, "_PAUSE", 0.0)
    with pytest.raises(DivergedError, match=f"{place} loss became {value}.*--learning-rate"):
        trained(tmp_path, report=failing_at(call, value))
    folder = Folder(tmp_path)
    whole_epochs = (call - 1) // 2
    assert len(told(folder, "validation")) == whole_epochs
    assert all(math.isfinite(loss) for loss in told(folder, "validation"))
    if whole_epochs:
        assert folder.weights()["value"].isfinite()


def test_an_overflow_in_the_model_itself_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"epoch 1: train loss became (inf|nan)"):
        trained(tmp_path, recipe={"learning_rate": 1e30})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("steps", "words"), [(2, "more"), (4, "3")])
def test_steps_must_tell_the_truth(tmp_path: Path, steps: int, words: str) -> None:
    with pytest.raises(ValueError, match=f"steps={steps}, but an epoch has {words} batches"):
        trained(tmp_path, steps=steps)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("patience", 0),
        ("seed", -1),
        ("threads", 100_000),
        ("epochs", 10**12),
        ("model_seed", 2**63),
    ],
)
def test_a_recipe_names_what_it_can_not_take(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field}={value}: "):
        Recipe(**{field: value})


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"cuda": False, "mps": False}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there["cuda"])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there["mps"])
    assert processes.device("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match=r"device='mps'.*finds none.*'auto'"):
        processes.device("mps")
    with pytest.raises(ValueError, match="device='tpu' is no choice"):
        processes.device("tpu")
    there["mps"] = True
    assert processes.device("auto") == torch.device("mps")
    there["cuda"] = True
    assert processes.device("auto") == torch.device("cuda")


@pytest.mark.parametrize("count", [1, 127, 128, 129, 300])
def test_a_tally_adds_up(count: int) -> None:
    tally = Tally()
    for number in range(count):
        tally.add({"loss": torch.tensor(float(number)), "by class": torch.tensor([1, number])})
    assert tally.sums()["loss"] == count * (count - 1) / 2
    assert tally.sums()["by class"].tolist() == [count, count * (count - 1) / 2]


def test_a_tally_does_not_lose_small_numbers_in_large_sums() -> None:
    tally = Tally()
    for number in [2.0**24, *[1.0] * 1000]:  # in float32, 2²⁴ + 1 is 2²⁴
        tally.add({"loss": torch.tensor(number)})
    assert tally.sums()["loss"] == 2**24 + 1000


def test_where_nobody_watches_a_line_an_epoch_is_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path, progress=True, final={"test": lambda: [(GOAL,)]})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3", "best epoch 3"]
    assert "train: loss" in lines[0]
    assert lines[0].endswith("| best")
    assert all(line.isprintable() for line in lines)


def test_on_a_terminal_a_bar_shows_the_metrics_of_the_epoch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("mirada.training.progress._PAUSE", 0.0)
    trained(tmp_path, progress=True)
    out = capsys.readouterr().out
    assert "━" in out
    assert "2/3" in out
    assert out.count("loss") > 3 * 3  # in the bar, besides the three lines


def test_it_can_be_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(tmp_path, progress=False)
    assert capsys.readouterr() == ("", "")


def python(*arguments: str, torchrun: bool = False) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2"] if torchrun else []
    return subprocess.run(
        [sys.executable, *launcher, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def after_kills(tmp_path: Path, settings: str, stride: int) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    done = python(str(SCRIPTS / "kills.py"), str(tmp_path), settings, str(stride))
    assert done.returncode == 0, done.stderr
    whole, *killed = json.loads(done.stdout)
    assert len(killed) > 5
    return [(whole, one) for one in killed]


KILLED = '{"epochs": 3, "schedule": "onecycle"}'


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_any_moment_a_run_goes_on_bit_for_bit(tmp_path: Path, stride: int) -> None:
    epochs = set()
    for whole, one in after_kills(tmp_path, KILLED, stride):
        assert one["killed"] == -9
        assert one["status"] == 0
        assert one["after"] == whole["after"]
        epochs.add(one["between"]["epoch"])
    assert epochs == {0, 1, 2, 3}


def test_under_torchrun_the_metrics_are_those_of_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(SCRIPTS.parent / "toys")])
    monkeypatch.setattr(checkpoint, "_PAUSE", 0.0)
    line = systems.get("line")
    measure, calls = line.measure, []

    def interrupted(*given: Any) -> Sums:
        calls.append(given)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return measure(*given)

    # 33 items in batches of 8: the last batch and the test split have a single item for two processes.
    train("line", out=tmp_path / "alone", items=33)
    alone = capsys.readouterr().out.splitlines()
    with monkeypatch.context() as patch:
        patch.setattr(line, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train("line", out=tmp_path / "taken up", items=33, progress=False)

    outs = f"{tmp_path / 'shared'},{tmp_path / 'taken up'}"
    done = python(str(SCRIPTS / "train.py"), outs, '{"items": 33}', "--resume", torchrun=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    # One process speaks, in the words of a single one.
    shared = [line for line in done.stdout.splitlines() if "nothing to go on from yet" not in line]
    assert shared[: len(alone)] == alone
    one = Folder(tmp_path / "alone")
    for other in (Folder(tmp_path / "shared"), Folder(tmp_path / "taken up")):
        for mine, theirs in zip(one.metrics(), other.metrics(), strict=True):
            assert (mine["epoch"], mine["split"]) == (theirs["epoch"], theirs["split"])
            assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-5)
            assert theirs["accuracy"] == mine["accuracy"]
        for name, tensor in one.weights().items():
            torch.testing.assert_close(other.weights()[name], tensor, rtol=1e-4, atol=1e-5)


def test_processes_that_begin_with_another_state_are_refused(tmp_path: Path) -> None:
    """As on two machines without a shared folder: one finds the run, the other nothing."""
    script = str(SCRIPTS / "train.py")
    assert python(script, str(tmp_path / "0"), '{"epochs": 2}').returncode == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "0").iterdir()}
    done = python(script, f"{tmp_path}/RANK", '{"epochs": 2}', "--resume", torchrun=True)
    assert done.returncode != 0
    assert "process 1 begins with another resume.pt than process 0" in done.stderr
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "0").iterdir()}
    assert not (tmp_path / "1").exists()


def test_a_process_that_is_killed_ends_the_others_in_one_line(tmp_path: Path) -> None:
    since = time.monotonic()
    done = python(str(SCRIPTS / "train.py"), str(tmp_path / "run"), '{"epochs": 1000000}', "--die", torchrun=True)
    assert done.returncode != 0
    assert time.monotonic() - since < 60
    assert "another process of this training ended, so this one ends too" in done.stderr
    assert not (tmp_path / "run" / ".lock").exists()
    assert Folder(tmp_path / "run").state()
