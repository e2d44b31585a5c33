"""How a model is spread over processes: whole in each, in shards of parameters (FSDP2), or by heads (tensor parallel).

FSDP2: every process has texts of its own. Tensor parallel: all run the same texts, each with some of the heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import distributed as dist
from torch import nn

from mirada.training import processes


@dataclass(frozen=True)
class Sharding:
    """Which texts and which heads are this process' own."""

    rank: int = 0
    """Of the processes that share the texts."""
    count: int = 1
    heads: tuple[int, int] = (0, 1)
    """Which of how many equal parts of the heads this process holds."""
    in_step: bool = False
    """Whether all processes must run the model equally often: each has a part of its parameters."""


def of_model(model: nn.Module) -> Sharding:
    """How a model is spread.

    Raises:
        ValueError: in a way that is not known here.
    """
    if not dist.is_initialized() or processes.count() == 1:
        return Sharding()
    rank, count = dist.get_rank(), processes.count()
    meshes: list[Any] = list({getattr(one, "device_mesh", None) for one in model.parameters()} - {None})
    if not meshes:
        return Sharding(rank, count)
    if len(meshes) > 1 or meshes[0].ndim != 1:
        raise ValueError("model: its parameters are sharded over several meshes or dimensions; wanted a mesh of one")
    mesh = meshes[0]
    from torch.distributed.fsdp import FSDPModule

    if any(isinstance(module, FSDPModule) for module in model.modules()):
        return Sharding(rank, count, in_step=True)
    if mesh.size() != count:
        raise ValueError(
            f"model: its heads are spread over {mesh.size()} of {count} processes: start as many as hold it"
        )
    return Sharding(heads=(mesh.get_local_rank(), mesh.size()))
