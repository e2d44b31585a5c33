"""Sequences of digits with one question: are there more 2s than 4s?"""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def generate(count: int, generator: Generator, *, length: int = 10) -> tuple[Tensor, Tensor]:
    """Draw sequences of digits, uniform from 0 to 9, with their answers.

    Returns:
        The digits, (N, length) int64, and the answers, (N, 1) float32.

    >>> digits, answer = generate(500, Generator().manual_seed(0))
    >>> digits.shape, answer.shape
    (torch.Size([500, 10]), torch.Size([500, 1]))
    """
    digits = torch.randint(10, (count, length), generator=generator)
    return digits, more_twos_than_fours(digits)


def more_twos_than_fours(digits: Tensor) -> Tensor:
    """1 where a sequence (..., L) holds more 2s than 4s, else 0: (..., 1) float32.

    >>> more_twos_than_fours(torch.tensor([[2, 2, 4, 7], [2, 4, 0, 1]]))
    tensor([[1.], [0.]])
    """
    return ((digits == 2).sum(-1, keepdim=True) > (digits == 4).sum(-1, keepdim=True)).float()
