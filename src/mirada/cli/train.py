"""`mirada train NAME`: a command for each system, its options read off the system's settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from shlex import quote
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
            print(f"\nnext:\n{next_steps(run)}")

    return spelt_out(train, systems.get(name).Settings)


def next_steps(run: experiment.Run) -> str:
    """Commands to go on with, each with what it shows."""
    folder = quote(str(run.folder.path))
    inputs = " ".join(run.system.example(run.settings))
    steps = [
        (f"mirada predict {folder} {inputs}", "what it says, and what it attends to"),
        (f"mirada evaluate {folder}", "the same figures again"),
        (f"mirada view {folder}", "its attention, in a live page"),
        (f"mirada plot {folder} OTHER …", "compared with other runs"),
    ]
    if run.settings.schedule == "constant":
        more = f"mirada train {run.name} --out {folder} --resume --epochs {2 * run.settings.epochs}"
        steps.append((more, "trained on"))
    width = max(len(command) for command, _ in steps)
    return "\n".join(f"  {command:{width}}  {what}" for command, what in steps)


def _refusal(error: ValueError) -> Callable[..., Any]:
    def refuse() -> None:
        raise error

    return refuse


for _name in systems.names():
    try:
        _system = systems.trained(_name)
    except ValueError as _error:  # said when this one is asked for: the others are trained as ever
        app.command(_refusal(_error), name=_name, help=str(_error))
    else:
        if _system is not None:  # walkthrough has nothing to train, and a command of its own
            app.command(_command(_name), name=_name, help=_system.SUMMARY)
