"""The worked systems: each is one module here, found by its file name and checked against `System`."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType
from typing import cast

from mirada.systems._contract import Comparable as Comparable
from mirada.systems._contract import System as System
from mirada.systems._contract import check, is_trained
from mirada.training.settings import did_you_mean

__all__ = ["Comparable", "System", "get", "names", "trained"]

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
        ValueError: no system has that name, or its module can't be imported, or lacks what `System` has.

    >>> get("sqares")
    Traceback (most recent call last):
        ...
    ValueError: no system is called 'sqares'; did you mean 'squares'?
    """
    if name not in names():
        raise ValueError(f"no system is called {name!r}{did_you_mean(str(name), names())}")
    try:
        module = import_module(f"{__name__}.{name}")
    except Exception as error:  # whatever a stranger's module raises
        raise ValueError(f"system {name!r} is refused: {type(error).__name__}: {error}") from error
    check(module)
    return module


def trained(name: str) -> System | None:
    """The system of that name, or None where there is nothing to train in it: the walkthrough.

    Raises:
        ValueError: as `get`.
    """
    module = get(name)
    return cast(System, module) if is_trained(module) else None
