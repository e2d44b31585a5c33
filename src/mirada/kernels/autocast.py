"""What torch's autocast makes of attention: it computes in its own dtype, whatever its inputs have."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# A private name, which says at once that autocast is off: without it, each call checks the device.
_anywhere: Callable[[], bool] = getattr(torch._C, "_is_any_autocast_enabled", lambda: True)


def computed_in(tensor: Tensor) -> torch.dtype:
    """The dtype that an attention of this tensor is computed in: autocast's, where it is on."""
    if not _anywhere() or tensor.dtype == torch.float64 or not tensor.is_floating_point():
        return tensor.dtype
    device = tensor.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return tensor.dtype


def cast(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three as torch's own attention would take them: unchanged without autocast, of one dtype with it."""
    if not _anywhere() or not all(isinstance(tensor, Tensor) for tensor in (query, key, value)):
        return query, key, value
    query, key, value = (tensor.to(computed_in(tensor)) for tensor in (query, key, value))
    return query, key, value
