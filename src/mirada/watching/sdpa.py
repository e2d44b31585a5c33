"""`F.scaled_dot_product_attention`, and `F.multi_head_attention_forward`, which calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend

from mirada.kernels.autocast import computed_in
from mirada.masks import Mask, causal
from mirada.watching import functorch
from mirada.watching.call import Call
from mirada.watching.keeping import Kept, Memory
from mirada.watching.record import KeptCall


def read(*args: Any, **kwargs: Any) -> Call:
    """The call that these arguments of `F.scaled_dot_product_attention` make."""
    return call(*args, **kwargs, **computed(*args, **kwargs))


def computed(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """What torch computes such a call with, and in: to be had only while it is made."""
    return {"kernel": _kernel(*args, **kwargs), "dtype": computed_in(args[0] if args else kwargs["query"])}


def call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    kernel: str,
    dtype: torch.dtype,
) -> Call:
    """The same, where it is known how it is computed."""
    rule = causal(query.shape[-2], key.shape[-2], align="start") if is_causal else None
    diagonal = _diagonal(attn_mask)
    return Call(
        query,
        key,
        value,
        masks=() if attn_mask is None or diagonal is not None else (attn_mask,),
        rule=diagonal or rule,
        scale=scale,
        enable_gqa=enable_gqa,
        dropout_p=dropout_p,
        kernel=kernel,
        dtype=dtype,
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


def fill(args: tuple[Any, ...], kwargs: Mapping[str, Any], computed: Mapping[str, Any]) -> KeptCall:
    """The call that was put off, with its tensors kept as they were: never written to.

    Between two products of a model, Python finds the caches full of other things and runs ten times slower than in a
    loop: what is put off is what watching does not cost.
    """
    with functorch.unseen():
        made = call(*args, **kwargs, **computed)
        assert made.value is not None
        kept = {
            name: Kept(Memory(tensor, 0), tensor.shape[-2])
            for name, tensor in (("query", made.query), ("key", made.key), ("value", made.value))
        }
        kept |= {f"mask {n}": Kept(Memory(mask.detach(), 0)) for n, mask in enumerate(made.masks)}
        return made, kept


def _diagonal(mask: Tensor | None) -> Mask | None:
    """torch's own causal masks that know which corner they start from, `torch.nn.attention.bias`."""
    variant = getattr(mask, "variant", None)
    if variant is None:
        return None
    align = "end" if variant.name == "LOWER_RIGHT" else "start"
    return causal(mask.seq_len_q, mask.seq_len_kv, align=align)  # type: ignore[union-attr]


# A private name: without it the table says less.
_choice: Callable[..., int] | None = getattr(torch, "_fused_sdp_choice", None)


def _kernel(*args: object, **kwargs: object) -> str:
    try:
        return _name_of(_choice(*args, **kwargs)) if _choice else ""
    except (RuntimeError, TypeError):
        return ""


@cache
def _name_of(choice: int) -> str:
    return SDPBackend(choice).name.lower().removesuffix("_attention")


def _without_detour() -> FunctionType | None:
    """`multi_head_attention_forward` that doesn't hand itself over to a mode once more.

    It asks `has_torch_function` first, and a mode that is entered again within it would be asked forever. With its own
    answer to that question, the same code runs through, and the mode sees every step.

    None for a torch that asks otherwise.
    """
    original = functional.multi_head_attention_forward
    code = getattr(original, "__code__", None)
    if code is None or "has_torch_function" not in code.co_names:
        return None
    names = {**vars(functional), "has_torch_function": lambda tensors: False}
    copy = FunctionType(code, names, original.__name__, original.__defaults__, original.__closure__)
    copy.__kwdefaults__ = original.__kwdefaults__
    return copy


multi_head_attention_forward = _without_detour()
