"""A system is one file: found by its name, checked against the contract, and refused by name where it breaks it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from shutil import copyfile, copytree, ignore_patterns
from urllib.request import urlopen

import pytest

import mirada
from mirada import systems
from mirada.cli import main
from mirada.comparison import compare

LINE = (Path(__file__).parent / "toys" / "line.py").read_text()
TRAINED = [name for name in systems.names() if systems.trained(name)]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A place for systems of a user's own; gives a function that writes one."""
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(tmp_path)])

    def write(name, text):
        sys.modules.pop(f"mirada.systems.{name}", None)
        (tmp_path / f"{name}.py").write_text(text)

    return write


def test_the_lessons_keep_the_contract():
    assert TRAINED == ["counting", "pixels", "patches", "squares"]
    assert systems.trained("walkthrough") is None


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('SUMMARY = "On which', 'summary = "On which', "SUMMARY=None, wanted one line of text"),
        ('BEST = "loss"', 'BEST = "bits"', "BEST='bits' is not among its METRICS: loss, accuracy"),
        ('BEST = "loss"', "", "BEST=None is not among its METRICS"),
        ('"accuracy": "rises"}', '"accuracy": "up"}', "METRICS=.*'up'.*wanted .*'falls', 'rises'"),
        ("METRICS =", "METRIC =", "METRICS=None, wanted"),
        ("(model: nn.Module, batch: Batch)", "(model: nn.Module)", r"measure\(model.*wanted .*measure\(model, batch\)"),
        ("def predict(", "def predicts(", r"predict is missing, wanted a function predict\(run, inputs\)"),
        ("def measure(", "def measures(", r"measure is missing, wanted a function measure\(model, batch\)"),
        ("(run: Any, ax: Axes)", "(run: Any)", r"compared\(run.*wanted a function compared\(run, ax\)"),
        ("def example(", "def examples(", r"example is missing, wanted a function example\(settings\)"),
        ("def exhibit(", "def exhibits(", r"exhibit is missing, wanted a function exhibit\(run, example\)"),
        ("class Settings(Recipe)", "class Settings", "Settings does not extend mirada.training.loop.Recipe"),
        ("class Settings(", "class Setting(", "Settings is missing, wanted a class with @dataclass"),
        ("@dataclass(frozen=True, kw_only=True)", "", "Settings is no frozen dataclass"),
        ("    size: int = 8", "    size: int", r"Settings\(\) can't be made, every field needs a default"),
        ("from pathlib import Path", "from pathlib import Paths", "ImportError"),
        ("SUMMARY =", "SUMMARY = =", "SyntaxError"),
    ],
)  # fmt: skip
def test_a_system_that_breaks_the_contract_is_refused_by_name_and_field(written, capsys, before, after, words):
    assert before in LINE
    written("broken", LINE.replace(before, after, 1))
    with pytest.raises(ValueError, match=rf"system 'broken' is refused: .*{words}"):
        systems.get("broken")
    assert main(["systems"]) == 0  # one that is broken takes nothing from the others
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [*systems.names()]
    assert "is refused" in lines[-1]


def test_a_metric_of_ones_own_chooses_the_epoch_by_its_direction(written, tmp_path):
    written("hits", LINE.replace('"accuracy"', '"hits"').replace('BEST = "loss"', 'BEST = "hits"'))
    runs = [mirada.train("hits", out=tmp_path / f"run-{seed}", seed=seed, progress=False) for seed in (0, 1)]
    for one, run in zip(compare(runs).runs, runs, strict=True):
        hits = [line["hits"] for line in run.metrics if line["split"] == "validation"]
        assert min(hits) < max(hits)
        assert hits[one.best_epoch - 1] == max(hits)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("epochs", 0), ("epochs", 10**12), ("seed", -1), ("seed", 2**63), ("model_seed", -1), ("model_seed", 2**64),
        ("threads", 0), ("threads", 100_000), ("patience", 0), ("batch_size", 0), ("batch_size", 10**9),
        ("blocks", 10**6), ("heads", 10**6), ("patch", 0), ("hidden", 10**6), ("hidden", 0), ("split_seed", -1),
        ("steps_per_epoch", 10**9), ("learning_rate", 0.0), ("learning_rate", float("inf")),
    ],
)  # fmt: skip
def test_settings_of_every_system_are_checked_alike(name, setting, value):
    settings = systems.get(name).Settings
    if setting in settings.__dataclass_fields__:
        with pytest.raises(ValueError, match=rf"{setting}={value}: (at least|at most|a number above) [\d,]+.* needed"):
            settings(**{setting: value})


