"""The doors by which a model comes to attention, and who stands at each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from mirada.watch import flex, sdpa
from mirada.watch.by_hand import ByHand, Witness


class Catcher(TorchFunctionMode):
    """Sees every function of torch that the thread calls, and picks the attention out."""

    def __init__(self, witness: Witness) -> None:
        super().__init__()
        self._witness = witness
        by_hand = ByHand(witness)
        self._step = by_hand.step
        self._doors: dict[str, Any] = {
            **by_hand.beginnings,
            "scaled_dot_product_attention": self._fused,
            "multi_head_attention_forward": self._torchs_own,
            "flex_attention": self._flex,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        door = self._doors.get(name) or self._step(name)
        return func(*args, **kwargs) if door is None else door(func, args, kwargs)

    def _fused(self, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        query = args[0] if args else kwargs["query"]
        if query.is_nested:
            self._witness.cannot_follow("its tensors are nested (of several lengths): pad them instead")
            return func(*args, **kwargs)
        return self._witness.attend(sdpa.read(*args, **kwargs), lambda: func(*args, **kwargs))

    def _torchs_own(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with self:
            return sdpa.multi_head_attention_forward(*args, **kwargs)

    def _flex(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = flex.read(*args, **kwargs)
        # Another watch, further out, must see the call too.
        if _get_current_function_mode() is None and flex.fusible(call, *args):
            context = self._witness.attend(call, lambda: call.matrix() @ call.values())
            return context, context.new_empty(0), context.new_empty(0)
        statistics: list[Tensor] = []

        def compute() -> Tensor:
            context, *rest = func(*args, **kwargs)
            statistics.extend(rest)
            return context

        return self._witness.attend(call, compute), *statistics
