"""Attention you can look at.

The attention matrix is held as query, key, mask and scale: a linear operator that is asked questions and never built.

Importing this package costs next to nothing; torch and the rest are loaded with the first name that needs them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirada import masks as masks
    from mirada import nn as nn
    from mirada import summaries as summaries
    from mirada import systems as systems
    from mirada.experiment import Run as Run
    from mirada.experiment import load as load
    from mirada.experiment import train as train
    from mirada.matrix import AttentionMatrix as AttentionMatrix
    from mirada.matrix import attention as attention
    from mirada.rollout import rollout as rollout
    from mirada.trace import trace as trace
    from mirada.view import view as view
    from mirada.watch import watch as watch

__version__ = "0.1.0"

_HOME = {
    "AttentionMatrix": "matrix",
    "attention": "matrix",
    "rollout": "rollout",
    "trace": "trace",
    "view": "view",
    "watch": "watch",
    "train": "experiment",
    "load": "experiment",
    "Run": "experiment",
}
_ROOMS = ("masks", "nn", "summaries", "systems")

__all__ = [
    "AttentionMatrix",
    "Run",
    "__version__",
    "attention",
    "load",
    "masks",
    "nn",
    "rollout",
    "summaries",
    "systems",
    "trace",
    "train",
    "view",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"mirada.{name}")
    if name in _HOME:
        globals()[name] = getattr(import_module(f"mirada.{_HOME[name]}"), name)
        return globals()[name]
    raise AttributeError(f"module 'mirada' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Python binds an imported room to its package; a name that the room gives keeps its place: `mirada.trace`."""

    def __setattr__(self, name: str, value: Any) -> None:
        taken = isinstance(value, ModuleType) and _HOME.get(name) == name
        super().__setattr__(name, getattr(value, name) if taken else value)


sys.modules[__name__].__class__ = _Package
