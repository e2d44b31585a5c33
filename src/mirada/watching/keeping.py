"""How the tensors of a call are kept: by reference, which costs nothing, or copied where they may yet be written to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mirada.watching.scoring import without_repeats


@dataclass(eq=False, slots=True)
class Memory:
    """A tensor and the state that it was in when it was kept."""

    tensor: Tensor
    version: int | None = None
    """Counts the writes to the tensor; None where torch doesn't count them."""


@dataclass(eq=False, slots=True)
class Kept:
    """What is kept of one tensor: a memory, or the beginning of one that has grown since."""

    memory: Memory
    length: int | None = None
    """How many keys; None for all."""

    @property
    def tensor(self) -> Tensor:
        """The tensor as it is."""
        whole = self.memory.tensor
        return whole if self.length is None else whole[..., : self.length, :]

    def get(self, name: str) -> Tensor:
        """The tensor; ValueError where it has been written to since."""
        if self.memory.version is not None and self.memory.tensor._version != self.memory.version:
            raise ValueError(
                f"{name} was written to in place after it was seen, so it no longer holds what the model attended "
                "with: ask inside the block, or watch with keep='statistics'"
            )
        return self.tensor

    def grow(self, now: Kept) -> Kept | None:
        """Takes a tensor that begins with this one in its place, for all that share it; gives what is kept of it.

        None where it doesn't begin so.
        """
        before, after = self.tensor, now.tensor
        size = before.shape[-2]
        if before.shape[:-2] != after.shape[:-2] or size >= after.shape[-2]:
            return None
        if not torch.equal(before, after[..., :size, :]):
            return None
        self.memory.tensor, self.memory.version = now.memory.tensor, now.memory.version
        return Kept(self.memory, after.shape[-2])


class Keeper:
    """Keeps tensors for one watch."""

    def __init__(self, device: torch.device | None) -> None:
        self._device = device
        # A mask is one tensor for all layers: moved or copied once, and held so that its address stays its own.
        self._masks: dict[tuple[object, ...], tuple[Tensor, Kept]] = {}

    def keep(self, tensor: Tensor, *, grows: bool = True) -> Kept:
        """A query, key or value: itself, its copy, or its copy on the device that was asked for."""
        return Kept(self._safe(tensor), tensor.shape[-2] if grows else None)

    def keep_mask(self, mask: Tensor) -> Kept:
        """A mask, without its gradient: it is not what is asked about, and would cost queries × keys."""
        mask = mask.detach()
        if not _written_to(mask) and self._device in (None, mask.device):
            return Kept(_remembered(mask))
        version = None if mask.is_inference() else mask._version
        identity = (mask.data_ptr(), mask.dtype, mask.shape, mask.stride(), version)
        known = self._masks.get(identity)
        # Where torch doesn't count the writes, only a comparison of the contents tells.
        if known is None or (version is None and not torch.equal(known[1].tensor, mask.to(known[1].tensor.device))):
            known = self._masks[identity] = (mask, Kept(self._safe(mask)))
        return known[1]

    def _safe(self, tensor: Tensor) -> Memory:
        if self._device is not None and tensor.device != self._device:
            return _remembered(tensor.detach().to(self._device))
        return _remembered(_compact_copy(tensor) if _written_to(tensor) else tensor)


def _remembered(tensor: Tensor) -> Memory:
    return Memory(tensor, None if tensor.is_inference() else tensor._version)


def _written_to(tensor: Tensor) -> bool:
    """Whether this memory is written to: a cache of keys does, a projection's output is never touched again.

    Tensors of inference mode don't tell.
    """
    return tensor.is_inference() or tensor._version > 0


def _compact_copy(tensor: Tensor) -> Tensor:
    """A copy that repeats in memory only what the original repeats: broadcast dimensions stay so."""
    return without_repeats(tensor).clone().expand(tensor.shape)
