"""All that decides how a training goes on, kept so that a run which died goes on bit for bit."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from mirada.training import processes
from mirada.training.optimizer import Adam
from mirada.training.run import Folder, Metrics, RunError

# Seconds between two savings: a file that is safe from a power cut takes 10 ms, which a short epoch may take as well.
_PAUSE = 1.0
_LOSSES = 1000  # of an epoch, at most


@dataclass
class State:
    """Where a training is: what learns, what is drawn at random next, and what is known of the epochs so far."""

    model: nn.Module
    optimizer: Adam
    schedule: OneCycleLR | None
    generator: Generator
    place: torch.device
    epoch: int = 0
    best_epoch: int = 0
    best_value: float = math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    metrics: list[Metrics] = field(default_factory=list)
    losses: Tensor = field(default_factory=lambda: torch.zeros(0))
    """The training loss of each step, a mean where an epoch has more than 1,000."""
    done: bool = False
    rest: dict[str, Any] = field(default_factory=dict)
    """Of a finished training: what going on with it needs."""

    def note_losses(self, sums: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Keep the loss of each step of an epoch, from (sum, count) of each."""
        totals, counts = (torch.stack(part).detach().cpu().float() for part in zip(*sums, strict=True))
        together = -(-len(totals) // _LOSSES)
        parts = [
            (part.sum() / count.sum())
            for part, count in zip(totals.split(together), counts.split(together), strict=True)
        ]
        self.losses = torch.cat([self.losses, torch.stack(parts)])

    def note(self, value: float) -> bool:
        """Keep the weights if the epoch's value is lower than any before; says whether it is."""
        if value >= self.best_value:
            return False
        self.best_epoch, self.best_value = self.epoch, value
        # state_dict() only refers to the weights: without a copy, the best ones would go on changing.
        self.best = {
            name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in self.model.state_dict().items()
        }
        return True

    def finish(self) -> None:
        """Take the best weights; where the last ones stood is kept, so that the run can be trained on."""
        self.rest = copy.deepcopy(self._rest())
        self.model.load_state_dict(self.best)
        self.done = True

    def save(self) -> dict[str, Any]:
        """Tensors and plain values, from which `restore` makes the same state again."""
        return {name: getattr(self, name) for name in (*_KNOWN, "losses")} | (self.rest if self.done else self._rest())

    def restore(self, saved: Mapping[str, Any], epochs: int) -> None:
        """Go to where the saved state was, random numbers included; a finished one is reopened for more `epochs`."""
        for name in _KNOWN:
            setattr(self, name, saved[name])
        self.losses = saved.get("losses", torch.zeros(0))  # runs of before had none
        if self.done and self.epoch >= epochs:
            self.rest = {name: saved[name] for name in _REST if name in saved}
            self.model.load_state_dict(self.best)
            return
        self.done = False
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        if self.schedule:
            self.schedule.load_state_dict(saved["schedule"])
        self.generator.set_state(saved["generator"])
        torch.set_rng_state(saved["random"]["cpu"])
        if self.place.type != "cpu":
            getattr(torch, self.place.type).set_rng_state(saved["random"][self.place.type])

    def _rest(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict() if self.schedule else None,
            "generator": self.generator.get_state(),
            "random": self._random(),
        }

    def _random(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self.place.type != "cpu":
            states[self.place.type] = getattr(torch, self.place.type).get_rng_state()
        return states


_REST = ("model", "optimizer", "schedule", "generator", "random")
_KNOWN = ("epoch", "best_epoch", "best_value", "best", "metrics", "done")


class Keeper:
    """Writes the state to a folder: in the first process only, and no more often than it pays."""

    def __init__(self, folder: Folder, state: State) -> None:
        self.folder, self.state = folder, state
        self._next, self._written_best = 0.0, 0

    def keep(self, *, now: bool = False) -> None:
        """Write the state, unless that was done a moment ago and this is not the last time."""
        if not processes.is_first() or (perf_counter() < self._next and not now):
            return
        state = self.state
        self.folder.keep(state.save(), state.metrics, state.best if state.best_epoch != self._written_best else None)
        self._written_best = state.best_epoch
        self._next = perf_counter() + _PAUSE

    def take_up(self, epochs: int) -> str:
        """Restore the state from the folder, if it has one; says what was found.

        Args:
            epochs: how many there will be in all: a finished run of fewer goes on.

        Raises:
            RunError: the state is damaged, or that of another model.
        """
        saved = self.folder.state()
        if saved is None:
            return "nothing to go on from yet, so the run begins"
        try:
            self.state.restore(saved, epochs)
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split())
            path = self.folder.path / "resume.pt"
            raise RunError(f"{path} doesn't fit this model ({reason}): train into another folder") from None
        return "the run is finished" if self.state.done else f"going on after epoch {self.state.epoch}"