def test_an_epoch_that_is_drawn_at_once_has_a_bound():
    with pytest.raises(ValueError, match=r"steps_per_epoch=100000, batch_size=10000: .*at most 10,000,000"):
        systems.get("counting").Settings(steps_per_epoch=100_000, batch_size=10_000)


# --- a sixth system ---

TEMPLATE = Path(__file__).parent / "toys" / "largest.py"


@pytest.fixture(scope="module")
def sixth(tmp_path_factory):
    """The package with the template among its systems, as a user would copy it; gives its home and a trained run."""
    home = tmp_path_factory.mktemp("sixth")
    copytree(Path(mirada.__file__).parent, home / "mirada", ignore=ignore_patterns("__pycache__"))
    copyfile(TEMPLATE, home / "mirada" / "systems" / "largest.py")
    command(home, "train", "largest", "--out", "run", "--epochs", "6")
    return home


def command(home, *words):
    done = subprocess.run(
        [sys.executable, "-m", "mirada", *words], cwd=home, env=environment(home), capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def environment(home):
    return {**os.environ, "PYTHONPATH": str(home), "OMP_NUM_THREADS": "1"}


def test_it_is_found_by_its_file_alone(sixth):
    assert [line.split()[0] for line in command(sixth, "systems").splitlines()][-1] == "largest"
    assert "--width" in command(sixth, "train", "largest", "--help")


def test_what_its_training_proposes_to_run_works(sixth):
    said = command(sixth, "train", "largest", "--out", "other", "--epochs", "2", "--width", "4")
    proposed = next(line for line in said.splitlines() if line.startswith("  mirada predict")).split("  ")[1]
    assert command(sixth, *proposed.split()[1:]).startswith("the largest is about")
    assert "width" in command(sixth, "plot", "run", "other")


def test_it_is_trained_evaluated_and_predicts(sixth):
    split, *measured = [line.split() for line in command(sixth, "evaluate", "run").splitlines()]
    assert split == ["split", "loss", "accuracy"]
    assert [name for name, *_ in measured] == ["validation", "test"]
    assert all(float(accuracy) > 0.9 for *_, accuracy in measured)
    text, picture = command(sixth, "predict", "run", "0.1", "-0.3", "0.9", "0", "0.5").splitlines()
    assert text.startswith("the largest is about 0.")
    drawn = command(sixth, "plot", "run").splitlines()
    for path in (picture, *drawn):
        assert (sixth / path).read_bytes().startswith(b"\x89PNG")


def test_it_is_viewed_in_a_saved_and_in_a_live_page(sixth):
    page = command(sixth, "view", "run", "--example", "3", "--save", "page.html").strip()
    assert "the query" in (sixth / page).read_text()
    words = [sys.executable, "-m", "mirada", "view", "run", "--no-browser"]
    with subprocess.Popen(words, cwd=sixth, env=environment(sixth), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        with urlopen(address) as answer:
            assert "the query" in answer.read().decode()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


@pytest.mark.slow
def test_the_tour_tells_of_the_lessons_as_ever(sixth):
    command(sixth, "tour", "--out", "tour")
    assert "largest of five" not in (sixth / "tour" / "index.html").read_text()
