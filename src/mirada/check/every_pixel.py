"""Lesson 3, every pixel: accuracy of classes of unequal size."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mirada.check.answers import (
    AnswerError,
    call,
    compare,
    exercise,
    expect_shape,
    tensor,
)


@exercise
def macro_accuracy(answer: Callable[[Tensor, Tensor], Tensor]) -> str:
    """The mean over the classes of the labels of the share named right, of predictions (N,) and labels (N,).

    >>> macro_accuracy(lambda predictions, labels: (predictions == labels).float().mean())
    not yet: this is the share over all examples: take it for each class, and then the mean of the classes
    """
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 3])
    predictions = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2, 3])
    found = tensor("the accuracy", call(answer, predictions.clone(), labels.clone()))
    expect_shape("the accuracy", found, (), "one number, the mean over the classes")
    if found.isnan():
        raise AnswerError("0/0: class 2 is predicted once, and is the label of no example; leave such classes out")
    classes = labels.unique()  # 0, 1, 3
    shares = torch.stack([(predictions[labels == c] == c).double().mean() for c in classes])
    slips = [
        (
            (predictions == labels).double().mean(),
            "this is the share over all examples: take it for each class, and then the mean of the classes",
        ),
        (shares.sum() / 4, "class 2 is the label of no example: it must not count as 0"),
        (shares.sum() / 10, "only three classes are labels of an example: the mean is over them, not over ten"),
        (shares.sum(), "this is the sum over the classes: the mean is wanted"),
        (
            torch.stack([(labels[predictions == c] == c).double().mean() for c in classes]).mean(),
            "this is the precision: of those named c; wanted is, of those that are c, the share named c",
        ),
    ]
    compare("the accuracy", found, shares.mean(), slips)
    return f"{found:.1%}, where the share over all examples is {(predictions == labels).double().mean():.1%}"
