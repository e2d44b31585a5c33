"""Which dimension of an attention counts what: known from its module and its shape, or said to be unknown.

Torch documents (N, heads, L, E) for its own function, and hand-written attention follows it where it has four
dimensions. With any other number of dimensions only a module that says how many heads it has can tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

_COUNTS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "nhead", "heads", "num_head", "nheads", "h")


def heads_of(module: nn.Module) -> int | None:
    """How many heads a module says it has."""
    for place in (vars(module), vars(vars(module).get("config", None) or object) if "config" in vars(module) else {}):
        for name in _COUNTS:
            count: Any = place.get(name)
            if isinstance(count, int) and not isinstance(count, bool) and count > 0:
                return count
    return None


def heads_at(leading: Sequence[int], count: int | None) -> int | None:
    """Which of the leading dimensions counts heads; None where none does or it can't be told."""
    places = [n for n, size in enumerate(leading) if size == count]
    last = len(leading) - 1
    if len(leading) == 2:  # (N, heads), unless the module's number stands at the other place only
        return 0 if places == [0] else 1
    if len(leading) < 2 or count is None:
        return None
    return places[0] if len(places) == 1 else None if len(places) != 1 and last not in places else _one(places)


def _one(places: list[int]) -> int | None:
    return places[0] if len(places) == 1 else None


def names_of(leading: Sequence[int], heads: int | None, count: int | None) -> tuple[str, ...]:
    """What each leading dimension counts: "batch", "heads" or "unknown"."""
    if heads is None:
        known = len(leading) == 1 and count == 1
        return ("batch",) if known else ("unknown",) * len(leading)
    names = ["unknown"] * len(leading)
    names[heads] = "heads"
    if len(leading) == 2:
        names[1 - heads] = "batch"
    return tuple(names)
