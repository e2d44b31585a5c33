"""Lesson 1, five rows: attention of a batch, a mask, and three snippets with one mistake each."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mirada.check.answers import (
    SHAPE_OF_WEIGHTS,
    AnswerError,
    call,
    compare,
    draw,
    exercise,
    expect_shape,
    tensor,
    text,
)

WIDTH = 5  # of a query and a key


@exercise
def attention(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """The weights of a batch: the softmax over the keys of q · k / √E (Vaswani et al. 2017, equation 1).

    Args:
        answer: takes query (B, L, E) and key (B, S, E), returns weights (B, L, S).

    >>> attention(lambda q, k: torch.softmax(torch.einsum("bik,bjk->bij", q, k), dim=-1))
    not yet: the scale is missing: divide the scores by √E, the square root of the width of a query
    """
    return _attention(answer)


@exercise
def causal_mask(answer: Callable[[int], Tensor]) -> str:
    """A mask in one line: booleans (L, L), True where query i may attend to key j, that is j ≤ i.

    >>> causal_mask(lambda length: torch.ones(length, length).tril())
    not yet: a mask is made of booleans, got torch.float32: .bool() makes it so
    """
    for length in (5, 1):
        mask = tensor("the mask", call(answer, length))
        expect_shape("the mask", mask, (length, length), SHAPE_OF_WEIGHTS)
        if mask.dtype != torch.bool:
            raise AnswerError(f"a mask is made of booleans, got {mask.dtype}: .bool() makes it so")
        right = torch.ones(length, length).tril().bool()
        compare(
            "the mask",
            mask,
            right,
            [
                (~right, "the polarity is turned round: True means may attend"),
                (right.T, "rows and columns have changed places: each query attends to itself and what comes after it"),
                (right.tril(-1), "a query may attend to its own position too: the diagonal is True"),
                (torch.ones_like(right), "nothing is hidden: a query must not attend to what comes after it"),
            ],
        )
    return "each query attends to its own position and those before it"


_FILL = """def weights(scores, visible):  # (L, S) numbers, (L, S) booleans: True = may attend
    scores = scores.masked_fill(~visible, -1e-9)
    return torch.softmax(scores, dim=-1)"""

_DIMENSION = """def weights(query, key):  # (B, L, E), (B, S, E)
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    return torch.softmax(scores, dim=1)"""

_DIAGONAL = """def weights(scores):  # (L, L)
    future = torch.ones_like(scores).triu().bool()
    return torch.softmax(scores.masked_fill(future, -torch.inf), dim=-1)"""

_SNIPPETS = (_FILL, _DIMENSION, _DIAGONAL)


def bug(number: int, fixed: Callable[..., Tensor] | None = None) -> None:
    """Without `fixed`, print a snippet with one mistake in it; with it, check the mended function.

    Args:
        number: 1, 2 or 3.
        fixed: takes what the snippet's function takes, and returns the right weights.

    >>> bug(3)
    def weights(scores):  # (L, L)
        future = torch.ones_like(scores).triu().bool()
        return torch.softmax(scores.masked_fill(future, -torch.inf), dim=-1)
    >>> bug(3, lambda scores: torch.softmax(scores, dim=-1))
    not yet: nothing is hidden: no query may attend to what comes after it
    """
    if number not in (1, 2, 3):
        print(f"not yet: there are snippets 1, 2 and 3, not {number!r}")
    elif fixed is None:
        print(_SNIPPETS[number - 1])
    else:
        (_fill, exercise(_attention), _diagonal)[number - 1](fixed)


@exercise
def _fill(fixed: Callable[[Tensor, Tensor], Tensor]) -> str:
    scores = draw(4, 6)
    visible = torch.arange(6).expand(4, 6) < torch.tensor([6, 4, 2, 5])[:, None]
    found = tensor("the weights", call(fixed, scores.clone(), visible.clone()))
    expect_shape("the weights", found, (4, 6), SHAPE_OF_WEIGHTS)
    slips = [
        (_masked_softmax(scores, visible, 0.0), "a score of 0 or −1e-9 hides nothing, as e⁰ is 1: fill with −∞"),
        (torch.softmax(scores, -1), "nothing is hidden: where `visible` is False the weight must be 0"),
        (_masked_softmax(scores, ~visible), "the polarity is turned round: True in `visible` means may attend"),
        (torch.softmax(scores, -1) * visible, "hide before the softmax, not after it: each row must sum to 1"),
        (
            torch.softmax(scores.masked_fill(~visible, -torch.inf), 0),
            "the softmax runs over the queries: each row must sum to 1, dim=-1",
        ),
    ]
    compare("the weights", found, _masked_softmax(scores, visible), slips)
    return "hidden keys get a weight of exactly 0, the others share what they would have had"


@exercise
def _diagonal(fixed: Callable[[Tensor], Tensor]) -> str:
    scores = draw(5, 5)
    visible = torch.ones(5, 5).tril().bool()
    found = tensor("the weights", call(fixed, scores.clone()))
    expect_shape("the weights", found, (5, 5), SHAPE_OF_WEIGHTS)
    slips = [
        (
            _masked_softmax(scores, visible.tril(-1)),
            "the diagonal is hidden too, so that query 1 has no key left and its row is 0/0, NaN",
        ),
        (_masked_softmax(scores, ~visible), "the polarity is turned round: the past is hidden, and the future is not"),
        (_masked_softmax(scores, visible.T), "the polarity is turned round: the past is hidden, and the future is not"),
        (torch.softmax(scores, -1), "nothing is hidden: no query may attend to what comes after it"),
        (_masked_softmax(scores, torch.ones(5, 5).tril(1).bool()), "each query still attends to the key just after it"),
        (_masked_softmax(scores, visible, 0.0), "a score of 0 hides nothing, as e⁰ is 1: fill with −∞"),
        (torch.softmax(scores, -1).tril(), "hide before the softmax, not after it: each row must sum to 1"),
        (
            torch.softmax(scores.masked_fill(~visible, -torch.inf), 0),
            "the softmax runs over the queries: each row must sum to 1, dim=-1",
        ),
    ]
    compare("the weights", found, _masked_softmax(scores, visible), slips)
    return "query 1 attends to itself alone, and each row sums to 1"


def _attention(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    query, key = draw(2, 3, WIDTH), draw(2, 4, WIDTH, seed=1)
    scores = query @ key.mT  # (B, L, S)
    found = tensor("the weights", call(answer, query.clone(), key.clone()))
    if found.shape == scores.mT.shape:
        raise AnswerError("queries and keys have changed places: einsum 'bik,bjk->bij' gives one row a query")
    expect_shape("the weights", found, tuple(scores.shape), SHAPE_OF_WEIGHTS)
    root = WIDTH**0.5
    slips = [
        (
            torch.softmax(scores, -1),
            "the scale is missing: divide the scores by √E, the square root of the width of a query",
        ),
        (torch.softmax(scores / WIDTH, -1), "the scores are divided by E: its square root is wanted"),
        (torch.softmax(scores * root, -1), "the scores are multiplied by √E: divide them"),
        *(
            (torch.softmax(scores / length**0.5, -1), f"divided by √{length}: E is the last dimension, shape[-1] = 5")
            for length in scores.shape[1:]
        ),
        (scores / root, "these are scores: the softmax over the keys is missing"),
        (scores, "these are scores: the scale and the softmax over the keys are missing"),
    ]
    for scaled in (scores / root, scores):
        slips += [
            (torch.softmax(scaled, 1), "the softmax runs over the queries: the keys are the last dimension, dim=-1"),
            (torch.softmax(scaled, 0), "the softmax runs over the batch: the keys are the last dimension, dim=-1"),
        ]
    compare("the weights", found, torch.softmax(scores / root, -1), slips)
    return f"query (2, 3, 5) and key (2, 4, 5) give weights {text(found)}, and each row sums to 1"


def _masked_softmax(scores: Tensor, visible: Tensor, fill: float = -torch.inf) -> Tensor:
    return torch.softmax(scores.masked_fill(~visible, fill), -1)
