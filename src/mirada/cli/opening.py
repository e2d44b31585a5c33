"""What the commands that open a transformers model share."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable

from mirada.training.processes import is_launched_first


def without_bars() -> None:
    """A log keeps no progress bars, and of several processes one shows them."""
    if sys.stderr.isatty() and is_launched_first():
        return
    with contextlib.suppress(ImportError):  # the extra is missing: told where the model is opened
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()


def chosen(layers: Iterable[str] | None) -> list[int | str] | None:
    """Blocks by number and modules by name, of what was typed.

    >>> chosen(["3", "encoder.*"])
    [3, 'encoder.*']
    """
    return None if layers is None else [int(one) if one.isdecimal() else one for one in layers]
