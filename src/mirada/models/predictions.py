"""What a model says: the next token, the token behind a mask, the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mirada.models import words
from mirada.models.inputs import Prepared
from mirada.models.opening import OpenModel


@dataclass(frozen=True)
class Prediction:
    """A distribution over tokens or classes, its most probable ones."""

    what: str
    """``next token``, ``mask at 3`` or ``class``."""
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    ids: tuple[int, ...]

    def __str__(self) -> str:
        shares = (
            f"{label!r} {100 * share:.1f} %" for label, share in zip(self.labels, self.probabilities, strict=True)
        )
        return f"{self.what}: {', '.join(shares)}"


def predictions(
    opened: OpenModel, prepared: Prepared, output: Any, *, count: int = 5, temperature: float = 1.0
) -> list[Prediction]:
    """What the output of a forward pass predicts.

    Args:
        opened: the model.
        prepared: what it was run on.
        output: what came out.
        count: how many tokens or classes of each.
        temperature: logits are divided by it.
    """
    logits = getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.ndim not in (2, 3):
        return []
    logits = logits[0].float().detach()
    if logits.ndim == 1:
        return [_classes(opened, logits, count, temperature)]
    if opened.decodes or (opened.generates and not _masks(opened, prepared)):
        return [_tokens(opened, "next token", logits[-1], count, temperature)]
    return [_tokens(opened, f"mask at {at}", logits[at], count, temperature) for at in _masks(opened, prepared) or ()]


def _masks(opened: OpenModel, prepared: Prepared) -> list[int]:
    mask = getattr(opened.tokenizer, "mask_token_id", None)
    return (
        [] if mask is None or prepared.text is None else [n for n, one in enumerate(prepared.text.ids) if one == mask]
    )


def _tokens(opened: OpenModel, what: str, logits: Tensor, count: int, temperature: float) -> Prediction:
    best = torch.softmax(logits / temperature, -1).topk(min(count, logits.shape[-1]))
    ids = best.indices.tolist()
    return Prediction(what, tuple(piece(opened, one) for one in ids), tuple(best.values.tolist()), tuple(ids))


def piece(opened: OpenModel, token: int) -> str:
    """What a token writes."""
    return str(token) if opened.tokenizer is None else words.piece_of(opened.tokenizer, token)


def _classes(opened: OpenModel, logits: Tensor, count: int, temperature: float) -> Prediction:
    best = torch.softmax(logits / temperature, -1).topk(min(count, len(logits)))
    ids = best.indices.tolist()
    names = getattr(opened.config, "id2label", None) or {}
    return Prediction("class", tuple(str(names.get(n, n)) for n in ids), tuple(best.values.tolist()), tuple(ids))
