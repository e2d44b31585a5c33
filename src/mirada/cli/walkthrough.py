"""`mirada walkthrough`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from mirada.cli.options import spelt_out
from mirada.systems import walkthrough as lesson
from mirada.systems._encoder_decoder import walk as encoder_decoder
from mirada.training.settings import make

_WHAT = "mechanism: attention and its masks, on five rows; encoder-decoder: the parts of squares, by numbers."


def _walkthrough(
    what: Annotated[Literal["mechanism", "encoder-decoder"], Parameter(help=_WHAT)] = "mechanism",
    /,
    *,
    out: Annotated[
        Path | None, Parameter(help="Folder that gets the picture of each step; default: runs/walkthrough.")
    ] = None,
    **given: Any,
) -> None:
    """Show attention step by step, as tables and as pictures."""
    if what == "mechanism":
        steps = lesson.walk(make(lesson.Settings, given, system="walkthrough"))
    elif given:
        option = next(iter(given)).replace("_", "-")
        raise ValueError(f"--{option}: {what} has numbers of its own; without it, the mechanism takes yours")
    else:
        steps = encoder_decoder()
    out = out or Path("runs") / ("walkthrough" if what == "mechanism" else what)
    steps.show()
    print(f"\n{len(steps.save(out))} pictures in {out}")


walkthrough: Callable[..., None] = spelt_out(_walkthrough, lesson.Settings)
