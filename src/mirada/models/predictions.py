"""What a model says: the next token, the token behind a mask, the class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mirada.models import words
from mirada.models.inputs import Prepared
from mirada.models.opening import OpenModel

CLASS = "class"
_SHOWN = 5


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


def predictions(opened: OpenModel, logits: Mapping[str, Tensor]) -> list[Prediction]:
    """The five most probable tokens or classes of each distribution; `logits` as of `scores`."""
    found = []
    for what, row in logits.items():
        best = torch.softmax(row, -1).topk(min(_SHOWN, len(row)))
        ids = best.indices.tolist()
        found.append(Prediction(what, tuple(named(opened, what, ids)), tuple(best.values.tolist()), tuple(ids)))
    return found


def scores(opened: OpenModel, prepared: Prepared, output: Any) -> dict[str, Tensor]:
    """The logits (tokens or classes,) of all that an output predicts, by what it is: next token, mask at 3, class."""
    logits = getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.ndim not in (2, 3):
        return {}
    logits = logits[0].float()
    if logits.ndim == 1:
        return {CLASS: logits}
    masks = _masks(opened, prepared)
    if opened.decodes or (opened.generates and not masks):
        return {"next token": logits[-1]}
    return {f"mask at {at}": logits[at] for at in masks}


def named(opened: OpenModel, what: str, ids: Sequence[int]) -> list[str]:
    """Names of classes, or what tokens write."""
    if what != CLASS:
        return [piece(opened, one) for one in ids]
    names = getattr(opened.config, "id2label", None) or {}
    return [str(names.get(one, one)) for one in ids]


def _masks(opened: OpenModel, prepared: Prepared) -> list[int]:
    mask = getattr(opened.tokenizer, "mask_token_id", None)
    return (
        [] if mask is None or prepared.text is None else [n for n, one in enumerate(prepared.text.ids) if one == mask]
    )


def piece(opened: OpenModel, token: int) -> str:
    """What a token writes."""
    return str(token) if opened.tokenizer is None else words.piece_of(opened.tokenizer, token)
