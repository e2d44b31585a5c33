"""Attention you can look at.

The attention matrix is held as query, key, mask and scale: a linear operator that is asked questions and never built.

Importing this package costs next to nothing; the first name that needs torch loads it (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirada import check as check
    from mirada import interventions as interventions
    from mirada import masks as masks
    from mirada import nn as nn
    from mirada import summaries as summaries
    from mirada import systems as systems
    from mirada.dense import DenseAttention as DenseAttention
    from mirada.experiment import Run as Run
    from mirada.experiment import load as load
    from mirada.experiment import train as train
    from mirada.flow import rollout as rollout
    from mirada.matrix import AttentionMatrix as AttentionMatrix
    from mirada.matrix import attention as attention
    from mirada.models import look as look
    from mirada.surveys import survey as survey
    from mirada.tracing import trace as trace
    from mirada.viewer import view as view
    from mirada.watching import watch as watch

__version__ = "0.1.0"

# Each public name, and the module that defines it. No module bears the name of a public function.
_DEFINED_IN = {
    "AttentionMatrix": "matrix",
    "DenseAttention": "dense",
    "Run": "experiment",
    "attention": "matrix",
    "load": "experiment",
    "look": "models",
    "rollout": "flow",
    "survey": "surveys",
    "trace": "tracing",
    "train": "experiment",
    "view": "viewer",
    "watch": "watching",
}
_MODULES = ("check", "interventions", "masks", "nn", "summaries", "systems")

__all__ = [
    "AttentionMatrix",
    "DenseAttention",
    "Run",
    "__version__",
    "attention",
    "check",
    "interventions",
    "load",
    "look",
    "masks",
    "nn",
    "rollout",
    "summaries",
    "survey",
    "systems",
    "trace",
    "train",
    "view",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"mirada.{name}")
    if name in _DEFINED_IN:
        globals()[name] = getattr(import_module(f"mirada.{_DEFINED_IN[name]}"), name)
        return globals()[name]
    raise AttributeError(f"module 'mirada' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
