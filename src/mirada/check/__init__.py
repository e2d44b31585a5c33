"""Exercises that check themselves: give a function or a layer, read one line.

A right answer prints ``right: …``. A wrong one prints ``not yet: …`` with a hint, and never a traceback: shapes first,
then the slips that people really make.

>>> import torch
>>> from mirada import check
>>> check.causal_mask(lambda length: torch.ones(length, length).tril().bool())
right: each query attends to its own position and those before it
>>> check.causal_mask(lambda length: torch.ones(length, length).triu(1).bool())
not yet: the polarity is turned round: True means may attend
"""

from mirada.check.before_attention import bits, softmax
from mirada.check.every_pixel import macro_accuracy
from mirada.check.five_rows import attention, bug, causal_mask
from mirada.check.many_heads import patches, split_heads
from mirada.check.one_question import embedding, generator, keys_values, module

__all__ = [
    "attention",
    "bits",
    "bug",
    "causal_mask",
    "embedding",
    "generator",
    "keys_values",
    "macro_accuracy",
    "module",
    "patches",
    "softmax",
    "split_heads",
]
