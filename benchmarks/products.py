"""Calls: what they cost beyond torch's own, and masks as rules beside the same masks as tensors."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import torch
from torch.nn.functional import scaled_dot_product_attention

import mirada
from speed import Work

CALLS = 1000


def calls() -> Iterator[Work]:
    """A thousand calls on inputs so small that only the call counts: a millisecond here is a microsecond a call."""
    query, key, value = (torch.randn(1, 2, 16, 16) for _ in range(3))
    matrix = mirada.AttentionMatrix(query, key)

    def bare() -> None:
        for _ in range(CALLS):
            scaled_dot_product_attention(query, key, value)

    def attention() -> None:
        for _ in range(CALLS):
            mirada.attention(query, key, value)

    def product() -> None:
        for _ in range(CALLS):
            matrix @ value

    for name, work in (("mirada.attention", attention), ("A @ V", product)):
        yield Work(f"{name}, 1,000 calls", work, {"a bare call": bare}, "≤ 5 ms more", rounds=20)


def masked(quick: bool) -> Iterator[Work]:
    """Eight heads, 64 wide: beside KeOps, where it is installed; a rule against the dense mask that says the same."""
    if find_spec("pykeops"):
        yield beside_keops(1024)
    for length in (4096,) if quick else (4096, 8192):
        yield beside_dense("causal", mirada.masks.causal(length), length, "≥ 2 x")
        yield beside_dense("window 256", mirada.masks.sliding_window(256, 0), length, "in proportion")
        ids = torch.arange(length) // 512
        yield beside_dense("documents of 512", mirada.masks.documents(ids), length, "in proportion")


def beside_keops(length: int) -> Work:
    """Without a mask, against a formula that is compiled."""
    from peers import keops

    query, key, value = (torch.randn(1, 8, length, 64) for _ in range(3))
    return Work(
        f"A @ V, {length:,} tokens",
        lambda: mirada.AttentionMatrix(query, key) @ value,
        {"KeOps": lambda: keops.attention(query, key, value)},
        "",
        rounds=5,
    )


def beside_dense(name: str, rule: mirada.masks.Mask, length: int, aim: str) -> Work:
    """One rule."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 8, length, 64) for _ in range(3))
    visible = rule.materialise((1, 8), length, length)[0].expand(length, length).contiguous()
    return Work(
        f"{name}, {length:,} tokens, {float(visible.float().mean()):.0%} visible",
        lambda: mirada.attention(query, key, value, rule),
        {"dense mask": lambda: scaled_dot_product_attention(query, key, value, visible)},
        aim,
        rounds=5,
    )
