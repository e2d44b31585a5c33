"""The strongest heads of each summary, over all layers of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mirada import summaries
from mirada.matrix import AttentionMatrix

SUMMARIES = {
    "sink": "on the first token",
    "previous token": "on the token before",
    "induction": "on what followed an earlier copy",
    "duplicate token": "on earlier copies",
    "entropy": "sharpest: nats",
}
"""Each summary and what its number says. Of entropy, the smallest is the strongest."""


@dataclass(frozen=True)
class Head:
    """One head and a number that was found for it."""

    layer: str
    head: int
    value: float

    def __str__(self) -> str:
        return f"{self.layer}.{self.head} {self.value:.2f}"


def measured(matrix: AttentionMatrix, ids: Sequence[int] | None) -> dict[str, Tensor]:
    """The summaries (heads,) of one example's matrix (1, heads, L, S); those of copies need the tokens."""
    queries, keys = matrix.shape[-2:]
    found = {"sink": summaries.sink(matrix), "entropy": matrix.entropy().float().mean(-1)}
    if queries == keys > 1:
        found["previous token"] = summaries.previous_token(matrix)
    if ids is not None and queries == keys == len(ids):
        tokens = torch.tensor(ids, device=matrix.device)
        found["induction"] = summaries.induction(matrix, tokens)
        found["duplicate token"] = summaries.duplicate_token(matrix, tokens)
    return {name: value.reshape(-1) for name, value in found.items()}


def strongest(found: Mapping[str, Mapping[str, Tensor]], count: int = 5) -> dict[str, list[Head]]:
    """The strongest heads of each summary.

    Args:
        found: the summaries (heads,) of each layer, by the layer's name.
        count: how many heads.
    """
    ranked = {}
    for name in SUMMARIES:
        heads = [
            Head(layer, head, value)
            for layer, of_layer in found.items()
            if name in of_layer
            for head, value in enumerate(of_layer[name].tolist())
        ]
        if any(one.value for one in heads):  # all 0: no token occurs twice
            ranked[name] = sorted(heads, key=lambda one: one.value if name == "entropy" else -one.value)[:count]
    return ranked


def short(names: Iterable[str]) -> list[str]:
    """Names of modules without what all of them share at their beginning and end: ``layers.3.attn`` is 3."""
    parts = [name.split(".") for name in names]
    least = min(map(len, parts), default=0)
    start = 0
    while start < least - 1 and len({part[start] for part in parts}) == 1:
        start += 1
    end = 0
    while end < least - 1 - start and len({part[-1 - end] for part in parts}) == 1:
        end += 1
    if len(parts) == 1:
        return ["0"]
    return [".".join(part[start : len(part) - end]) for part in parts]


def table(ranked: Mapping[str, Sequence[Head]]) -> str:
    """The strongest heads as lines of text: layer.head and the number."""
    rows = [(name, SUMMARIES[name], [str(head) for head in heads]) for name, heads in ranked.items()]
    if not rows:
        return "no head could be summarised"
    width = max(len(cell) for *_, cells in rows for cell in cells)
    name_width, says_width = (max(len(row[n]) for row in rows) for n in (0, 1))
    return "\n".join(
        f"{name:<{name_width}}  {says:<{says_width}}  " + "  ".join(f"{cell:>{width}}" for cell in cells)
        for name, says, cells in rows
    )
