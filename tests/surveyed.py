"""Tiny models and corpora for the tests of `mirada.survey`, and the same statistics by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

HEADS, LAYERS, VOCABULARY = 4, 2, 64


def llama(**changed: Any) -> nn.Module:
    """Two layers of four heads that share two of keys, always the same."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": LAYERS}
    sizes |= {"num_attention_heads": HEADS, "num_key_value_heads": 2, "max_position_embeddings": 512}
    # Large weights, so that heads differ and attend to a few keys.
    return LlamaForCausalLM(LlamaConfig(**sizes, initializer_range=0.4, **changed)).eval()


def texts(count: int, longest: int = 40, seed: int = 1) -> list[Tensor]:
    """Random tokens (n,), of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, longest + 1, (count,), generator=generator).tolist()
    return [torch.randint(3, 24, (length,), generator=generator) for length in lengths]


def batched(texts: list[Tensor], size: int, side: str = "right") -> list[dict[str, Tensor]]:
    """Batches of so many texts, padded to the longest."""
    found = []
    for first in range(0, len(texts), size):
        part = texts[first : first + size]
        longest = max(map(len, part))
        ids, mask = torch.zeros(len(part), longest, dtype=torch.long), torch.zeros(len(part), longest, dtype=torch.long)
        for row, text in enumerate(part):
            at = slice(0, len(text)) if side == "right" else slice(longest - len(text), longest)
            ids[row, at], mask[row, at] = text, 1
        found.append({"input_ids": ids, "attention_mask": mask})
    return found


def by_hand(weights: Tensor, ids: Tensor) -> dict[str, Tensor]:
    """Each summary of weights (heads, L, L) as plain loops and sums would have it: (heads, queries)."""
    length = len(ids)
    i, j = torch.arange(length)[:, None], torch.arange(length)
    same = ids[:, None] == ids
    earlier = torch.zeros(length, length)
    earlier[same & (j < i)] = 1.0
    followed = torch.zeros(length, length)
    followed[:, 1:] = (same & (j <= i - 1))[:, :-1].float()
    entropy = -torch.special.xlogy(weights, weights).sum(-1)
    return {
        "entropy": entropy,
        "effective_keys": entropy.exp(),
        "sink": weights[..., 0],
        "previous_token": weights.diagonal(-1, -2, -1),
        "duplicate_token": (weights * earlier).sum(-1),
        "induction": (weights * followed).sum(-1),
        "distance": (weights * (i - j).abs()).sum(-1),
        "padding_share": torch.zeros_like(entropy),
    }
