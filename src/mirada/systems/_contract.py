"""What a system is: the names that its module has, checked when it is found."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, get_args, runtime_checkable

from torch import nn

from mirada.training.loop import Batch, Batches, Direction, Recipe, Splits, Sums

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mirada.experiment import Run
    from mirada.viewer import Exhibit


class System(Protocol):
    """A module of `mirada.systems` that can be trained."""

    __name__: str
    SUMMARY: str
    """One line."""
    Settings: type[Recipe]
    """A frozen dataclass; the string below each field is the option's help."""
    METRICS: Mapping[str, Direction]
    """What `report` gives, by name, and whether it falls or rises as the model gets better."""
    BEST: str
    """The metric whose validation chooses the epoch."""

    def load(self, settings: Any, /) -> Any:
        """The data."""
        ...

    def build(self, settings: Any, data: Any, /) -> nn.Module:
        """The model, drawn from torch's global generator, which is seeded by `model_seed`, else by `seed`."""
        ...

    def batches(self, settings: Any, data: Any, /) -> Batches:
        """One epoch of batches, as a function of a generator."""
        ...

    def steps(self, settings: Any, data: Any, /) -> int:
        """How many batches an epoch has."""
        ...

    def held_out(self, settings: Any, data: Any, /) -> Splits:
        """Splits that are measured after each epoch; "validation" among them chooses the best one."""
        ...

    def final(self, settings: Any, data: Any, /) -> Splits:
        """Splits that are measured once, at the end, with the weights of the best epoch."""
        ...

    def measure(self, model: nn.Module, batch: Batch, /) -> Sums:
        """Sums over a batch: "loss", "count", and what else `report` needs. They add over batches and processes."""
        ...

    def report(self, sums: Sums, /) -> dict[str, float]:
        """The metrics, from the sums of a split."""
        ...

    def pictures(self, run: Run, /) -> Iterable[tuple[str, Figure]]:
        """Names and figures of a run."""
        ...

    def example(self, settings: Any, /) -> list[str]:
        """Inputs that `predict` takes, shown after training."""
        ...

    def predict(self, run: Run, inputs: list[str], /) -> tuple[str, Figure]:
        """What the model makes of some inputs, as a text and a figure."""
        ...

    def exhibit(self, run: Run, example: int, /) -> Exhibit:
        """The attention on one test example, for `mirada.view`; a third argument is a second run to show beside."""
        ...


@runtime_checkable
class Comparable(Protocol):
    """A system that also has a picture of its own for `mirada plot A B`."""

    def compared(self, run: Run, ax: Axes, /) -> str:
        """Draw a run into its axes, beside other runs; gives the caption of all of them."""
        ...


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: member for name, member in vars(System).items() if inspect.isfunction(member) and not name.startswith("_")
}


def is_trained(module: ModuleType) -> bool:
    """Whether there is something to train in a module: a lesson may be nothing but steps."""
    return hasattr(module, "measure") or hasattr(module, "build")


def check(module: ModuleType) -> None:
    """Raise a ValueError that names the field in which a module breaks the contract."""
    fault = next(_faults(module), None)
    if fault is not None:
        name = module.__name__.rpartition(".")[2]
        raise ValueError(f"system {name!r} is refused: {fault} (mirada.systems.System says what a system has)")


def _faults(module: ModuleType) -> Iterator[str]:
    summary = getattr(module, "SUMMARY", None)
    if not isinstance(summary, str) or not summary.strip() or "\n" in summary:
        yield f"SUMMARY={summary!r}, wanted one line of text"
    yield from _of_settings(getattr(module, "Settings", None), trained=is_trained(module))
    if not is_trained(module):
        return
    for name, wanted in _FUNCTIONS.items():
        yield from _of_function(name, getattr(module, name, None), list(inspect.signature(wanted).parameters)[1:])
    if isinstance(module, Comparable):
        yield from _of_function("compared", module.compared, ["run", "ax"])
    yield from _of_metrics(getattr(module, "METRICS", None), getattr(module, "BEST", None))


def _of_settings(settings: Any, *, trained: bool) -> Iterator[str]:
    wanted = "wanted a class with @dataclass(frozen=True, kw_only=True)"
    if not inspect.isclass(settings):
        yield f"Settings is {_what(settings)}, {wanted}"
        return
    parameters = vars(settings).get("__dataclass_params__")  # its own: a subclass of a dataclass is none yet
    if parameters is None or not parameters.frozen:
        yield f"Settings is no frozen dataclass, {wanted}"
    if trained and not issubclass(settings, Recipe):
        yield "Settings does not extend mirada.training.loop.Recipe"
    try:
        settings()
    except Exception as error:  # whatever a stranger's settings raise
        yield f"Settings() can't be made, every field needs a default ({error})"


def _of_function(name: str, found: Any, parameters: list[str]) -> Iterator[str]:
    wanted = f"wanted a function {name}({', '.join(parameters)})"
    if not callable(found):
        yield f"{name} is {_what(found)}, {wanted}"
        return
    try:
        inspect.signature(found).bind(*parameters)
    except TypeError as error:
        yield f"{name}{inspect.signature(found)} can't be called with {len(parameters)} ({error}), {wanted}"


def _of_metrics(metrics: Any, best: Any) -> Iterator[str]:
    directions = get_args(Direction)
    known = isinstance(metrics, Mapping) and metrics and all(isinstance(name, str) for name in metrics)
    if not known or any(way not in directions for way in metrics.values()):
        yield f"METRICS={metrics!r}, wanted each metric's name with one of {', '.join(map(repr, directions))}"
    elif best not in metrics:
        yield f"BEST={best!r} is not among its METRICS: {', '.join(metrics)}"


def _what(found: Any) -> str:
    return "missing" if found is None else f"a {type(found).__name__}"
