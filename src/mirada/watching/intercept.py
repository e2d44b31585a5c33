"""The mode that sees every function of torch that a model calls, and what it does at those that attend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from mirada.matrix import attention
from mirada.watching import flex, own, sdpa
from mirada.watching.eager import Eager

if TYPE_CHECKING:
    from mirada.watching.session import Watch

# A private name: without it no context is taken from the matrix, and the operator forms all of its scores.
_mode_further_out: Callable[[], object] = getattr(torch.overrides, "_get_current_function_mode", lambda: "perhaps")


# What squeeze-and-excitation and other gates are made of.
_GATES = frozenset(
    ("sigmoid", "hardsigmoid", "conv1d", "conv2d", "conv3d", "avg_pool2d", "adaptive_avg_pool2d", "fft_fft", "fft_fftn")
)


class Intercept(TorchFunctionMode):
    """Sees every function of torch that the thread calls, and picks the attention out."""

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch
        self.functions = 0
        self._eager = Eager(watch)
        self._handlers: dict[str, Any] = {
            "scaled_dot_product_attention": self._fused,
            "multi_head_attention_forward": self._torchs_own,
            "flex_attention": self._flex,
            "attention": self._own,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # Every function of the model comes by here: what isn't attention is let through at as little cost as can be.
        self.functions += 1
        name = getattr(func, "__name__", "")
        if name in self._eager.beginnings or self._eager.notes:
            return (
                self._eager.run(name, func, args, kwargs or {})
                if name not in self._handlers
                else self._handlers[name](func, args, kwargs or {})
            )
        handler = self._handlers.get(name)
        if handler is not None:
            return handler(func, args, kwargs or {})
        if name in _GATES:
            self._watch.gated()
        return func(*args, **kwargs) if kwargs else func(*args)

    def _fused(self, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        query = args[0] if args else kwargs["query"]
        if query.is_nested:
            self._watch.cannot_follow("its tensors are nested (of several lengths): pad them instead")
            return func(*args, **kwargs)
        return self._watch.pass_by(func, args, kwargs)

    def _torchs_own(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if sdpa.multi_head_attention_forward is None:
            self._watch.cannot_follow(f"torch {torch.__version__} has changed its own attention: it is not followed")
            return func(*args, **kwargs)
        before, self._watch.folded = self._watch.folded, args[4] if len(args) > 4 else kwargs["num_heads"]
        try:
            with self:
                return sdpa.multi_head_attention_forward(*args, **kwargs)
        finally:
            self._watch.folded = before

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

        given = own.read(*args, **kwargs)
        made, context = self._watch.attended(given, compute)
        if not weights:
            return context
        return context, weights[0] if made is given else own.weights(made)

    def _flex(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = flex.read(*args, **kwargs)
        if call is None:
            self._watch.cannot_follow(f"torch {torch.__version__} hands its FlexAttention over in an unknown way")
            return func(*args, **kwargs)
        # Another watch, further out, must see the call too.
        if _mode_further_out() is None and flex.fusible(call, *args):
            context = self._watch.attended(call, lambda: call.matrix() @ call.values())[1]
            return context, context.new_empty(0), context.new_empty(0)
        statistics: list[Tensor] = []

        def compute() -> Tensor:
            context, *rest = func(*args, **kwargs)
            statistics.extend(rest)
            return context

        return self._watch.attended(call, compute)[1], *statistics
