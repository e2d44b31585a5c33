"""A run from one end to the other, on a toy system: trained, kept, loaded, asked; and every way to ask wrongly."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save, save_file

import mirada
from mirada import systems
from mirada.cli import main
from mirada.experiment import Run, load, train
from mirada.training.loop import DivergedError, Recipe
from mirada.training.run import RunError


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(Path(__file__).parent / "toys")])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return train("line", out=tmp_path / "run", progress=False)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def edit(run: Run, **changes: Any) -> None:
    path = run.folder.path / "settings.json"
    record = json.loads(path.read_text())
    record["settings"] |= changes
    path.write_text(json.dumps(record))


def test_a_system_is_found_by_its_file_alone() -> None:
    assert "line" in systems.names()
    assert systems.names()[0] == "walkthrough"
    assert systems.get("line").SUMMARY


def test_the_front_door_leads_here() -> None:
    assert (mirada.train, mirada.load, mirada.Run) == (train, load, Run)


def test_a_run_says_what_it_is(run: Run) -> None:
    assert run.name == "line"
    assert run.settings.epochs == 4
    assert run.system is systems.get("line")
    record = json.loads((run.folder.path / "settings.json").read_text())
    assert record["system"] == "line"
    assert record["mirada"] == mirada.__version__
    assert record["settings"]["learning_rate"] == 0.02
    assert [line["epoch"] for line in run.metrics] == [1, 1, 2, 2, 3, 3, 4, 4, 4]


def test_evaluating_gives_what_training_reported(run: Run) -> None:
    best = run.metrics[-1]["epoch"]
    reported = {
        line["split"]: {"loss": line["loss"], "accuracy": line["accuracy"]}
        for line in run.metrics
        if line["epoch"] == best and line["split"] != "train"
    }
    assert run.evaluate() == reported
    assert load(run.folder.path).evaluate() == reported


def test_a_loaded_run_is_the_trained_one(run: Run) -> None:
    loaded = load(str(run.folder.path))
    assert loaded.settings == run.settings
    assert loaded.metrics == run.metrics
    assert not loaded.model.training
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor)
    assert loaded.predict(["0,0", "3,1"])[0] == run.predict(["0,0", "3,1"])[0] == "[0, 1]"


def test_loading_needs_no_pickle(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.folder.path / "resume.pt").unlink()
    monkeypatch.delattr(torch, "load")
    assert load(run.folder.path).evaluate() == run.evaluate()


def test_plots_go_into_the_folder(run: Run) -> None:
    (path,) = run.plot()
    assert path == run.folder.path / "plots" / "loss.png"
    assert path.read_bytes().startswith(b"\x89PNG")


@dataclass(frozen=True, kw_only=True)
class OneSeed(Recipe):
    epochs: int = 1
    size: int = 8
    items: int = 16
    hidden: str = "narrow"


def test_the_model_is_drawn_with_its_own_seed_where_it_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, seeds = systems.get("line"), []
    build = line.build
    monkeypatch.setattr(line, "build", lambda *given: seeds.append(torch.initial_seed()) or build(*given))
    train("line", out=tmp_path / "two", epochs=1, model_seed=5, seed=6, progress=False)
    monkeypatch.setattr(line, "Settings", OneSeed)
    train("line", out=tmp_path / "one", seed=6, progress=False)
    assert seeds == [5, 6]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"epoch": 3}, TypeError, "line has no setting 'epoch'; did you mean 'epochs'"),
        ({"zzz": 3}, TypeError, "no setting 'zzz'; there are: epochs, learning_rate"),
        ({"epochs": "3"}, TypeError, "epochs='3' is of type str, wanted int"),
        ({"epochs": True}, TypeError, "epochs=True is of type bool, wanted int"),
        ({"epochs": 3.0}, TypeError, "epochs=3.0 is of type float, wanted int"),
        ({"patience": "none"}, TypeError, "patience='none' is of type str, wanted int or None"),
        ({"hidden": "narow"}, ValueError, "hidden='narow' is no choice; did you mean 'narrow'"),
        ({"hidden": 3}, TypeError, "hidden=3 is of type int"),
        ({"place": 3}, TypeError, "place=3 is of type int, wanted Path or None"),
        ({"epochs": 0}, ValueError, "epochs=0: at least 1"),
        ({"device": "gpu"}, ValueError, "device='gpu' is no choice"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, given: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words.replace("(", r"\(")):
        train("line", out=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_a_device_that_is_not_there_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device='cuda'"):
        train("line", out=tmp_path / "run", device="cuda")
    assert not (tmp_path / "run").exists()


def test_values_that_fit_well_enough(tmp_path: Path) -> None:
    given: dict[str, Any] = {"learning_rate": 1, "place": str(tmp_path), "patience": None}
    run = train("line", out=tmp_path / "run", epochs=1, progress=False, **given)
    assert isinstance(run.settings.learning_rate, float)
    assert run.settings.place == tmp_path
    assert load(run.folder.path).settings == run.settings


def test_systems_that_can_not_be_trained(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"walkthrough has nothing to train.*mirada walkthrough"):
        train("walkthrough", out=tmp_path / "run")
    with pytest.raises(ValueError, match="no system is called 'lines'; did you mean 'line'"):
        train("lines", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_is_never_trained_over(run: Run) -> None:
    before = contents(run.folder.path)
    with pytest.raises(RunError, match="holds a run already"):
        train("line", out=run.folder.path, progress=False)
    assert contents(run.folder.path) == before


def test_going_on_takes_the_settings_of_the_run(tmp_path: Path, run: Run) -> None:
    del run
    begun = train("line", out=tmp_path / "begun", epochs=2, hidden="wide", progress=False)
    again = train("line", out=tmp_path / "begun", resume=True, hidden="wide", progress=False)
    assert again.settings == begun.settings
    assert again.metrics == begun.metrics


@pytest.mark.parametrize(("name", "value"), [("epochs", 3), ("hidden", "wide"), ("patience", 1), ("place", "there")])
def test_going_on_with_other_settings_is_refused(run: Run, name: str, value: Any) -> None:
    before = contents(run.folder.path)
    with pytest.raises(RunError, match=f"was begun with {name}="):
        train("line", out=run.folder.path, resume=True, progress=False, **{name: value})
    assert contents(run.folder.path) == before


def test_a_finished_run_is_trained_on_as_if_it_had_been_longer_from_the_start(tmp_path: Path, run: Run) -> None:
    longer = train("line", out=tmp_path / "longer", epochs=7, progress=False)
    on = train("line", out=run.folder.path, resume=True, epochs=7, progress=False)
    assert on.settings == longer.settings == load(run.folder.path).settings
    assert [line["loss"] for line in on.metrics] == [line["loss"] for line in longer.metrics]
    assert [line["split"] for line in on.metrics].count("test") == 1
    for name in ("model.safetensors", "settings.json"):
        assert contents(run.folder.path)[name] == contents(longer.folder.path)[name]


def test_a_one_cycle_schedule_can_not_be_made_longer(tmp_path: Path) -> None:
    train("line", out=tmp_path / "run", schedule="onecycle", progress=False)
    with pytest.raises(RunError, match="was begun with epochs=4"):
        train("line", out=tmp_path / "run", resume=True, epochs=7, progress=False)


def test_a_failing_resume_loses_nothing(run: Run) -> None:
    (run.folder.path / "resume.pt").unlink()
    before = contents(run.folder.path)
    with pytest.raises(RunError, match=r"has model\.safetensors but no resume\.pt.*--out"):
        train("line", out=run.folder.path, resume=True, progress=False)
    assert contents(run.folder.path) == before


def test_a_folder_that_moves_ends_the_run_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line, out = systems.get("line"), tmp_path / "run"
    measure = line.measure

    def moving(*given: Any) -> Any:
        if out.exists():
            out.rename(tmp_path / "moved")
        return measure(*given)

    monkeypatch.setattr(line, "measure", moving)
    with pytest.raises(RunError, match=r"run was renamed or removed.*--resume"):
        train("line", out=out, progress=False)
    assert not out.exists()


def test_weights_that_are_not_finite(run: Run) -> None:
    weights = run.folder.weights()
    weights["out.bias"][0] = float("nan")
    (run.folder.path / "model.safetensors").write_bytes(save(weights))
    with pytest.raises(RunError, match=r"model\.safetensors holds values that are not finite, in out\.bias"):
        load(run.folder.path)


def test_going_on_with_another_system_is_refused(run: Run) -> None:
    with pytest.raises(RunError, match="holds a run of line, not of squares"):
        train("squares", out=run.folder.path, resume=True)


def test_going_on_where_nothing_is_begins(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    begun = train("line", out=tmp_path / "new", resume=True)
    assert "nothing to go on from" in capsys.readouterr().out
    assert torch.equal(begun.model.state_dict()["out.bias"], run.model.state_dict()["out.bias"])


def test_an_interrupt_says_how_to_go_on(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    line, calls = systems.get("line"), []
    measure = line.measure

    def interrupted(*given: Any) -> Any:
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return measure(*given)

    with monkeypatch.context() as patch:
        patch.setattr(line, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt, match=r"mirada train line --out .*stopped --resume"):
            train("line", out=tmp_path / "stopped", progress=False)
    resumed = train("line", out=tmp_path / "stopped", resume=True, progress=False)
    assert (tmp_path / "stopped/model.safetensors").read_bytes() == contents(run.folder.path)["model.safetensors"]
    assert [line["loss"] for line in resumed.metrics] == [line["loss"] for line in run.metrics]


def test_a_run_that_never_got_anywhere_leaves_its_folder_free(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="epoch 1"):
        train("line", out=tmp_path / "run", learning_rate=1e38, progress=False)
    train("line", out=tmp_path / "run", epochs=1, progress=False)


def test_folders_that_hold_no_run(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match=r"is no run's folder: there is no settings\.json"):
            load(path)


def test_weights_that_do_not_fit(run: Run) -> None:
    edit(run, hidden="wide")
    with pytest.raises(RunError, match=r"doesn't fit the model: hidden\.bias is 4 in the file and 8 in the model"):
        load(run.folder.path)


def test_weights_that_are_gone_or_damaged(run: Run) -> None:
    path = run.folder.path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match="damaged"):
        load(run.folder.path)
    path.unlink()
    with pytest.raises(RunError, match=r"has no model\.safetensors"):
        load(run.folder.path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"colour": "red"}, "no setting 'colour'"),
        ({"epochs": "many"}, "epochs='many'"),
        ({"epochs": -1}, "epochs=-1"),
    ],
)
def test_settings_of_a_folder_that_do_not_fit(run: Run, changes: dict[str, Any], words: str) -> None:
    edit(run, **changes)
    with pytest.raises(RunError, match=rf"settings\.json doesn't fit this mirada: .*{words}"):
        load(run.folder.path)


def test_a_folder_of_an_unknown_system(run: Run) -> None:
    path = run.folder.path / "settings.json"
    path.write_text(path.read_text().replace('"line"', '"lime"'))
    with pytest.raises(RunError, match="no system is called 'lime'; did you mean 'line'"):
        load(run.folder.path)


def test_weights_too_large_to_compute_with_are_no_result(run):
    with torch.no_grad():
        run.model.out.weight.mul_(-1e38)  # wrong answers with scores whose sum no float32 holds
    with pytest.raises(DivergedError, match=r"loss is (inf|nan)"):
        run.evaluate()


@pytest.mark.parametrize("name", ["counting", "squares"])
def test_weights_too_large_to_compute_with_answer_nothing(name, tmp_path, capsys):
    short = {"counting": {"steps_per_epoch": 1}, "squares": {}}
    run = train(name, out=tmp_path / "run", epochs=1, progress=False, **short[name])
    path = tmp_path / "run" / "model.safetensors"
    save_file({key: weight * 1e37 for key, weight in load_file(path).items()}, path)
    for command in (["predict", str(run.folder.path), *run.system.example(run.settings)],
                    ["view", str(run.folder.path), "--save", str(tmp_path / "page.html")]):  # fmt: skip
        assert main(command) == 1
        assert capsys.readouterr().err.splitlines()[-1].endswith("too large: the model gives inf or nan")
    assert not (tmp_path / "page.html").exists()
