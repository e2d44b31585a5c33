"""MultiHeadAttention beside torch's and x-transformers', weights included where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from floors import Rates
from mirada import masks
from mirada.nn import MultiHeadAttention
from speed import Work

QUICK = [(64, 16, 1), (64, 256, 8), (256, 64, 16), (256, 512, 4), (1024, 64, 4)]  # E, L, batch
ALL = [
    *QUICK,
    *[(64, 16, 64), (64, 4096, 1), (256, 256, 64), (256, 1024, 2), (256, 4096, 1)],
    *[(1024, 16, 1), (1024, 512, 1), (1024, 4096, 1)],
]


def works(quick: bool, rates: Rates) -> Iterator[Work]:
    """Forward, and forward and backward; no mask, a causal rule, a dense mask; with weights and without."""
    for width, length, batch in QUICK if quick else ALL:
        for backward in (False, True):
            for case in ("no mask", "causal", "dense mask", "weights", "dense mask, weights"):
                yield work(width, length, batch, case, backward, rates)


def work(width: int, length: int, batch: int, case: str, backward: bool, rates: Rates) -> Work:
    """One size, one case."""
    torch.manual_seed(0)
    heads = max(4, width // 64)
    theirs = nn.MultiheadAttention(width, heads, batch_first=True).eval()
    ours = MultiHeadAttention(width, heads).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(batch, length, width, requires_grad=backward)
    visible = torch.ones(length, length, dtype=torch.bool).tril()
    masked, weighed = case not in ("no mask", "weights"), "weights" in case
    rule: Any = (masks.causal(length) if case == "causal" else visible) if masked else None
    named = {"attn_mask": ~visible, "is_causal": case == "causal"} if masked else {}

    def torchs() -> Tensor:
        return theirs(x, x, x, need_weights=weighed, average_attn_weights=False, **named)[0]

    def mirada() -> Tensor:
        found = ours(x, mask=rule, need_weights=weighed)
        return found[0] if weighed else found

    others = {"torch": torchs}
    if not weighed and case != "dense mask":
        others["x-transformers"] = strangers(width, heads, case == "causal", x)
    size = batch * length * width
    forward = 2 * size * (4 * width + 2 * length) * (0.5 if case == "causal" else 1)
    return Work(
        f"{width} wide, {batch} × {length}, {case}{', backward' if backward else ''}",
        learning(mirada, x) if backward else looking(mirada),
        {name: learning(f, x) if backward else looking(f) for name, f in others.items()},
        "≥ 0.97 x",
        floor=rates.seconds(
            products=forward * (3 if backward else 1), exponentials=batch * heads * length**2 * (2 if backward else 1)
        ),
        rounds=max(5, min(200, int(3e9 / forward))),
    )


def strangers(width: int, heads: int, causal: bool, x: Tensor) -> Callable[[], Tensor]:
    """x-transformers' layer, which has no bias, with its fused kernel."""
    from x_transformers.x_transformers import Attention

    layer = Attention(width, dim_head=width // heads, heads=heads, causal=causal, flash=True).eval()
    return lambda: layer(x)


def looking(forward: Callable[[], Tensor]) -> Callable[[], Any]:
    """Without gradients."""

    def inner() -> None:
        with torch.no_grad():
            forward()

    return inner


def learning(forward: Callable[[], Tensor], x: Tensor) -> Callable[[], Any]:
    """With gradients of input and parameters."""
    grad = torch.ones_like(x)
    return lambda: forward().backward(grad)
