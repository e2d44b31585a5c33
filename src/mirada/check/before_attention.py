"""Before attention: softmax, and surprise in bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mirada.check.answers import (
    SHAPE_OF_WEIGHTS,
    AnswerError,
    alike,
    call,
    compare,
    draw,
    exercise,
    expect_shape,
    tensor,
)


@exercise
def softmax(answer: Callable[[Tensor], Tensor]) -> str:
    """Weights of scores (L, S), over the keys, also of large ones.

    >>> softmax(lambda scores: scores.exp() / scores.exp().sum(-1, keepdim=True))
    not yet: large scores give inf/inf, NaN: subtract the largest of a row first, as only differences count
    """
    scores = draw(3, 4)
    found = tensor("the weights", call(answer, scores.clone()))
    expect_shape("the weights", found, (3, 4), SHAPE_OF_WEIGHTS)
    powers = scores.exp()
    slips = [
        (powers, "these are the powers: divide each by the sum of its row"),
        (powers / powers.sum(), "the sum runs over all rows: each row must sum to 1, dim=-1"),
        (torch.softmax(scores, 0), "the sum runs over the queries: each row must sum to 1, dim=-1"),
        (scores / scores.sum(-1, keepdim=True), "e to the power of the scores is missing: scores can be negative"),
        (torch.log_softmax(scores, -1), "these are logarithms of the weights"),
    ]
    compare("the weights", found, torch.softmax(scores, -1), slips)
    if not alike(tensor("the weights", call(answer, 200 * scores)), torch.softmax(200 * scores, -1)):
        raise AnswerError(
            "large scores give inf/inf, NaN: subtract the largest of a row first, as only differences count"
        )
    return "each row sums to 1, and large scores do no harm"


@exercise
def bits(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """The mean surprise in bits at the right classes (N,), of logits (N, classes).

    >>> bits(torch.nn.functional.cross_entropy)
    not yet: these are nats: divide by ln 2 = 0.693
    """
    logits, classes = draw(6, 10), torch.tensor([3, 1, 4, 1, 5, 9])
    found = tensor("the bits", call(answer, logits.clone(), classes.clone()))
    surprise = -logits.log_softmax(-1)[range(6), classes]  # (6,), in nats
    one_bit = torch.tensor(2.0).log()
    if found.shape == (6,):
        raise AnswerError("one number is wanted, the mean over the examples, got one for each")
    expect_shape("the bits", found, (), "one number, the mean over the examples")
    slips = [
        (surprise.mean(), "these are nats: divide by ln 2 = 0.693"),
        (surprise.mean() * one_bit, "multiplied by ln 2: divide, as a nat is more than a bit"),
        (surprise.sum() / one_bit, "this is the sum over the examples: the mean is wanted"),
        (-surprise.mean() / one_bit, "the sign is turned round: surprise is −log p, 0 or more"),
        (
            torch.nn.functional.cross_entropy(logits.softmax(-1), classes) / one_bit,
            "a softmax too many: cross_entropy takes logits, and applies it itself",
        ),
    ]
    compare("the bits", found, surprise.mean() / one_bit, slips)
    return f"{found:.2f} bits on these examples; ten classes alike would be 3.32"
