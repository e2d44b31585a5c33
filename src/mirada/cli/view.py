"""`mirada view RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mirada import experiment
from mirada.cli.exhibits import Exhibit, exhibit, walkthrough
from mirada.cli.trials import matrix_trial, trials
from mirada.view import view as look
from mirada.view.trial import Trial


def view(
    run: Annotated[Path, Parameter(help="Folder that keeps the run; or walkthrough, which needs none.")],
    /,
    *,
    example: Annotated[int, Parameter(help="Which of the test examples.")] = 0,
    beside: Annotated[Path | None, Parameter(help="A second run of squares, to finish the same square.")] = None,
    port: Annotated[int, Parameter(help="Port on this machine; 0 takes any that is free.")] = 0,
    save: Annotated[Path | None, Parameter(help="Write a page that needs no server, and stop.")] = None,
    browser: Annotated[bool, Parameter(help="Open the page in a browser.")] = True,
) -> None:
    """Look into the attention of a run, in a page that is served on this machine until Ctrl-C."""
    shown, tried = _shown(run, example, beside)
    page = look(
        shown.layers, labels=shown.labels, image=shown.image, patch=shown.patch, title=shown.title, trials=tried
    )
    if save is not None:
        print(page.save(save))
    else:
        page.serve(port=port, browser=browser)


def _shown(folder: Path, example: int, beside: Path | None) -> tuple[Exhibit, dict[str, Trial]]:
    if str(folder) == "walkthrough" and not folder.exists():
        shown = walkthrough()
        return shown, {"try": matrix_trial(shown.layers[0].value[0])}
    run = experiment.load(folder)
    other = None if beside is None else experiment.load(beside)
    if other is not None and {run.name, other.name} != {"squares"}:
        raise ValueError(f"beside={beside}: only two runs of squares can be looked at together")
    return exhibit(run, example), trials(run, other)
