"""A run's folder: what is kept comes back bit for bit, whole or not at all, and nothing is ever lost without a word."""

from __future__ import annotations

import errno
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from mirada.training.run import Folder, RunError
from mutations import mutated

WEIGHTS = {"layer.weight": torch.tensor([[0.1, -0.2], [1e-30, 3.0]]), "count": torch.tensor(7)}
METRICS = [{"epoch": 1, "split": "train", "loss": 0.1 + 0.2, "seconds": 0.5}]


def kept(path: Path) -> Folder:
    folder = Folder(path)
    folder.begin("squares", {"epochs": 3, "learning_rate": 0.01})
    folder.keep({"epoch": 1, "model": WEIGHTS}, METRICS, WEIGHTS)
    return folder


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    folder = kept(tmp_path / "new" / "run")
    assert folder.settings() == ("squares", {"epochs": 3, "learning_rate": 0.01})
    assert folder.metrics() == METRICS
    for tensors in (folder.weights(), (folder.state() or {})["model"]):
        assert tensors.keys() == WEIGHTS.keys()
        assert all(torch.equal(tensors[name], WEIGHTS[name]) for name in WEIGHTS)
    assert sorted(contents(folder.path)) == ["metrics.jsonl", "model.safetensors", "resume.pt", "settings.json"]


