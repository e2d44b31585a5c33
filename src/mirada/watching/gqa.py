"""One query of grouped heads, packed as transformers does it when decoding: undone, so that a head is a head.

Where a key head serves several query heads and there is one query, transformers hands the heads of a group over as if
they were queries: (batch, key heads, group, E). Records so, a step of generation would have fewer heads than the rest.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from mirada.watching.call import Call


def unpacked(call: Call, module: nn.Module) -> Call:
    """The call with one query a head, if it was packed; else the call itself."""
    group = vars(module).get("num_key_value_groups", 1)
    shape = call.query.shape
    if group == 1 or len(shape) != 4 or shape[2] != group or call.key.shape[1] != shape[1]:
        return call
    heads = shape[1] * group
    if heads != getattr(getattr(module, "config", None), "num_attention_heads", None):
        return call

    def unpack(tensor: Tensor) -> Tensor:
        return tensor if tensor.shape[1] == 1 else tensor.reshape(shape[0], heads, 1, tensor.shape[-1])

    masks = tuple(map(unpack, call.masks))
    return replace(call, query=call.query.reshape(shape[0], heads, 1, shape[3]), masks=masks, enable_gqa=True)
