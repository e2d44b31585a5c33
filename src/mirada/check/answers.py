"""What tells a right answer from a wrong one, and a wrong one by its hint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Generator, Tensor

P = ParamSpec("P")

SHAPE_OF_WEIGHTS = "one row a query, one column a key"


class AnswerError(Exception):
    """The hint for a wrong answer."""


def exercise(judge: Callable[P, str]) -> Callable[P, None]:
    """Print what `judge` returns as right, and what it raises as a hint."""

    @wraps(judge)
    def check(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            verdict = f"right: {judge(*args, **kwargs)}"
        except AnswerError as hint:
            verdict = f"not yet: {hint}"
        except Exception as error:
            # An answer of a kind that no hint foresees, such as an object that fails when it is compared.
            verdict = f"not yet: checking it raised {_in_one_line(error)}"
        print(verdict)

    return check


def call(answer: Any, *arguments: Any) -> Any:
    """What the answer returns for these arguments; a hint if it raises, or is no function."""
    if not callable(answer):
        raise AnswerError(f"a function is wanted, got {type(answer).__name__}")
    try:
        return answer(*arguments)
    except (Exception, SystemExit) as error:
        shapes = [text(given) if isinstance(given, Tensor) else repr(given) for given in arguments]
        raise AnswerError(
            f"called with {', '.join(shapes) or 'no argument'}, it raised {_in_one_line(error)}"
        ) from None


def _in_one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def tensor(name: str, found: Any) -> Tensor:
    """What was returned, off the graph and on the CPU; a hint if it is no tensor."""
    if found is None or found is ...:
        raise AnswerError(f"{name}: nothing was returned")
    if not isinstance(found, Tensor):
        raise AnswerError(f"{name} must be a tensor, got {type(found).__name__}")
    return found.detach().cpu()


def pair(found: Any, first: str, second: str) -> tuple[Tensor, Tensor]:
    """The two tensors that were returned, by their names."""
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise AnswerError(f"two tensors are wanted, {first} and {second}, got {type(found).__name__}")
    return tensor(first, found[0]), tensor(second, found[1])


def expect_shape(name: str, found: Tensor, wanted: tuple[int, ...], meaning: str) -> None:
    """A hint unless `found` has the shape `wanted`; `meaning` says what its dimensions are."""
    expect_one_of(name, found, (wanted,), meaning)


def expect_one_of(name: str, found: Tensor, wanted: Sequence[tuple[int, ...]], meaning: str) -> None:
    """A hint unless `found` has one of the shapes `wanted`."""
    if tuple(found.shape) not in wanted:
        raise AnswerError(f"{name} must be of shape {' or '.join(map(str, wanted))}, {meaning}, got {text(found)}")


def compare(name: str, found: Tensor, right: Tensor, slips: Sequence[tuple[Tensor, str]]) -> None:
    """Right within 1e-4; else the hint of the slip that gives these numbers."""
    if alike(found, right):
        return
    for wrong, hint in slips:
        if alike(found, wrong):
            raise AnswerError(hint)
    if found.isnan().any():
        raise AnswerError(f"{name} hold NaN: a row in which all is hidden, or 0/0")
    first = tuple((~torch.isclose(found.double(), right.double(), atol=1e-4)).nonzero()[0].tolist())
    raise AnswerError(
        f"the shape is right, a number is not: at {list(first)} {found[first]:.4g}, wanted {right[first]:.4g}"
    )


def alike(found: Tensor, wanted: Tensor) -> bool:
    """Equal within 1e-4, NaN to NaN, in whatever precision they come."""
    return torch.allclose(found.double(), wanted.double(), atol=1e-4, equal_nan=True)


def draw(*shape: int, seed: int = 0) -> Tensor:
    """The same random numbers at every call."""
    return torch.randn(shape, generator=Generator().manual_seed(seed))


def text(tensor: Tensor) -> str:
    """A tensor's shape, as a hint writes it."""
    return str(tuple(tensor.shape))
