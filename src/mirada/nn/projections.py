"""From inputs to queries, keys and values, whatever a hidden input holds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mirada.kernels.scores import finite
from mirada.masks import Mask
from mirada.matrix import attention
from mirada.nn.memory import Memory

Linear = Callable[[Tensor], Tensor]


def project(
    linears: tuple[Linear, Linear, Linear], query: Tensor, key: Tensor, value: Tensor, *, masked: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values by three linear maps; non-finite inputs behind a mask have no influence."""
    if not masked or clean(query, key, value):
        return linears[0](query), linears[1](key), linears[2](value)
    # In self-attention a hidden position has a query too, whose context is not used: make it zeros.
    asking = set_aside(query)[0] if query is key else query
    memory = remember(linears[1], linears[2], key, value)
    return linears[0](asking), memory.key, memory.value


def remember(key_linear: Linear, value_linear: Linear, key: Tensor, value: Tensor) -> Memory:
    """Keys and values. A position that holds NaN or inf has the value NaN, and is out of the gradients of both maps.

    What a hidden position holds must not matter. Attention gives it the weight 0 and sends it the gradient 0; but
    behind a projection that 0 is multiplied by the input, and 0 × NaN is NaN. So such positions go through as zeros,
    and their values are marked afterwards: the context of a query that may attend to one is NaN.
    """
    if clean(key, value):
        return Memory(key_linear(key), value_linear(value))
    clean_key, broken = set_aside(key)  # (..., S, E), (..., S, 1)
    clean_value = clean_key
    if value is not key:
        clean_value, also_broken = set_aside(value)
        broken = broken | also_broken
    return Memory(key_linear(clean_key), value_linear(clean_value).masked_fill(broken, torch.nan))


def clean(*inputs: Tensor) -> bool:
    """Whether all inputs are numbers; one that is given twice is asked once."""
    return finite(*{id(tensor): tensor for tensor in inputs}.values())


def set_aside(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x` (..., S, E) with zeros in the rows that hold NaN or inf, and which rows those are: (..., S, 1)."""
    broken = ~x.isfinite().all(-1, keepdim=True)
    return x.masked_fill(broken, 0.0), broken


def attend(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask | Tensor | None, need_weights: bool, dropout_p: float = 0.0
) -> tuple[Tensor, Tensor | None]:
    """Attention as a pair always: the context, and the weights or None."""
    found = attention(query, key, value, mask, dropout_p=dropout_p, need_weights=need_weights)
    return found if isinstance(found, tuple) else (found, None)
