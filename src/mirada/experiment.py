"""Train a system into a folder, and load it again: a run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from inspect import signature
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch import Tensor, nn

from mirada import __version__, plots, systems
from mirada.systems import System
from mirada.training import loop as training
from mirada.training import processes
from mirada.training.run import Folder, Metrics, RunError
from mirada.training.settings import make, plain
from mirada.training.summary import summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mirada.viewer import Exhibit


@dataclass
class Run:
    """A trained system: its model with the weights of the best epoch, and all that belongs to it."""

    system: System
    """The module that describes it."""
    settings: Any
    """What it was trained with."""
    folder: Folder
    """Where it lies."""

    @property
    def name(self) -> str:
        """The name of the system."""
        return self.system.__name__.rpartition(".")[2]

    @cached_property
    def data(self) -> Any:
        """The system's data, loaded when first asked for."""
        return self.system.load(self.settings)

    @cached_property
    def model(self) -> nn.Module:
        """The model, on the CPU, in eval mode."""
        model = _drawn(self)
        _fill(model, self.folder)
        return _checking(model.eval(), self.folder)

    @cached_property
    def metrics(self) -> list[Metrics]:
        """What was measured: a dictionary for each epoch and split, in order."""
        return self.folder.metrics()

    @cached_property
    def losses(self) -> Tensor:
        """The training loss of each step, (steps,); of an epoch of more than 1,000, means of equal parts of it.

        Empty where the folder has no resume.pt.
        """
        return (self.folder.state() or {}).get("losses", torch.zeros(0))

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Measure every held-out and final split again; gives what is reported, by split.

        Raises:
            mirada.training.loop.DivergedError: something that is reported is no finite number.
        """
        system, place = self.system, processes.device(self.settings.device)
        splits = {**system.held_out(self.settings, self.data), **system.final(self.settings, self.data)}
        self.model.to(place)
        try:
            measured = {
                split: training.evaluate(self.model, of(), measure=system.measure, report=system.report, place=place)
                for split, of in splits.items()
            }
        finally:
            self.model.to("cpu")
        for split, metrics in measured.items():
            for kind, value in metrics.items():
                if not math.isfinite(value):
                    raise training.DivergedError(
                        f"{self.folder.path}: {split} {kind} is {value}: its weights are too large to compute with"
                    )
        return measured

    def plot(self) -> list[Path]:
        """Draw the system's pictures into the folder's plots/; gives their paths."""
        return [self.folder.save_picture(name, plots.png(figure)) for name, figure in self.system.pictures(self)]

    def predict(self, inputs: Sequence[str]) -> tuple[str, Figure]:
        """What the model makes of some inputs, as a text and as a picture of what it attends to.

        Raises:
            mirada.training.loop.DivergedError: the model gives no numbers for them.
        """
        return self.system.predict(self, list(inputs))

    def exhibit(self, example: int = 0, beside: Run | None = None) -> Exhibit:
        """What `mirada.view` shows of it: the attention on one of its test examples, and what can be tried by hand.

        Args:
            example: which of the test examples.
            beside: a second run of the same system, to be tried by the same hand where the system compares runs.

        Raises:
            ValueError: no such example, a model without attention, or two runs that can't be compared.
        """
        exhibit: Any = self.system.exhibit
        if beside is None:
            return exhibit(self, example)
        if beside.name != self.name or "beside" not in signature(exhibit).parameters:
            raise ValueError(
                f"beside={beside.folder.path}: a run of {self.name} can't be shown beside a run of {beside.name}"
            )
        return exhibit(self, example, beside=beside)


def train(
    name: str, *, out: str | os.PathLike[str], resume: bool = False, progress: bool = True, **settings: Any
) -> Run:
    """Train a system and keep the run in a folder.

    Args:
        name: of the system; `mirada.systems.names()` lists them.
        out: the folder, which must not hold a run yet.
        resume: go on with the run in that folder, or begin it. Settings that aren't given are then the run's own.
        progress: show a bar and a line for each epoch.
        settings: fields of the system's `Settings`; the others keep their defaults.

    Raises:
        ValueError: no such system, nothing to train in it, or a setting out of range.
        TypeError: a setting that the system doesn't have, or of the wrong type.
        RunError: the folder holds a run already, or another one than is to go on, or can't be written.
        DivergedError: the loss is no longer a number.

    >>> import mirada, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = mirada.train("squares", out=folder, epochs=1, progress=False)
    ...     run.metrics[0]["epoch"], run.metrics[0]["split"]
    (1, 'train')
    """
    run = _asked(name, Folder(out), resume, settings)
    place = processes.device(run.settings.device)
    with processes.joined(place):
        model = _drawn(run)
        processes.must_agree(_begins_with(run), str(run.folder.path))
        with run.folder.locked() if processes.is_first() else nullcontext():
            _train(run, model, resume, progress)
    run.model = _checking(model, run.folder)
    return run


def _begins_with(run: Run) -> dict[str, str]:
    """What processes that train together must have alike, each as a short text."""
    state = run.folder.path / "resume.pt"
    return {
        "version of mirada": __version__,
        "settings": json.dumps(plain(run.settings)),
        "resume.pt": sha256(state.read_bytes()).hexdigest() if state.is_file() else "none",
    }


def _train(run: Run, model: nn.Module, resume: bool, progress: bool) -> None:
    system, name, begins = run.system, run.name, False
    if processes.is_first():
        begins = not (resume and run.folder.begun())
        if begins:
            run.folder.begin(name, plain(run.settings))
        elif run.folder.settings()[1] != plain(run.settings):
            run.folder.change(name, plain(run.settings))
    if progress and begins:
        _introduce(run, model)
    try:
        training.fit(
            model,
            recipe=run.settings,
            batches=system.batches(run.settings, run.data),
            steps=system.steps(run.settings, run.data),
            held_out=system.held_out(run.settings, run.data),
            final=system.final(run.settings, run.data),
            measure=system.measure,
            report=system.report,
            metrics=system.METRICS,
            best=system.BEST,
            folder=run.folder,
            resume=resume,
            progress=progress,
        )
    except KeyboardInterrupt:
        out = quote(str(run.folder.path))
        raise KeyboardInterrupt(f"stopped; go on with: mirada train {name} --out {out} --resume") from None
    except Exception as error:
        if begins:
            run.folder.give_up()
        if processes.count() > 1 and processes.is_lost_peer(error):
            raise RunError(
                "another process of this training ended, so this one ends too: go on with the same command and --resume"
            ) from None
        raise


def _introduce(run: Run, model: nn.Module) -> None:
    """Print what is about to be trained."""
    system, settings, data = run.system, run.settings, run.data
    with torch.random.fork_rng(devices=[]):
        batch = next(iter(system.batches(settings, data)(torch.Generator().manual_seed(settings.seed))))
    lines = summary(
        model,
        batch,
        measure=system.measure,
        place=processes.device(settings.device),
        steps=system.steps(settings, data),
        splits={**system.held_out(settings, data), **system.final(settings, data)},
    )
    Console(soft_wrap=True, highlight=False).print(lines, "")


def load(folder: str | os.PathLike[str]) -> Run:
    """The run in a folder, its model with the weights of the best epoch. Nothing is unpickled.

    Raises:
        RunError: the folder holds no run, or one whose settings or weights don't fit.
    """
    run = _kept(Folder(folder))
    # Now rather than at the first use, so that an error comes with the loading.
    assert run.model
    return run


def _trainable(name: str) -> System:
    system = systems.trained(name)
    if system is None:
        raise ValueError(f"{name} has nothing to train: see it with `mirada {name}`")
    return system


def _kept(folder: Folder) -> Run:
    name, given = folder.settings()
    try:
        system = _trainable(name)
        return Run(system, make(system.Settings, given, system=name), folder)
    except (ValueError, TypeError) as error:
        raise RunError(f"{folder.path / 'settings.json'} doesn't fit this mirada: {error}") from None


def _asked(name: str, folder: Folder, resume: bool, given: Mapping[str, Any]) -> Run:
    """The run to train: a new one, or the one in the folder if nothing that was asked for speaks against it."""
    system = _trainable(name)
    if not (resume and folder.begun()):
        settings = make(system.Settings, given, system=name)
        folder.must_be_free()
        return Run(system, settings, folder)
    run = _kept(folder)
    if run.system is not system:
        raise RunError(f"{folder.path} holds a run of {run.name}, not of {name}: choose another folder (--out)")
    try:
        settings = make(system.Settings, plain(run.settings) | dict(given), system=name)
    except ValueError:  # what is given does not go with the run's own: is it what is wrong, or what differs?
        settings = make(system.Settings, given, system=name)
    for field in given:
        was, wanted = getattr(run.settings, field), getattr(settings, field)
        if field == "epochs" and wanted > was and run.settings.schedule == "constant":
            continue  # a one-cycle schedule is laid over all its epochs, and can't be made longer
        if was != wanted:
            raise RunError(
                f"{folder.path} was begun with {field}={was!r}, not {wanted!r}: go on without naming {field}, "
                "or choose another folder (--out)"
            )
    return replace(run, settings=replace(run.settings, epochs=given.get("epochs", run.settings.epochs)))


def _drawn(run: Run) -> nn.Module:
    settings = run.settings
    torch.manual_seed(settings.seed if settings.model_seed is None else settings.model_seed)
    return run.system.build(run.settings, run.data)


def _fill(model: nn.Module, folder: Folder) -> None:
    weights, wanted = folder.weights(), model.state_dict()
    path = folder.path / "model.safetensors"
    for name in sorted({*weights, *wanted}):
        has, wants = _shape(weights.get(name)), _shape(wanted.get(name))
        if has != wants:
            raise RunError(f"{path} doesn't fit the model: {name} is {has} in the file and {wants} in the model")
        if not weights[name].isfinite().all():
            raise RunError(f"{path} holds values that are not finite, in {name}: train again into another folder")
    model.load_state_dict(weights)


def _checking(model: nn.Module, folder: Folder) -> nn.Module:
    """The model of a run, which from now on answers with an error where weights are too large to compute with.

    The logit −∞ is a number to compute with: that class is ruled out.
    """

    def check(module: nn.Module, inputs: Any, output: Any) -> None:
        for given in output if isinstance(output, tuple) else (output,):
            if isinstance(given, Tensor) and not (given < torch.inf).all():
                raise training.DivergedError(f"{folder.path}: its weights are too large: the model gives inf or nan")

    model.register_forward_hook(check)
    return model


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else "×".join(map(str, tensor.shape)) or "a number"