def test_weights_that_are_not_given_stay_as_they_are(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    before = contents(tmp_path)
    folder.keep({"epoch": 2}, METRICS * 2, None)
    assert contents(tmp_path)["model.safetensors"] == before["model.safetensors"]
    assert folder.state() == {"epoch": 2}
    assert len(folder.metrics()) == 2


def test_a_folder_that_was_only_begun_has_neither_state_nor_metrics(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    assert not folder.begun()
    folder.begin("squares", {})
    assert folder.begun()
    assert folder.state() is None
    assert folder.metrics() == []
    with pytest.raises(RunError, match=r"no model\.safetensors.*--resume"):
        folder.weights()


@pytest.mark.parametrize("name", ["settings.json", "model.safetensors", "metrics.jsonl", "resume.pt"])
def test_a_run_is_never_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a year of work")
    with pytest.raises(RunError, match=r"holds a run already.*--resume.*--out"):
        Folder(tmp_path).begin("squares", {})
    assert contents(tmp_path) == {name: b"a year of work"}


def test_giving_up_frees_a_folder_only_while_nothing_is_kept_in_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "begun")
    folder.begin("squares", {})
    folder.give_up()
    assert not folder.begun()
    folder = kept(tmp_path / "kept")
    folder.give_up()
    assert folder.begun()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(RunError, match="is a file"):
        Folder(tmp_path / "run").begin("squares", {})
    with pytest.raises(RunError, match="can't write"):
        Folder(tmp_path / "run" / "below").begin("squares", {})
    with pytest.raises(RunError, match=r"no run's folder.*no settings\.json"):
        Folder(tmp_path / "run").settings()


def test_damage_is_told_in_one_line_that_names_the_file(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    readers = {
        "settings.json": folder.settings,
        "metrics.jsonl": folder.metrics,
        "model.safetensors": folder.weights,
        "resume.pt": folder.state,
    }
    for name, read in readers.items():
        file = tmp_path / name
        for damage in (file.read_bytes()[:-7], b"\xff\x00", b"[1]" if name == "settings.json" else b"{"):
            file.write_bytes(damage)
            with pytest.raises(RunError, match=name) as caught:
                read()
            assert "\n" not in str(caught.value)


class _Trap:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_a_state_that_carries_code_does_not_run_it(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    torch.save({"epoch": _Trap(tmp_path / "ran")}, tmp_path / "resume.pt")
    with pytest.raises(RunError, match="damaged"):
        folder.state()
    assert not (tmp_path / "ran").exists()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_file_that_finds_no_room_leaves_the_old_one(tmp_path: Path) -> None:
    folder = kept(tmp_path)
    before = contents(tmp_path)
    with files_of_at_most(1000), pytest.raises(RunError, match=r"can't write .*resume\.pt") as caught:
        folder.keep({"big": torch.zeros(1000)}, [], WEIGHTS)
    assert "\n" not in str(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(("door", "number"), [("fsync", errno.ENOSPC), ("replace", errno.EROFS), ("fsync", errno.EIO)])
def test_a_full_or_read_only_disk_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    folder = kept(tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr(os, door, fail)
    with pytest.raises(RunError, match=os.strerror(number)):
        folder.keep({"epoch": 2}, [], WEIGHTS)
    assert contents(tmp_path) == before


def test_what_a_killed_process_left_half_written_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".settings.json.part").write_text('{"sys')
    folder = Folder(tmp_path)
    assert not folder.begun()
    folder.begin("squares", {})
    assert sorted(contents(tmp_path)) == ["settings.json"]


def test_leftovers_of_killed_processes_are_removed_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    dead, alive = tmp_path / "plots" / ".loss.png.999999999.ab.part", tmp_path / f".resume.pt.{os.getppid()}.ab.part"
    dead.touch()
    alive.touch()
    with Folder(tmp_path).locked():
        assert not dead.exists()
        assert alive.exists()


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    outside, run = tmp_path / "outside", kept(tmp_path / "run")
    outside.write_text("mine")
    (run.path / "plots").mkdir()
    for name in ("plots/.loss.png.part", "plots/loss.png", ".lock"):
        (run.path / name).symlink_to(outside)
    run.save_picture("loss", b"\x89PNG")
    with pytest.raises(RunError, match=r"\.lock"), run.locked():
        pass
    assert outside.read_text() == "mine"


HOLD = """
import sys, time
from mirada.training.run import Folder
with Folder(sys.argv[1]).locked():
    print(1, flush=True)
    time.sleep(60)
"""


def test_a_run_is_held_by_one_process_until_that_dies(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        for _ in range(2):
            with (
                pytest.raises(RunError, match=f"is in use by process {holder.pid} on "),
                Folder(tmp_path).locked(),
            ):
                pass
        holder.kill()
        holder.wait()
    with Folder(tmp_path).locked():
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line",
    [b"[1]", b"{}", b'{"epoch": "1", "split": "a"}', b'{"epoch": 1, "split": "a", "loss": NaN}', b"[" * 9999,
     b'{"epoch": 1, "split": "a", "loss": ' + b"9" * 400 + b"}", b'{"epoch": 1, "split": "a", "loss": null}'],
)  # fmt: skip
def test_metrics_that_are_none(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(line)
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged"):
        Folder(tmp_path).metrics()


@pytest.mark.parametrize("name", ["settings.json", "metrics.jsonl", "model.safetensors", "resume.pt"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    folder = Folder(tmp_path)
    read = {"settings.json": folder.settings, "metrics.jsonl": folder.metrics, "model.safetensors": folder.weights}
    with pytest.raises(RunError, match=f"{name}: not a regular file"):
        read.get(name, folder.state)()


def test_a_mutated_file_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    """MIRADA_FUZZ=20000 asks for a longer hunt."""
    folder, rng = kept(tmp_path), random.Random(0)
    readers = {
        "settings.json": folder.settings,
        "metrics.jsonl": folder.metrics,
        "model.safetensors": folder.weights,
        "resume.pt": folder.state,
    }
    for name, read in readers.items():
        valid = (tmp_path / name).read_bytes()
        for _ in range(int(os.environ.get("MIRADA_FUZZ", "100"))):
            (tmp_path / name).write_bytes(mutated(valid, rng))
            told = ""
            with suppress(RunError):
                try:
                    read()
                except RunError as error:
                    told = str(error)
                    raise
            assert "\n" not in told
            assert not told or name in told
            assert "weights_only" not in told


def test_a_picture_is_kept_as_png(tmp_path: Path) -> None:
    path = Folder(tmp_path).save_picture("loss", b"\x89PNG")
    assert path == tmp_path / "plots" / "loss.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(contents(path.parent)) == ["loss.png"]
