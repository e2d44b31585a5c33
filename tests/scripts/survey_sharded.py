"""Surveys a sharded model, or another one in each process: torchrun survey_sharded.py OUT fsdp|tensor|others."""

from __future__ import annotations

import sys
from pathlib import Path

from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import mirada
from surveyed import batched, llama, texts

ASK = ["entropy", "sink", "induction", "attention_by_distance"]

if __name__ == "__main__":
    out, how = Path(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo")
    model, mesh = llama(), init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in model.model.layers:
        if how == "tensor":
            columns = {f"self_attn.{name}_proj": ColwiseParallel() for name in "qkv"}
            parallelize_module(layer, mesh, columns | {"self_attn.o_proj": RowwiseParallel()})
        elif how == "fsdp":
            fully_shard(layer, mesh=mesh)
    if how == "fsdp":
        fully_shard(model, mesh=mesh)
    elif how == "others":
        model.lm_head.weight.data.mul_(1 + dist.get_rank())
    mirada.survey(model, batched(texts(20), 4), ASK, every=3, out=out)  # rounds of three batches and of two
    dist.destroy_process_group()
