"""A second device for machines that have none: `far:0`, whose tensors are out of reach for the CPU's.

Its arithmetic is the CPU's, behind a tensor that says it is elsewhere. So all that is done for an accelerator is done
here too: other kernels are chosen, and whatever is left on the CPU by mistake meets an error. What it can't show is the
accelerator's own arithmetic and speed.

Importing this registers a backend and replaces functions of torch: only for a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend("far")
torch.far.get_rng_state = lambda *_: torch.get_rng_state()  # type: ignore[attr-defined]

# Both devices may meet where an index says which entries are meant, and where a tensor is on its way.
_MEETING = ("index", "index_put", "index_put_", "_index_put_impl_", "_to_copy", "copy_")


class Far(Tensor):
    """A tensor on the far device."""

    near: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, near: Tensor) -> Far:
        layout: dict[str, Any] = {"strides": near.stride(), "storage_offset": near.storage_offset()}
        self = Tensor._make_wrapper_subclass(cls, near.size(), dtype=near.dtype, device=torch.device("far:0"), **layout)
        self.near = near
        return self

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """One operation, done near and given back far."""
    name = func._schema.name.split("::")[1]
    given = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, Tensor)]
    far = [tensor for tensor in given if isinstance(tensor, Far)]
    _refuse_strangers(name, given, far)
    if name == "_fused_sdp_choice":
        return 0  # the math path, made of operations that arrive here one by one
    away = isinstance(args[0], Far) if name in ("copy_", "index") else bool(far)
    if kwargs.get("device") is not None:
        away, kwargs = torch.device(kwargs["device"]).type == "far", {**kwargs, "device": torch.device("cpu")}
    kwargs.pop("pin_memory", None)
    near_args, near_kwargs = tree_map(lambda leaf: leaf.near if isinstance(leaf, Far) else leaf, (args, kwargs))
    known = {id(tensor.near): tensor for tensor in far}  # what is written in place is the tensor that was given

    def there(leaf: Any) -> Any:
        return known.get(id(leaf), Far(leaf)) if away and isinstance(leaf, Tensor) else leaf

    return tree_map(there, func(*near_args, **near_kwargs))


def _refuse_strangers(name: str, given: list[Tensor], far: list[Far]) -> None:
    strangers = [tensor for tensor in given if not isinstance(tensor, Far) and tensor.ndim]
    if far and (name.endswith("_for_cpu") or (strangers and name not in _MEETING)):
        raise RuntimeError(f"{name}: tensors on far and on the CPU, {[tuple(tensor.shape) for tensor in strangers]}")


_operations = torch.library.Library("_", "IMPL")
_operations.fallback(lambda func, *args, **kwargs: _run(func, args, kwargs), "PrivateUse1")


def _made_near(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """These make a tensor in ways that pass the backend by: made on the CPU, then taken away."""

    def made(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        made = make(*args, **kwargs)
        return made if device is None else made.to(device)

    return made


for _name in ("tensor", "as_tensor", "arange"):
    setattr(torch, _name, _made_near(getattr(torch, _name)))


def moved(model: nn.Module) -> nn.Module:
    """The model with its parameters and buffers on the far device."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(parameter.detach().to("far"))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to("far")
    return model
