"""From the fields of a settings dataclass to options of a command."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import pairwise
from typing import Annotated, Any, get_type_hints

from cyclopts import Parameter


def spelt_out(command: Callable[..., Any], settings: type) -> Callable[..., Any]:
    """Give the command one option for each field of `settings` in place of its `**given`.

    Only what was typed is passed on, so that the defaults stay with the settings: a new run
    fills in the system's, a resumed run its folder's.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [parameter for parameter in signature.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*own, *_options(settings)])  # pyright: ignore[reportFunctionMemberAccess] - read by inspect
    return command


def _options(settings: type) -> Iterator[inspect.Parameter]:
    hints, helps, homes = get_type_hints(settings), _helps(settings), _homes(settings)
    for field in fields(settings):
        parameter = Parameter(help=helps.get(field.name), group=homes[field.name].__name__)
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[hints[field.name], parameter],
        )


def _classes(settings: type) -> Iterator[type]:
    return (kind for kind in reversed(settings.__mro__) if "__dataclass_fields__" in vars(kind))


def _homes(settings: type) -> dict[str, type]:
    """The class that introduced each field: an option is listed under its name."""
    homes: dict[str, type] = {}
    for kind in _classes(settings):
        for name in inspect.get_annotations(kind):
            homes.setdefault(name, kind)
    return homes


def _helps(settings: type) -> dict[str, str]:
    """The string below each field: Python itself drops it, the source has it."""
    helps = {}
    for kind in _classes(settings):
        (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        assert isinstance(definition, ast.ClassDef)
        for field, text in pairwise(definition.body):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(sentence))):
                    helps[name] = inspect.cleandoc(sentence)
    return helps
