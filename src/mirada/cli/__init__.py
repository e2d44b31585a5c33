"""The command line: parse, call, print.

Each command lives in a module of its own that is imported only when it runs, so that help costs no torch.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from cyclopts import App

from mirada import __version__
from mirada.cli.complaints import complain

app = App(
    name="mirada",
    help="Attention you can look at: small systems to train, and what they attend to.",
    version=__version__,
    help_format="plaintext",
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
)
_COLUMNS = 20
_COMMANDS = {
    "tour": ("mirada.cli.tour:tour", "Train the systems on embedded data and tell the story on one page."),
    "systems": ("mirada.cli.systems:systems", "List the systems."),
    "train": ("mirada.cli.train:app", "Train a system and keep the run in a folder."),
    "evaluate": ("mirada.cli.runs:evaluate", "Measure a run again."),
    "predict": ("mirada.cli.runs:predict", "Give a run some inputs, and see what it answers and attends to."),
    "plot": ("mirada.cli.runs:plot", "Draw the pictures of a run, or compare several."),
    "view": ("mirada.cli.view:view", "Show a run's attention in a live page."),
    "look": ("mirada.cli.look:look", "Open a transformers model and see what it attends to."),
    "survey": ("mirada.cli.survey:survey", "Summarise every head of a model over many texts."),
    "walkthrough": ("mirada.cli.walkthrough:walkthrough", "Show attention and its masks step by step."),
}
for position, (name, (where, summary)) in enumerate(_COMMANDS.items()):
    app.command(where, name=name, help=summary, sort_key=position)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status: 0, 1 a run that failed, 2 a request that can't be met, 130 Ctrl-C.

    What goes wrong is told in one line on stderr; with MIRADA_DEBUG set in the environment it is raised instead.
    """
    _settle_terminal()
    try:
        app(sys.argv[1:] if arguments is None else list(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()  # a reader that has gone away is noticed here, not at the interpreter's exit
    except (Exception, KeyboardInterrupt) as error:
        if os.environ.get("MIRADA_DEBUG"):
            raise
        return complain(error)
    return 0


def _settle_terminal() -> None:
    """Whatever the terminal: help that is laid out in fewer columns never ends, and a letter it lacks is no error."""
    if os.environ.get("COLUMNS", "80").isdecimal() and int(os.environ.get("COLUMNS", "80")[:9]) < _COLUMNS:
        os.environ["COLUMNS"] = str(_COLUMNS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
