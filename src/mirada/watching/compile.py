"""Compiled modules run eagerly while a watch is open: compiled code calls nothing that could be seen."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack

import torch

_lock = threading.Lock()
_watchers = 0
_stance = ExitStack()


def enter() -> bool:
    """Asks for eager runs, where there can be compiled modules at all; says whether `leave` is owed."""
    global _watchers
    # Importing the compiler takes seconds; what was compiled or may be, has imported it.
    if not {"torch._dynamo", "torch.nn.attention.flex_attention"} & sys.modules.keys():
        return False
    with _lock:
        if _watchers == 0:
            _stance.enter_context(torch.compiler.set_stance("force_eager"))
        _watchers += 1
    return True


def leave() -> None:
    """The last to leave restores what was."""
    global _watchers
    with _lock:
        _watchers -= 1
        if _watchers == 0:
            _stance.close()
