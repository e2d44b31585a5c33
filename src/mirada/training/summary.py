"""What is about to be trained: the device, the data, the parts of the model with their shapes and sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from torch import Tensor, nn

from mirada.training.processes import Batch, Measure


def summary(
    model: nn.Module,
    batch: Batch,
    *,
    measure: Measure,
    place: torch.device,
    steps: int,
    splits: Mapping[str, Callable[[], Iterable[Batch]]],
) -> RenderableType:
    """A few lines and a table, for rich to print. Nothing is trained, and no random number of the run is drawn.

    Args:
        model: on the CPU.
        batch: one of the training batches.
        measure: the system's, which calls the model.
        place: where it will be trained.
        steps: batches an epoch.
        splits: what is measured after each epoch, or at the end.
    """
    others = ", ".join(name for name, there in _accelerators().items() if there and name != place.type)
    threads = torch.get_num_threads()
    device = f"cpu, {threads} thread{'s'[: threads > 1]}" if place.type == "cpu" else str(place)
    lines = [
        ("device", device + (f" (there is {others} too: --device)" if others else "")),
        ("training", f"{steps:,} steps an epoch; a batch is {', '.join(map(_shape, batch))}"),
        *((name, f"{_count(of()):,} examples") for name, of in splits.items()),
    ]
    facts = Table.grid(padding=(0, 2))
    for name, text in lines:
        facts.add_row(Text(name, style="dim"), text)
    return Group(facts, Text(), parts(model, batch, measure))


def parts(model: nn.Module, batch: Batch, measure: Measure) -> Table:
    """A row for each part of the model: its type, the shape that it gives for the batch, its learned numbers."""
    found = dict(_parts(model)) or {"": model}
    shapes = _shapes(model, found, batch, measure)
    table = Table("part", "type", "output", box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("learned numbers", justify="right")
    own = sum(parameter.numel() for parameter in model.parameters(recurse=False))
    for name, part in found.items():
        table.add_row(name, type(part).__name__, shapes.get(name, "–"), f"{_size(part):,}")
    if own and "" not in found:
        table.add_row("its own", "Parameter", "–", f"{own:,}")
    table.add_row("all", type(model).__name__, "", f"{_size(model):,}", style="bold")
    return table


def _parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children; of a list of modules, each of its modules."""
    for name, part in model.named_children():
        if isinstance(part, nn.ModuleList):
            yield from ((f"{name}.{number}", one) for number, one in part.named_children())
        else:
            yield name, part


def _shapes(model: nn.Module, found: Mapping[str, nn.Module], batch: Batch, measure: Measure) -> dict[str, str]:
    """The shape of what each part gives for a batch; parts whose weights are used without a call have none."""
    shapes: dict[str, str] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            given = output[0] if isinstance(output, tuple) else output
            if isinstance(given, Tensor):
                shapes.setdefault(name, _shape(given, dtype=False))

        return hook

    handles = [part.register_forward_hook(note(name)) for name, part in found.items()]
    training = model.training
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            measure(model.eval(), batch)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return shapes


def _accelerators() -> dict[str, bool]:
    return {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}


def _shape(tensor: Tensor, *, dtype: bool = True) -> str:
    size = " × ".join(map(str, tensor.shape))
    return f"{size} {str(tensor.dtype).removeprefix('torch.')}" if dtype else size


def _count(batches: Iterable[Batch]) -> int:
    return sum(len(batch[0]) for batch in batches)


def _size(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())
