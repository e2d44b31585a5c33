"""The command line as a user meets it: what it says, where it says it, and how it ends."""

from __future__ import annotations

import errno
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mirada.cli import main

MIRADA = [sys.executable, "-m", "mirada"]


@pytest.fixture
def complaint(capsys):
    """Run a command that must fail; gives the one line that it says about it."""

    def run(*arguments: object, status: int = 2) -> str:
        assert main([str(argument) for argument in arguments]) == status
        said = capsys.readouterr().err.strip().splitlines()
        assert said[-1].startswith("mirada: ")
        if status == 2:
            assert len(said) == 1
        return said[-1]

    return run


@pytest.fixture(scope="session")
def squares(tmp_path_factory) -> Path:
    """A run of squares, of two epochs."""
    out = tmp_path_factory.mktemp("runs") / "squares"
    assert main(["train", "squares", "--epochs", "2", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def pixels(tmp_path_factory) -> Path:
    """A run of pixels on the embedded digits, of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "pixels"
    assert main(["train", "pixels", "--epochs", "1", "--out", str(out)]) == 0
    return out


# --- what it does ---


def test_systems_lists_the_five(capsys):
    assert main(["systems"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["walkthrough", "counting", "pixels", "patches", "squares"]


@pytest.mark.parametrize("name", ["pixels", "patches", "squares", "counting"])
def test_help_shows_every_setting_with_its_meaning_and_default(name, capsys):
    from dataclasses import fields

    from mirada import systems

    assert main(["train", name, "--help"]) == 0
    text = capsys.readouterr().out
    for field in fields(systems.get(name).Settings):
        assert f"--{field.name.replace('_', '-')}" in text
    assert f"[default: {1 if name == 'squares' else 42}]" in text
    assert "Where all random numbers start" in text


def test_train_writes_a_run_with_the_settings_that_were_typed(squares):
    record = json.loads((squares / "settings.json").read_text())
    assert record["system"] == "squares"
    assert record["settings"]["epochs"] == 2
    assert {path.name for path in squares.iterdir()} >= {"settings.json", "model.safetensors", "metrics.jsonl"}


def test_train_draws_the_pictures(squares, capsys):
    drawn = {path.name for path in (squares / "plots").iterdir()}
    assert main(["plot", str(squares)]) == 0
    assert {Path(line).name for line in capsys.readouterr().out.splitlines()} == drawn


def test_under_torchrun_one_process_answers(squares):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "mirada"]
    done = subprocess.run([*launcher, "evaluate", squares], capture_output=True, text=True, timeout=120, check=True)
    assert [line.split()[0] for line in done.stdout.splitlines()].count("split") == 1


def test_evaluate_repeats_what_training_reported(pixels, capsys):
    assert main(["evaluate", str(pixels)]) == 0
    rows = {row.split()[0]: row.split()[1:] for row in capsys.readouterr().out.splitlines()}
    kinds = rows.pop("split")
    reported = {line["split"]: line for line in map(json.loads, (pixels / "metrics.jsonl").read_text().splitlines())}
    assert set(rows) == {"validation", "test"}
    for split, numbers in rows.items():
        assert numbers == [f"{reported[split][kind]:.4f}" for kind in kinds]


def test_predict_answers_and_draws_where_it_looked(pixels, capsys):
    assert main(["predict", str(pixels), "0", "1"]) == 0
    *answers, path = capsys.readouterr().out.splitlines()
    assert [answer.partition(":")[0] for answer in answers] == ["0", "1"]
    assert Path(path).read_bytes().startswith(b"\x89PNG")


def test_plot_names_every_picture_that_it_drew(squares, capsys):
    assert main(["plot", str(squares)]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert paths
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_resume_keeps_the_settings_of_the_run(tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["train", "squares", "--epochs", "2", "--seed", "7", "--out", out]) == 0
    before = (tmp_path / "run" / "model.safetensors").read_bytes()
    assert main(["train", "squares", "--resume", "--out", out]) == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before


# --- what it refuses ---


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("trian pixels", "did you mean 'train'?"),
        ("train pixles", "did you mean 'pixels'?"),
        ("train walkthrough", "no system to train is called 'walkthrough'"),
        ("train pixels --epoch 3", "Did you mean --epochs?"),
        ("train pixels --epochs three", "--epochs"),
        ("train pixels --epochs", "--epochs"),
        ("train pixels --epochs 0", "epochs=0"),
        ("train pixels --data minst", "--data"),
        ("train pixels extra", "unexpected argument extra"),
        ("train squares --attention doubel", "--attention"),
        ("train patches --model narrow --heads 3", "heads"),
        ("train pixels --device cuda:9", "--device"),
        ("evaluate", "RUN"),
        ("evaluate nowhere", "nowhere is no run's folder"),
        ("predict nowhere 1", "nowhere is no run's folder"),
        ("plot nowhere", "nowhere is no run's folder"),
        ("walkthrough --query nowhere.npy", "nowhere.npy"),
        ("tour --uot x", "Did you mean --out?"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line_and_status_2(arguments, says, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in complaint(*arguments.split())
    assert not list(tmp_path.iterdir())


def test_an_image_of_another_size(pixels, complaint, tmp_path):
    np.save(tmp_path / "big.npy", np.zeros((9, 9), np.uint8))
    said = complaint("predict", pixels, tmp_path / "big.npy")
    assert "9" in said
    assert "8" in said


def test_no_image_at_all(pixels, complaint):
    assert "image" in complaint("predict", pixels)


def test_arrays_that_do_not_fit_each_other(complaint, tmp_path):
    np.save(tmp_path / "q.npy", np.zeros((2, 3)))
    np.save(tmp_path / "k.npy", np.zeros((4, 5)))
    np.save(tmp_path / "v.npy", np.zeros((4, 5)))
    files = [f"--{name}={tmp_path / name[0]}.npy" for name in ("query", "key", "value")]
    assert "key" in complaint("walkthrough", *files)


@pytest.mark.parametrize("damage", ["missing", "empty", "no gzip", "truncated", "magic"])
def test_damaged_data_files(damage, complaint, tmp_path):
    if damage != "missing":
        for split in ("train", "t10k"):
            for kind, magic in (("images-idx3", 2051), ("labels-idx1", 2049)):
                data = gzip.compress((magic + (damage == "magic")).to_bytes(4, "big") + bytes(64))
                data = {"empty": b"", "no gzip": b"hello", "truncated": data[:-12]}.get(damage, data)
                (tmp_path / f"{split}-{kind}-ubyte.gz").write_bytes(data)
    said = complaint("train", "pixels", "--data", "mnist", "--data-dir", tmp_path, "--out", tmp_path / "run")
    assert str(tmp_path) in said
    assert not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_written(complaint, tmp_path):
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in complaint("train", "squares", "--epochs", "1", "--out", tmp_path / "file" / "run")
    assert str(tmp_path / "file") in complaint("tour", "--out", tmp_path / "file" / "tour")


def test_a_folder_that_holds_a_run_already(squares, complaint):
    assert "--resume" in complaint("train", "squares", "--out", squares)


def test_another_system_than_the_one_to_go_on_with(squares, complaint):
    assert "a run of squares, not of pixels" in complaint("train", "pixels", "--resume", "--out", squares)


def test_a_damaged_run(complaint, tmp_path):
    (tmp_path / "settings.json").write_text("{")
    assert "settings.json is damaged" in complaint("evaluate", tmp_path)


# --- how it fails ---


def test_a_disk_that_fills_up_before_the_run(complaint, tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", _fail_after(0))
    assert "No space left" in complaint("train", "squares", "--epochs", "1", "--out", tmp_path / "run")


def test_a_disk_that_fills_up_in_the_middle(complaint, tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", _fail_after(5))
    said = complaint("train", "squares", "--epochs", "2", "--out", tmp_path / "run", status=1)
    assert "No space left" in said
    assert (tmp_path / "run" / "settings.json").exists()


def _fail_after(calls: int):
    left = calls

    def fsync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return fsync


def test_a_loss_that_is_no_number(complaint, tmp_path):
    options = ["--learning-rate", "1e30", "--epochs", "3"]
    assert "--learning-rate" in complaint("train", "squares", *options, "--out", tmp_path / "run", status=1)


def test_an_error_of_our_own_is_no_traceback_either(complaint, monkeypatch):
    def broken(_):
        raise KeyError("x")

    monkeypatch.setattr("mirada.systems.get", broken)
    said = complaint("systems", status=1)
    assert "KeyError" in said
    assert "MIRADA_DEBUG=1" in said


def test_debugging_raises(monkeypatch, tmp_path):
    monkeypatch.setenv("MIRADA_DEBUG", "1")
    with pytest.raises(Exception, match="no run's folder"):
        main(["evaluate", str(tmp_path)])


def test_ctrl_c_says_how_to_go_on(tmp_path):
    out = tmp_path / "run"
    command = [*MIRADA, "train", "squares", "--epochs", "100000", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert said.splitlines()[-1] == f"mirada: stopped; go on with: mirada train squares --out {out} --resume"
    assert "Traceback" not in said


def test_a_reader_that_goes_away_is_no_reason_to_complain():
    with subprocess.Popen([*MIRADA, "systems"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("columns", range(6))
@pytest.mark.parametrize("command", ["--help", "systems"])
def test_no_terminal_is_too_narrow(columns, command):
    environment = os.environ | {"COLUMNS": str(columns)}
    done = subprocess.run([*MIRADA, command], capture_output=True, env=environment, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_of_ascii(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*MIRADA, "walkthrough", "--out", str(tmp_path)], capture_output=True, env=environment, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_stdout_that_is_closed():
    command = ["sh", "-c", 'exec "$0" "$@" >&-', *MIRADA, "systems"]
    done = subprocess.run(command, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
