"""Scores of a text that a survey can take gradients of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional


def next_token_loss(output: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    """The mean cross-entropy of the next token, in nats, of each text: (texts,); padding counts for nothing.

    Args:
        output: of a causal language model: ``output.logits`` (texts, L, vocabulary).
        inputs: ``input_ids`` (texts, L), and ``attention_mask`` where there is padding.
    """
    logits, ids = output.logits[:, :-1], inputs["input_ids"][:, 1:]
    losses = functional.cross_entropy(logits.float().flatten(0, 1), ids.flatten(), reduction="none").view(ids.shape)
    mask = inputs.get("attention_mask")
    if mask is None:
        return losses.mean(-1)
    counted = (mask[:, 1:] * mask[:, :-1]).to(losses)
    return (losses * counted).sum(-1) / counted.sum(-1).clamp_min(1.0)
