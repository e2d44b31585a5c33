"""Settings from names and values: checked against a dataclass, with a word of help where they don't fit."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


@dataclass(frozen=True)
class Between:
    """The range of a setting, both ends included: ``batch_size: Annotated[int, Between(1, 100)] = 16``."""

    least: int
    most: int


def check_ranges(settings: Any) -> None:
    """Raise a ValueError for a setting that lies outside of its `Between`; None lies in every range.

    A subclass may give a field another default, and keeps the range.
    """
    ranges: dict[str, Between] = {}
    for kind in reversed(type(settings).__mro__[:-1]):
        for name, hint in get_type_hints(kind, include_extras=True).items():
            for part in (hint, *get_args(hint)):  # of a choice of types, each may have its range
                for extra in getattr(part, "__metadata__", ()):
                    if isinstance(extra, Between):
                        ranges[name] = extra
    for name, range_ in ranges.items():
        value = getattr(settings, name)
        if value is not None and not range_.least <= value <= range_.most:
            wanted = f"at least {range_.least}" if value < range_.least else f"at most {range_.most:,}"
            raise ValueError(f"{name}={value}: {wanted} is needed")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word.

    >>> did_you_mean("sqares", ["pixels", "squares"])
    "; did you mean 'squares'?"
    >>> did_you_mean("cats", ["pixels", "squares"])
    '; there are: pixels, squares'
    """
    known = list(known)
    near = get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known)}"


def make(settings: type[T], given: Mapping[str, Any], *, system: str) -> T:
    """The settings of a system from what was given; the other fields keep their defaults.

    Args:
        settings: a dataclass.
        given: values by the names of its fields. An int will do for a float, a string for a path.
        system: the name that errors give.

    Raises:
        TypeError: a name that is no field, or a value of another type.
        ValueError: a value that is none of the choices.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Settings:
    ...     epochs: int = 10
    >>> make(Settings, {"epochs": 3}, system="toy")
    Settings(epochs=3)
    >>> make(Settings, {"epoch": 3}, system="toy")
    Traceback (most recent call last):
        ...
    TypeError: toy has no setting 'epoch'; did you mean 'epochs'?
    """
    known = [field.name for field in fields(settings)]  # pyright: ignore[reportArgumentType] - T is a dataclass
    for name in given:
        if name not in known:
            raise TypeError(f"{system} has no setting {name!r}{did_you_mean(name, known)}")
    wanted = get_type_hints(settings)
    return settings(**{name: _fitted(name, value, wanted[name]) for name, value in given.items()})


def plain(settings: Any) -> dict[str, Any]:
    """The settings as JSON knows them."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def _fitted(name: str, value: Any, wanted: Any) -> Any:
    options = get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    choices: list[Any] = []
    for option in options:
        if get_origin(option) is Literal:
            choices += get_args(option)
        elif _is(value, option):
            return value
        elif option is float and _is(value, int):
            return float(value)
        elif option is Path and isinstance(value, str):
            return Path(value)
    if any(value == choice and type(value) is type(choice) for choice in choices):
        return value
    if choices and any(type(value) is type(choice) for choice in choices):
        raise ValueError(f"{name}={value!r} is no choice{did_you_mean(str(value), map(str, choices))}")
    raise TypeError(f"{name}={value!r} is of type {type(value).__name__}, wanted {_words(wanted)}")


def _is(value: Any, wanted: Any) -> bool:
    # To Python, True is also the int 1; epochs=True is not meant as one epoch.
    return isinstance(value, wanted) and (wanted is bool or not isinstance(value, bool))


def _words(wanted: Any) -> str:
    options = get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    return " or ".join(getattr(option, "__name__", str(option)).replace("NoneType", "None") for option in options)
