"""`mirada train NAME`: a command for each system, its options read off the system's settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from mirada import experiment, systems
from mirada.cli.options import spelt_out
from mirada.training.processes import is_launched_first

app = App(name="train", help="Train a system and keep the run in a folder.")


def _command(name: str) -> Callable[..., Any]:
    def train(
        *,
        out: Annotated[Path, Parameter(help="Folder that keeps the run.")] = Path("runs") / name,
        resume: Annotated[bool, Parameter(help="Go on with the run in that folder.", negative="")] = False,
        **given: Any,
    ) -> None:
        run = experiment.train(name, out=out, resume=resume, **given)
        if is_launched_first():
            for path in run.plot():
                print(path)

    return spelt_out(train, systems.get(name).Settings)


for _name in systems.names():
    # walkthrough has nothing to train, and a command of its own
    if hasattr(systems.get(_name), "measure"):
        app.command(_command(_name), name=_name, help=systems.get(_name).SUMMARY)
