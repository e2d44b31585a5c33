"""Runs side by side: what they differ in, what each reaches, in a table and in a figure."""

from __future__ import annotations

from pathlib import Path

import pytest

import mirada
from mirada.cli import main
from mirada.comparison import compare
from mirada.plots import png
from mirada.tables import plain_text


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[mirada.Run]:
    """Three runs of squares that differ in how they were taught, of two epochs."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        mirada.train("squares", out=folder / f"run-{p}", epochs=2, teacher_forcing=p, progress=False)
        for p in (0.0, 0.5, 1.0)
    ]


def test_a_row_for_each_run_with_what_differs_and_what_it_reaches(runs):
    comparison = compare(runs)
    head, *rows = plain_text(comparison.table).splitlines()
    assert head.split() == ["teacher-forcing", "parameters", "best", "epoch", "test", "loss"]
    for row, run, p in zip(rows, runs, ("0", "0.5", "1"), strict=True):
        parameters = sum(parameter.numel() for parameter in run.model.parameters())
        assert row.split() == [p, str(parameters), row.split()[2], f"{run.evaluate()['test']['loss']:.4f}"]
        assert row.split()[2] in ("1", "2")


def test_the_figure_has_a_line_a_bar_and_a_map_for_each_run(runs):
    page = compare(runs).figure
    curves, reached, *maps = page.axes
    assert [len(line.get_ydata()) for line in curves.lines] == [2, 2, 2]
    assert [bar.get_width() for bar in reached.patches] == pytest.approx([r.evaluate()["test"]["loss"] for r in runs])
    drawn = [ax.get_title(loc="left") for ax in maps if ax.images]
    assert drawn == ["teacher-forcing 0", "teacher-forcing 0.5", "teacher-forcing 1"]
    assert png(page)[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("system", "settings"),
    [
        ("patches", [{"heads": 1}, {"model": "mlp"}, {"model": "features"}]),
        ("counting", [{"steps_per_epoch": 2}, {"steps_per_epoch": 3}]),
        ("pixels", [{"scaling": "std"}, {"scaling": "writeup"}]),
    ],
)
def test_every_system_can_be_compared(tmp_path, system, settings):
    made = [
        mirada.train(system, out=tmp_path / str(n), epochs=1, progress=False, **given)
        for n, given in enumerate(settings)
    ]
    comparison = compare(made)
    assert len({one.label for one in comparison.runs}) == len(settings)
    assert png(comparison.figure)[:4] == b"\x89PNG"


def test_runs_that_differ_in_nothing_bear_the_names_of_their_folders(runs):
    assert [one.label for one in compare([runs[0], runs[0]]).runs] == ["run-0.0", "run-0.0"]


def test_the_command(runs, tmp_path, capsys):
    folders = [str(run.folder.path) for run in runs]
    assert main(["plot", *folders, "--out", str(tmp_path / "compared.png")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split()[0] == "teacher-forcing"
    assert Path(said[-1]).read_bytes()[:4] == b"\x89PNG"


def test_what_is_refused(runs, tmp_path):
    with pytest.raises(ValueError, match="at least 2"):
        compare(runs[:1])
    other = mirada.train("counting", out=tmp_path / "run", epochs=1, steps_per_epoch=2, progress=False)
    with pytest.raises(ValueError, match="runs of counting and of squares"):
        compare([runs[0], other])
