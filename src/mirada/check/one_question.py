"""Lesson 2, one question: the parts of the counting model, and the whole."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from mirada.check.answers import (
    AnswerError,
    call,
    compare,
    draw,
    exercise,
    expect_one_of,
    expect_shape,
    pair,
    tensor,
    text,
)
from mirada.data.counts import more_twos_than_fours

WIDTH = 5  # of an embedding
LENGTH = 10  # digits in a sequence


@exercise
def generator(answer: Callable[[int], tuple[Tensor, Tensor]]) -> str:
    """Draw N sequences of ten digits, and whether each holds more 2s than 4s.

    Args:
        answer: takes N, returns digits (N, 10), integers from 0 to 9, and answers (N, 1), float: 1 for yes, 0 for no.

    >>> def mine(count):
    ...     digits = torch.randint(10, (count, 10))
    ...     return digits, ((digits == 2).sum(1) >= (digits == 4).sum(1)).float()[:, None]
    >>> generator(mine)
    not yet: a tie is answered with 1: as many 2s as 4s is not more
    """
    count = 500
    digits, answers = pair(call(answer, count), "digits", "answers")
    expect_shape("digits", digits, (count, LENGTH), "N sequences of ten digits")
    _whole_numbers("digits", digits)
    if set(digits.unique().tolist()) != set(range(10)):
        found = f"{digits.min().item()} to {digits.max().item()}"
        raise AnswerError(
            f"each digit from 0 to 9 must be drawn, yours go from {found} with {digits.unique().numel()} different"
        )
    expect_shape("answers", answers, (count, 1), "one answer a sequence, in a column of its own")
    if not answers.is_floating_point():
        raise AnswerError(
            f"the loss needs answers as floating-point numbers, got {answers.dtype}: .float() makes them so"
        )
    right = more_twos_than_fours(digits)
    more_fours = ((digits == 4).sum(-1, keepdim=True) > (digits == 2).sum(-1, keepdim=True)).float()
    compare(
        "answers",
        answers,
        right,
        [
            (1 - more_fours, "a tie is answered with 1: as many 2s as 4s is not more"),
            (more_fours, "2 and 4 have changed places: 1 is for more 2s than 4s"),
            (1 - right, "yes and no have changed places: 1 is for more 2s than 4s"),
        ],
    )
    again, _ = pair(call(answer, count), "digits", "answers")
    if torch.equal(again, digits):
        raise AnswerError("two calls return the same sequences: draw fresh ones each time, without a fixed seed inside")
    return f"digits {text(digits)} and answers {text(answers)}, {answers.mean():.0%} of them yes"


@exercise
def embedding(layer: Callable[[Tensor], Tensor]) -> str:
    """Turn digits (N, M) into vectors (N, M, d), as ``nn.Embedding(10, d)`` does.

    >>> embedding(nn.Embedding(10, 5))
    right: (3, 10) digits become (3, 10, 5): one vector of 5 numbers a digit
    """
    digits = torch.arange(10).repeat(3, 1)  # (3, 10): each digit three times
    digits[1] = digits[1].flip(0)
    vectors = tensor("vectors", call(layer, digits.clone()))
    if vectors.ndim != 3 or vectors.shape[:2] != digits.shape:
        raise AnswerError(f"(3, 10) digits must become (3, 10, d), a vector of d numbers each, got {text(vectors)}")
    if not torch.allclose(vectors[0], vectors[1].flip(0), equal_nan=True):
        raise AnswerError("the same digit gets another vector at another position: a vector depends on the digit only")
    if vectors[0].unique(dim=0).shape[0] != 10:
        raise AnswerError("some digits share one vector: each of the ten needs its own")
    return f"(3, 10) digits become {text(vectors)}: one vector of {vectors.shape[-1]} numbers a digit"


@exercise
def keys_values(answer: Callable[[Tensor], tuple[Tensor, Tensor]]) -> str:
    """Project embedded digits (N, M, 5) to keys (N, M, K) and values (N, M, 1), each by one linear layer.

    >>> to_key, to_value = nn.Linear(5, 5), nn.Linear(5, 1)
    >>> keys_values(lambda embedded: (to_key(embedded), to_value(embedded)))
    right: keys (3, 10, 5), values (3, 10, 1)
    """
    embedded = draw(3, LENGTH, WIDTH)
    keys, values = pair(call(answer, embedded.clone()), "keys", "values")
    if keys.ndim == 3 and keys.shape[-1] == 1 and values.shape[-1] > 1:
        raise AnswerError("keys and values have changed places: keys come first, and a value is one number")
    if keys.ndim != 3 or keys.shape[:2] != embedded.shape[:2]:
        raise AnswerError(f"keys must be of shape (3, 10, K), one key a digit, got {text(keys)}")
    expect_shape("values", values, (3, LENGTH, 1), "one number a digit")
    _by_position("keys", keys, pair(call(answer, embedded.flip(1)), "keys", "values")[0])
    # A linear layer may add a bias, which the first difference takes away.
    doubled, zero = call(answer, 2 * embedded), call(answer, torch.zeros_like(embedded))
    for name, once, twice, none in zip(("keys", "values"), (keys, values), doubled, zero, strict=True):
        if not torch.allclose(twice - none, 2 * (once - none), atol=1e-4):
            raise AnswerError(f"{name} are no linear function of the embedding: one nn.Linear, with nothing behind it")
    return f"keys {text(keys)}, values {text(values)}"


@exercise
def module(answer: type[nn.Module] | nn.Module) -> str:
    """The whole model: ``attention(x)``, ``values(x)`` and the forward pass, for digits x (N, 10).

    Args:
        answer: the class, which is made without arguments, or a module. ``attention(x)`` is (N, 10) or (N, 1, 10),
            ``values(x)`` (N, 10) or (N, 10, 1), and the module itself returns (N, 1).

    >>> module(nn.Linear(10, 1))
    not yet: the module needs a method attention(x)
    """
    model = call(answer) if isinstance(answer, type) else answer
    if not isinstance(model, nn.Module):
        raise AnswerError(f"an nn.Module is wanted, got {type(model).__name__}")
    attention_of, values_of = (getattr(model, method, None) for method in ("attention", "values"))
    for method, found in (("attention", attention_of), ("values", values_of)):
        if not callable(found):
            raise AnswerError(f"the module needs a method {method}(x)")
    digits = torch.randint(10, (7, LENGTH), generator=Generator().manual_seed(0))
    weights = tensor("attention(x)", call(attention_of, digits.clone()))
    expect_one_of("attention(x)", weights, ((7, LENGTH), (7, 1, LENGTH)), "one weight a digit")
    _sums_to_one(weights)
    values = tensor("values(x)", call(values_of, digits.clone()))
    expect_one_of("values(x)", values, ((7, LENGTH), (7, LENGTH, 1)), "one value a digit")
    with torch.enable_grad():
        found = call(model, digits.clone())
        output = tensor("the output", found)
        expect_shape("the output", output, (7, 1), "one answer a sequence")
        _every_parameter_learns(model, found)
    order = torch.randperm(LENGTH, generator=Generator().manual_seed(1))
    if not torch.allclose(tensor("the output", call(model, digits[:, order])), output, atol=1e-5):
        raise AnswerError(
            "the answer changes with the order of the digits: the output must be made of the context only"
        )
    learned = sum(parameter.numel() for parameter in model.parameters())
    return f"weights {text(weights)}, values {text(values)}, output {text(output)}, {learned} learned numbers"


def _whole_numbers(name: str, found: Tensor) -> None:
    if found.is_floating_point() or found.dtype == torch.bool:
        raise AnswerError(f"{name} must be integers, as they index an embedding, got {found.dtype}")


def _by_position(name: str, found: Tensor, of_flipped: Tensor) -> None:
    if not torch.allclose(found.flip(1), of_flipped, atol=1e-5):
        raise AnswerError(f"{name} of a digit depend on its position: the same layer is for each position")


def _sums_to_one(weights: Tensor) -> None:
    if (weights < 0).any() or not torch.allclose(weights.sum(-1), torch.ones(weights.shape[:-1]), atol=1e-4):
        raise AnswerError(
            "attention(x): the weights of a sequence must be 0 or more and sum to 1, a softmax over the digits"
        )


def _every_parameter_learns(model: nn.Module, output: Tensor) -> None:
    learned = dict(model.named_parameters())
    if not learned or not output.requires_grad:
        raise AnswerError(
            "nothing in the output can be learned: layers and the query belong to the module, as nn.Parameter"
        )
    slopes = torch.autograd.grad(output.sum(), list(learned.values()), allow_unused=True)
    unused = [name for name, slope in zip(learned, slopes, strict=True) if slope is None]
    if unused:
        raise AnswerError(f"the output does not depend on {', '.join(unused)}: use it, or leave it out")
