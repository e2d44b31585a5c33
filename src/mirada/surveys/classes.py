"""Classes of tokens: special, punctuation, digits; a token that has occurred before; all others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from mirada.surveys.copies import Copies

REPEATED, OTHER = "repeated", "other"


def class_names(classes: Mapping[str, Iterable[int]]) -> tuple[str, ...]:
    """The classes in their order: those given, then tokens of none of them that have occurred before, then the rest."""
    return (*classes, REPEATED, OTHER)


def table(classes: Mapping[str, Iterable[int]]) -> Tensor:
    """The class of each token, (vocabulary,): the first one that names it, else the last class."""
    chosen = {name: [int(token) for token in tokens] for name, tokens in classes.items()}
    if any(token < 0 for tokens in chosen.values() for token in tokens):
        raise ValueError("classes: tokens are numbers from 0 up")
    size = 1 + max((token for tokens in chosen.values() for token in tokens), default=0)
    found = torch.full((size,), len(chosen) + 1)
    for number, tokens in reversed(list(enumerate(chosen.values()))):
        found[tokens] = number
    return found


def of_tokenizer(tokenizer: Any) -> dict[str, list[int]]:
    """Special tokens, punctuation and digits of a tokenizer's vocabulary."""
    special = set(tokenizer.all_special_ids)
    punctuation, digits = [], []
    for token in range(len(tokenizer)):
        text = "" if token in special else tokenizer.decode([token]).strip()
        if text.isdigit():
            digits.append(token)
        elif text and text.isprintable() and not any(letter.isalnum() for letter in text):
            punctuation.append(token)
    return {"special": sorted(special), "punctuation": punctuation, "digits": digits}


def of_tokens(ids: Tensor, copies: Copies | None, classes: Tensor, count: int) -> Tensor:
    """The class of each token (texts, L), given the class of each of the vocabulary and how many classes there are."""
    classes = classes.to(ids.device)
    known = (ids >= 0) & (ids < len(classes))
    found = classes[ids.long().clamp(0, len(classes) - 1)].where(known, count - 1)
    repeated = (found == count - 1) & (copies.count > 0) if copies is not None else torch.zeros_like(known)
    return found.masked_fill(repeated, count - 2)
