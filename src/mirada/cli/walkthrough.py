"""`mirada walkthrough`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from mirada.cli.options import spelt_out
from mirada.systems.walkthrough import Settings, walk
from mirada.training.settings import make


def _walkthrough(
    *,
    out: Annotated[Path, Parameter(help="Folder that gets the picture of each step.")] = Path("runs/walkthrough"),
    **given: Any,
) -> None:
    """Show attention and its masks step by step, as tables and as pictures."""
    steps = walk(make(Settings, given, system="walkthrough"))
    steps.show()
    print(f"\n{len(steps.save(out))} pictures in {out}")


walkthrough: Callable[..., None] = spelt_out(_walkthrough, Settings)
