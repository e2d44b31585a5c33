"""`mirada view RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mirada import experiment, systems
from mirada.viewer import Exhibit
from mirada.viewer import view as look


def view(
    run: Annotated[Path, Parameter(help="Folder that keeps the run; or walkthrough, which needs none.")],
    /,
    *,
    example: Annotated[int, Parameter(help="Which of the test examples.")] = 0,
    beside: Annotated[
        Path | None, Parameter(help="A second run of the same system, to try both by hand (squares).")
    ] = None,
    port: Annotated[int, Parameter(help="Port on this machine; 0 takes any that is free.")] = 0,
    save: Annotated[Path | None, Parameter(help="Write a page that needs no server, and stop.")] = None,
    browser: Annotated[bool, Parameter(help="Open the page in a browser.")] = True,
) -> None:
    """Show the attention of a run, in a page that is served on this machine until Ctrl-C."""
    page = look(_shown(run, example, beside))
    if save is not None:
        print(page.save(save))
    else:
        page.serve(port=port, browser=browser)


def _shown(folder: Path, example: int, beside: Path | None) -> Exhibit:
    name = str(folder)
    if name in systems.names() and not folder.exists() and systems.trained(name) is None:
        return systems.get(name).exhibit()
    other = None if beside is None else experiment.load(beside)
    return experiment.load(folder).exhibit(example, other)
