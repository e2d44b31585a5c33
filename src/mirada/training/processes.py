"""Where a model is trained: the device, and the processes that torchrun started, if it did.

Each process takes every n-th item of a batch. Sums add over the shares, and torch's DDP adds the gradients.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from itertools import count as count_up

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

Batch = tuple[Tensor, ...]
"""Tensors with the same first dimension: the items."""

Sums = dict[str, Tensor]
"""Sums over the items of a batch, which add over batches: "loss", "count", and what else a system counts."""

Measure = Callable[[nn.Module, Batch], Sums]
Measured = Callable[[Batch], Sums]

_groups = count_up()


def device(name: str) -> torch.device:
    """The device that a setting names; "auto" is the best one that is there.

    Raises:
        ValueError: no such device here.

    >>> device("cpu")
    device(type='cpu')
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, is_there in there.items() if is_there)
    if name not in there:
        raise ValueError(f"device={name!r} is no choice: take one of auto, cpu, cuda, mps")
    if not there[name]:
        raise ValueError(f"device={name!r}: torch finds none here; take device='cpu', or 'auto' for the best there is")
    if name != "cuda" or not dist.is_torchelastic_launched():
        return torch.device(name)
    local = int(os.environ["LOCAL_RANK"])
    if local >= torch.cuda.device_count():
        raise ValueError(
            f"device='cuda': {torch.cuda.device_count()} are here, and torchrun started a process for number {local}; "
            "start fewer with --nproc-per-node"
        )
    return torch.device("cuda", local)


@contextmanager
def joined(place: torch.device) -> Iterator[None]:
    """Join the processes that torchrun started for as long as this lasts; without torchrun, do nothing."""
    if not dist.is_torchelastic_launched() or dist.is_initialized():
        yield
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    # Every group keeps its notes under a name of its own: a second one would meet those of the first, and hang.
    store, rank, size = next(dist.rendezvous("env://"))  # pyright: ignore[reportPrivateImportUsage] - documented
    store = dist.PrefixStore(f"mirada/{next(_groups)}", store)  # pyright: ignore[reportPrivateImportUsage] - likewise
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
    try:
        with _stopped_by_name():
            yield
    finally:
        dist.destroy_process_group()


class StoppedError(RuntimeError):
    """torchrun asked this process to end, since another one did."""


@contextmanager
def _stopped_by_name() -> Iterator[None]:
    # torchrun sends SIGTERM to the processes that are left as soon as one has ended; by itself that ends them silently,
    # whichever comes first: the signal, or the broken connection that gloo reports.
    def stop(number: int, frame: object) -> None:
        raise StoppedError("stopped by torchrun")

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set a handler
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the process that writes and speaks."""
    return not dist.is_initialized() or dist.get_rank() == 0


def is_launched_first() -> bool:
    """Whether this process is the first that torchrun started, or the only one; asked before they are joined."""
    return os.environ.get("RANK", "0") == "0" or not dist.is_torchelastic_launched()


def wait() -> None:
    """Wait until every process is here."""
    if dist.is_initialized():
        dist.barrier()


def must_agree(values: Mapping[str, str], folder: str) -> None:
    """Raise a ValueError in every process if one of them begins with something else than the first.

    Args:
        values: what must be alike, by its name.
        folder: what the error calls the place that it was found in.
    """
    if count() == 1:
        return
    for name, value in values.items():
        # No object is sent: to receive one is to unpickle it.
        mine = torch.tensor(list(sha256(value.encode()).digest()), dtype=torch.int32, device=_device())
        all_of_them = [torch.empty_like(mine) for _ in range(count())]
        dist.all_gather(all_of_them, mine)
        for rank, other in enumerate(all_of_them):
            if not torch.equal(other, all_of_them[0]):
                raise ValueError(
                    f"process {rank} begins with another {name} than process 0: install the same mirada everywhere, "
                    f"and train into a folder that all processes share, not {folder}"
                )


def is_lost_peer(error: Exception) -> bool:
    """Whether an error tells that another process is gone: torchrun's signal, or the words of gloo or NCCL."""
    if isinstance(error, StoppedError):
        return True
    told = r"gloo|nccl|closed by peer|reset by peer|connection (closed|refused)|broken pipe"
    return isinstance(error, RuntimeError) and re.search(told, str(error), re.IGNORECASE) is not None


def _device() -> torch.device:
    is_nccl = dist.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if is_nccl else torch.device("cpu")


def total(sums: Sums, place: torch.device) -> Sums:
    """The sums over all processes, on the CPU."""
    if count() > 1:
        sums = {key: value.to(place) for key, value in sums.items()}
        for value in sums.values():
            dist.all_reduce(value)
    return {key: value.cpu() for key, value in sums.items()}


def measured(model: nn.Module, measure: Measure, place: torch.device) -> Measured:
    """What to call with a batch for the sums over this process's share of it."""
    if count() == 1 and place.type == "cpu":
        return partial(measure, model)

    def over_share(batch: Batch) -> Sums:
        share = batch
        if count() > 1:
            share = tuple(tensor[dist.get_rank() :: count()] for tensor in batch)
        # A process without a share still has to take part: it measures the first item and lets it count for nothing.
        idle = not len(share[0]) and len(batch[0])
        if idle:
            share = tuple(tensor[:1] for tensor in batch)
        sums = measure(model, tuple(tensor.to(place, non_blocking=True) for tensor in share))
        return {key: value * 0 for key, value in sums.items()} if idle else sums

    return over_share


def learner(model: nn.Module, measure: Measure, place: torch.device) -> Measured:
    """The same, with gradients that are averaged over the processes."""
    over_share = measured(model, measure, place)
    if count() == 1:
        return over_share
    # A layer may be there only for some variants of a model, so DDP has to search for parameters without a gradient.
    return DistributedDataParallel(_Forward(model, over_share), find_unused_parameters=True)


class _Forward(nn.Module):
    """DDP wants one forward whose output the gradient flows back from: here it is the measuring."""

    def __init__(self, model: nn.Module, over_share: Measured) -> None:
        super().__init__()
        self.model, self.over_share = model, over_share
        # DDP warns when it searches for parameters without a gradient and finds none. This one it always finds.
        self.unused = nn.Parameter(next(model.parameters()).new_zeros(()))

    def forward(self, batch: Batch) -> Sums:
        return self.over_share(batch)


def mean_loss(sums: Sums) -> Tensor:
    """The loss of one item of the whole batch, scaled for DDP, which takes the mean over processes."""
    if count() == 1:
        return sums["loss"] / sums["count"]
    items = sums["count"].detach().to(sums["loss"])
    dist.all_reduce(items)
    return sums["loss"] * (count() / items)
