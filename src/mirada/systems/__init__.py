"""The worked systems: each is one module here, found by its file name."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from mirada.training.settings import did_you_mean

# The order in which the lessons build on each other; any other system follows by its name.
_LESSONS = ("walkthrough", "counting", "pixels", "patches", "squares")


def names() -> list[str]:
    """The names of the systems, in the order of the lessons; imports none of them.

    >>> names()[0]
    'walkthrough'
    """
    found = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    return [name for name in _LESSONS if name in found] + sorted(found.difference(_LESSONS))


def get(name: str) -> ModuleType:
    """The module of a system.

    Raises:
        ValueError: no system has that name.

    >>> get("sqares")
    Traceback (most recent call last):
        ...
    ValueError: no system is called 'sqares'; did you mean 'squares'?
    """
    if name not in names():
        raise ValueError(f"no system is called {name!r}{did_you_mean(str(name), names())}")
    return import_module(f"{__name__}.{name}")


def is_trained(system: ModuleType) -> bool:
    """Whether there is something to train in a system."""
    return hasattr(system, "measure")
