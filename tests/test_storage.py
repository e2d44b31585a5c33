"""A file is written whole or not at all, and nothing that is no file is replaced."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mirada.storage import place_beside, write_whole
from mirada.tour.trainings import Trainings


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_new_content_takes_the_place_of_the_old_and_nothing_is_left_beside_it(tmp_path):
    path = tmp_path / "page.html"
    write_whole(path, b"old")
    assert write_whole(path, b"new") == path
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["page.html"]


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        write_whole(tmp_path / "pipe", b"page")
    assert names(tmp_path) == ["pipe"]


def test_a_device_is_not_replaced():
    with pytest.raises(OSError, match="not a regular file"):
        write_whole(os.devnull, b"page")


def test_a_link_is_not_written_through(tmp_path):
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    write_whole(tmp_path / "link", b"new")
    assert (tmp_path / "kept").read_bytes() == b"kept"


def test_a_folder_that_is_missing_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "missing" / "page.html", b"page")
    assert names(tmp_path) == []


def test_a_writing_that_is_broken_off_leaves_the_old_content_and_nothing_beside_it(tmp_path):
    (tmp_path / "page.html").write_bytes(b"old")
    with pytest.raises(TypeError):
        write_whole(tmp_path / "page.html", "no bytes")  # type: ignore[arg-type]
    assert (tmp_path / "page.html").read_bytes() == b"old"
    assert names(tmp_path) == ["page.html"]


def test_what_a_killed_process_left_is_removed_at_the_next_writing(tmp_path):
    dead, alive = tmp_path / ".page.html.999999999.ab12.part", tmp_path / f".page.html.{os.getppid()}.ab12.part"
    users = [tmp_path / ".page.html.draft.2.part", tmp_path / ".other.html.999999999.ab12.part", tmp_path / "x.part"]
    for path in (dead, alive, *users):
        path.write_bytes(b"half")
    write_whole(tmp_path / "page.html", b"page")
    assert names(tmp_path) == sorted(path.name for path in (tmp_path / "page.html", alive, *users))


def test_two_writings_of_one_file_do_not_take_each_others_place(tmp_path):
    path = tmp_path / "page.html"
    with place_beside(path) as beside:
        beside.write_bytes(b"first")
        write_whole(path, b"second")
        beside.replace(path)
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["page.html"]


def test_what_a_killed_tour_left_is_removed_by_the_next(tmp_path):
    for name in (".tour-999999999-ab", ".tour-cd", f".tour-{os.getppid()}-ef"):
        (tmp_path / name / "counting").mkdir(parents=True)
    with Trainings(tmp_path):
        assert len(names(tmp_path)) == 2
    assert names(tmp_path) == [f".tour-{os.getppid()}-ef"]
