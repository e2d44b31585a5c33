"""Attention layers: learned projections, and between them the one mechanism.

========================  =======================================================================
`SelfAttention`           one head: a sequence asks itself
`CrossAttention`          one head: queries ask a source; dot, general or additive scores
`QueryAttention`          learned queries ask a source
`MultiHeadAttention`      narrow heads, E / H features each; same weights as torch's own
`WideMultiHeadAttention`  wide heads, the full E features each
========================  =======================================================================

What holds for all of them:

- Tensors come batch first, (N, L, E). Torch's `batch_first=False` has no counterpart: transpose before you call.
- `mask` is a mask of `mirada.masks` or a tensor: bool (True = may attend), or floating (added to the scores).
- `need_weights=True` gives (output, weights) in place of the output: one row of weights a query, one set a head.
- A query that may see nothing has the context 0, and its gradients are finite.
- A key that no query may attend to has no influence, neither on outputs nor on gradients, even if it holds NaN.
- A call keeps nothing: what should outlive it (projected keys) is handed over and given back.
"""

from __future__ import annotations

from mirada.nn.cross_attention import CrossAttention as CrossAttention
from mirada.nn.full_width import WideMultiHeadAttention as WideMultiHeadAttention
from mirada.nn.learned_query import QueryAttention as QueryAttention
from mirada.nn.memory import Memory as Memory
from mirada.nn.multi_head import MultiHeadAttention as MultiHeadAttention
from mirada.nn.self_attention import SelfAttention as SelfAttention

__all__ = [
    "CrossAttention",
    "Memory",
    "MultiHeadAttention",
    "QueryAttention",
    "SelfAttention",
    "WideMultiHeadAttention",
]
