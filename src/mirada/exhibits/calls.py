"""What the attention layers of a system were asked, as attention matrices: one for each call, all of its heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear

from mirada.dense import DenseAttention
from mirada.masks import Mask
from mirada.matrix import AttentionMatrix


@dataclass(frozen=True, eq=False)
class Attended:
    """One attention call: what the view takes for a record."""

    name: str
    matrix: AttentionMatrix | DenseAttention
    """(H, L, S)."""
    value: Tensor
    """(H, S, Ev)."""


@contextmanager
def calls(model: nn.Module) -> Iterator[list[Attended]]:
    """Every call of the attention layers inside, for the first item of the batch."""
    records: list[Attended] = []
    hooks = []
    for name, module in model.named_modules():
        read = _READERS.get(type(module).__name__)
        if read is not None:
            hooks.append(module.register_forward_pre_hook(_listener(name, read, records)))
    try:
        yield records
    finally:
        for hook in hooks:
            hook.remove()


def _listener(name: str, read: Callable[..., tuple[Tensor, ...]], records: list[Attended]) -> Callable[..., None]:
    def listen(module: nn.Module, given: tuple[Any, ...]) -> None:
        query, key, value = read(module, *given)
        mask = next((one for one in given if isinstance(one, Mask)), None)
        batch = AttentionMatrix(query, key, mask)  # (N, H, L, S)
        records.append(Attended(name or type(module).__name__, batch[0], value[0]))

    return listen


# Queries, keys and values (N, H, L or S, E) of each kind of layer, from what it is called with.


def _narrow(module: Any, x: Tensor, *_: Any) -> tuple[Tensor, ...]:
    # The three projections lie in one matrix, as torch's own layer has them.
    projected = linear(x, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
    return tuple(part.unflatten(-1, (module.heads, -1)).transpose(1, 2) for part in projected)


def _wide(
    module: Any, query: Tensor, key: Tensor | None = None, value: Tensor | None = None, *_: Any
) -> tuple[Tensor, ...]:
    key = query if key is None else key
    value = key if value is None else value
    projected = module.query(query), module.key(key), module.value(value)
    return tuple(part.unflatten(-1, (module.heads, -1)).transpose(1, 2) for part in projected)


def _features(module: Any, x: Tensor, *_: Any) -> tuple[Tensor, ...]:
    projected = module.query(x), module.key(x), module.value(x)
    return tuple(part.unflatten(-1, (-1, module.heads)).transpose(1, 3) for part in projected)


_READERS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "MultiHeadAttention": _narrow,
    "WideMultiHeadAttention": _wide,
    "FeatureAttention": _features,
}
