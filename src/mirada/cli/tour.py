"""`mirada tour`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

_OUT = Parameter(help="Folder that gets the page, and the runs that it tells of.")


def tour(*, out: Annotated[Path, _OUT] = Path("mirada-tour")) -> None:
    """Train the systems on embedded data and tell the story on one page."""
    from mirada.tour import write  # torch comes with it, and who only asks for help needn't wait

    with Console().status("training; it takes about a minute"):
        page = write(out)
    print(page)
