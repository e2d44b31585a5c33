"""The doors by which a model comes to attention, and who stands at each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mirada.matrix import attention
from mirada.watching import flex, own, sdpa
from mirada.watching.eager import ByHand, Witness

# A private name: without it no context is taken from the matrix, and the operator forms all of its scores.
_mode_further_out: Callable[[], object] = getattr(torch.overrides, "_get_current_function_mode", lambda: "perhaps")


class Catcher(TorchFunctionMode):
    """Sees every function of torch that the thread calls, and picks the attention out."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self._witness = witness
        self._by_hand = ByHand(witness)
        self._doors: dict[str, Any] = {
            **self._by_hand.beginnings,
            "scaled_dot_product_attention": self._fused,
            "multi_head_attention_forward": self._torchs_own,
            "flex_attention": self._flex,
            "attention": self._own,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Every function of the model comes by here: what isn't attention is let through with as little ado as can be.
        name = getattr(func, "__name__", "")
        door = self._doors.get(name)
        if door is None and self._by_hand.notes:
            door = self._by_hand.step(name)
        if door is not None:
            return door(func, args, kwargs or {})
        return func(*args, **kwargs) if kwargs else func(*args)

    def _fused(self, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        query = args[0] if args else kwargs["query"]
        if query.is_nested:
            self._witness.cannot_follow("its tensors are nested (of several lengths): pad them instead")
            return func(*args, **kwargs)
        return self._witness.pass_by(func, args, kwargs)

    def _torchs_own(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if sdpa.multi_head_attention_forward is None:
            self._witness.cannot_follow(f"torch {torch.__version__} has changed its own attention: not looked into yet")
            return func(*args, **kwargs)
        with self:
            return sdpa.multi_head_attention_forward(*args, **kwargs)

    def _own(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if func is not attention:
            return func(*args, **kwargs)
        weights: list[Tensor] = []

        def compute() -> Tensor:
            found = func(*args, **kwargs)
            if isinstance(found, Tensor):
                return found
            weights.append(found[1])
            return found[0]

        asked = own.read(*args, **kwargs)
        made, context = self._witness.attended(asked, compute)
        if not weights:
            return context
        return context, weights[0] if made is asked else own.weights(made)

    def _flex(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = flex.read(*args, **kwargs)
        if call is None:
            self._witness.cannot_follow(f"torch {torch.__version__} hands its FlexAttention over in an unknown way")
            return func(*args, **kwargs)
        # Another watch, further out, must see the call too.
        if _mode_further_out() is None and flex.fusible(call, *args):
            context = self._witness.attend(call, lambda: call.matrix() @ call.values())
            return context, context.new_empty(0), context.new_empty(0)
        statistics: list[Tensor] = []

        def compute() -> Tensor:
            context, *rest = func(*args, **kwargs)
            statistics.extend(rest)
            return context

        return self._witness.attend(call, compute), *statistics
