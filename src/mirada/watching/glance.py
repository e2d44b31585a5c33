"""A fused call as it goes by: no more is done about it than must be, and the rest when it is asked about.

Between two products of a model, Python finds the caches full of other things and runs ten times slower than in a loop:
what is put off is what watching does not cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mirada.watching import functorch, sdpa
from mirada.watching.keeping import Kept, Memory
from mirada.watching.modules import Followed
from mirada.watching.records import AttentionRecord, Inputs


@dataclass(eq=False, slots=True)
class Glance:
    """The first call of a module, with tensors to which nobody has written."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    here: Followed
    computed: Mapping[str, Any]
    index: int
    context: Tensor | None

    def __call__(self) -> AttentionRecord:
        """What was seen."""
        with functorch.unseen():
            call = sdpa.call(*self.args, **self.kwargs, **self.computed)
            query, key, value = (Kept(Memory(t, 0), t.shape[-2]) for t in (call.query, call.key, call.value))
            masks = tuple(Kept(Memory(mask.detach(), 0)) for mask in call.masks)
            inputs = Inputs(call.let_go(), query, key, value, masks)
            return AttentionRecord.of(
                call, index=self.index, name=self.here.name, module=self.here.kind, context=self.context, inputs=inputs
            )


def can_wait(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether the arguments of a call will later be what they are now, or tell that they aren't."""
    if functorch.going_on():
        return False
    mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
    if mask is not None and mask.requires_grad:
        return False  # it is kept without its graph, which would cost queries × keys
    try:
        return not any(given._version for given in (*args, *kwargs.values()) if isinstance(given, Tensor))
    except RuntimeError:  # tensors of inference mode don't tell
        return False
