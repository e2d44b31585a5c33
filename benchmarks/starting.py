"""From nothing to the first answer: each in a process of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator

from speed import Work

TYPER = "import typer\napp = typer.Typer()\n@app.command()\ndef main(): ...\napp(['--help'])"


def works() -> Iterator[Work]:
    """Imports, and the help."""
    yield Work(
        "import mirada, AttentionMatrix",
        python("import mirada; mirada.AttentionMatrix"),
        {
            "import torch": python("import torch"),
        },
        "≤ 50 ms more",
        rounds=9,
    )
    help_ = python("from mirada.cli import main; main(['--help'])")
    if importlib.util.find_spec("typer"):
        yield Work("mirada --help", help_, {"an empty typer program": python(TYPER)}, "≤ 0.25 s", rounds=15)
    else:
        yield Work("mirada --help", help_, {"python itself": python("pass")}, "≤ 0.25 s", rounds=15)


def python(code: str) -> Callable[[], None]:
    """Run some code in a new interpreter."""
    return lambda: void(subprocess.run([sys.executable, "-c", code], capture_output=True))


def void(_: object) -> None:
    """Forget."""
