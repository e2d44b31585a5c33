"""The runs that the tour tells of: each trained when first asked for, kept when the page is done."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

from mirada import experiment, systems
from mirada.experiment import Run
from mirada.storage import is_anothers
from mirada.training.run import Folder, RunError
from mirada.training.settings import make, plain

_PATCHES: dict[str, Any] = {"epochs": 30, "schedule": "onecycle"}
PLAN: dict[str, tuple[str, dict[str, Any]]] = {
    "counting": ("counting", {}),
    "squares-none": ("squares", {"attention": "none"}),
    "squares-single": ("squares", {"attention": "single"}),
    "squares-multihead": ("squares", {"attention": "multihead"}),
    "patches-mlp": ("patches", {"model": "mlp", **_PATCHES}),
    "patches-wide": ("patches", {"model": "wide", **_PATCHES}),
    "patches-features": ("patches", {"model": "features", **_PATCHES}),
    "patches-block": ("patches", {"model": "block", **_PATCHES}),
    **{f"patches-heads-{heads}": ("patches", {"model": "wide", "heads": heads, **_PATCHES}) for heads in (1, 2, 4, 8)},
    "pixels": ("pixels", {"epochs": 30, "scaling": "std"}),
}
"""By the name of its folder: the system, and what is not left at its default."""


class Trainings:
    """A place for the runs beside where they will stay, so that a tour that is cut short changes nothing.

    Raises:
        RunError: where they will stay is something that no tour has left there.
        OSError: the folder can't be written.
    """

    def __init__(self, out: Path) -> None:
        self.home = out / "trained"
        for name in PLAN:
            _must_be_replaceable(self.home / name)
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(".tour-*"):  # by a tour that was killed
            if not is_anothers(left.name.split("-")[1]):
                shutil.rmtree(left, ignore_errors=True)
        self._place = TemporaryDirectory(dir=out, prefix=f".tour-{os.getpid()}-")
        self._runs: dict[str, Run] = {}

    def __enter__(self) -> Trainings:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._place.cleanup()

    def __getitem__(self, name: str) -> Run:
        if name not in self._runs:
            system, settings = PLAN[name]
            out = Path(self._place.name) / name
            self._runs[name] = experiment.train(system, out=out, progress=False, **settings)
        return self._runs[name]

    def keep(self) -> None:
        """Put the runs where they will stay, in place of an earlier tour's."""
        self.home.mkdir(exist_ok=True)
        for name in self._runs:
            shutil.rmtree(self.home / name, ignore_errors=True)
            (Path(self._place.name) / name).rename(self.home / name)


def _must_be_replaceable(path: Path) -> None:
    if not path.exists():
        return
    name, settings = PLAN[path.name]
    expected = plain(make(systems.get(name).Settings, settings, system=name))
    try:
        system, found = Folder(path).settings()
    except RunError:
        system, found = None, {}
    # What an older mirada had no setting for was at its default.
    if system != name or expected | found != expected:
        raise RunError(f"{path} is not of an earlier tour and would be lost: choose another folder (--out)")
