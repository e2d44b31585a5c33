"""One watched block: catches calls while it is open, and says at its end what was and wasn't seen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Literal

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from mirada.watching import compile, flex, functorch, report, sdpa
from mirada.watching import edits as editing
from mirada.watching.call import Call
from mirada.watching.dimensions import heads_at, heads_of, names_of
from mirada.watching.edits import Edit
from mirada.watching.gqa import unpacked
from mirada.watching.intercept import Intercept
from mirada.watching.keeping import Keeper, Kept
from mirada.watching.modules import Followed, Modules, in_backward
from mirada.watching.record import AttentionRecord
from mirada.watching.records import Records
from mirada.watching.select import HeadsError, check_heads, check_layers, in_layers, of_heads, resolve_heads
from mirada.watching.statistics import Inquiry, Question, inquiry

Keep = Literal["inputs", "statistics"]


class Watch:
    """A block in which a model is watched; made by ``mirada.watch``."""

    def __init__(
        self,
        model: nn.Module,
        *,
        keep: Keep,
        ask: Iterable[str] | Mapping[str, Question] | None,
        layers: int | str | Iterable[int | str] | None,
        heads: int | Iterable[int] | None,
        device: str | torch.device | None,
        edit: Edit | Iterable[Edit],
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if keep not in ("inputs", "statistics"):
            raise ValueError(f"keep must be 'inputs' or 'statistics', got {keep!r}")
        if ask is not None and keep != "statistics":
            raise ValueError("ask goes with keep='statistics'; with keep='inputs' ask the records' matrices")
        self._modules = Modules(model)
        named = {name: module for module, name in self._modules.names.items()}
        self._layers, self._heads = check_layers(layers, named), check_heads(heads)
        self._edits = _checked_edits(edit, named)
        self._inquiry = inquiry(ask) if keep == "statistics" else None
        self._device = None if device is None else torch.device(device)
        self._keeper = Keeper(self._device)
        self._applied: set[Edit] = set()
        self._left_out: set[str] = set()
        self._outside = 0
        self._of_module: dict[str, list[int]] = {}
        self._model = model
        self._records = Records()
        everything = keep == "inputs" and layers is None and heads is None and device is None
        self._hasty = everything and not self._edits
        self.folded: int | None = None
        """How many heads torch's own function is folding into its batch, while it runs."""
        self._state: Literal["new", "open", "left"] = "new"
        self._open = ExitStack()

    def __enter__(self) -> Records:
        if self._state != "new":
            raise ValueError(f"this watch is {self._state}: a watch is for one block, call mirada.watch(model) again")
        with ExitStack() as entered:
            if compile.enter():
                entered.callback(compile.leave)
            entered.callback(self._modules.detach)
            self._modules.attach()
            intercept = Intercept(self)
            self._modules.functions = lambda: intercept.functions
            entered.enter_context(heads_apart([m for m, name in self._modules.names.items() if self._edits_of(name)]))
            entered.enter_context(intercept)
            self._open = entered.pop_all()
        self._state = "open"
        return self._records

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state != "open":
            raise ValueError(f"this watch is {self._state}, not open: a block is left once")
        self._state = "left"
        self._open.close()
        self._records.unseen = self._modules.unseen
        if error is None:
            self._account()

    def attended(self, call: Call, compute: Callable[[], Tensor]) -> tuple[Call, Tensor]:
        """Takes note of a call; gives the call as it was computed, another one where it was edited, and its context."""
        here = self._modules.here
        if here is None:
            self._outside += 1
            return call, compute()
        if in_backward():
            return call, compute()
        self._modules.noticed += 1
        call = unpacked(call, here.module)
        edits = self._edits_of(here.name)
        if edits:
            call, context = self._computed_with(edits, call, here, compute)
        else:
            context = compute()
        self._sight(call, context, here, edits)
        return call, context

    def pass_by(self, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Takes note of a call of `F.scaled_dot_product_attention` and gives its context: later, if it can wait."""
        here = self._modules.here if self._hasty else None
        if here is None or not self._may_wait(here) or not sdpa.can_wait(args, kwargs):
            return self.attended(sdpa.read(*args, **kwargs), lambda: func(*args, **kwargs))[1]
        computed = sdpa.computed(*args, **kwargs)
        context = func(*args, **kwargs)
        self._modules.noticed += 1
        self._of_module[here.name] = [len(self._records)]
        self._records.records.append(
            AttentionRecord(
                partial(sdpa.fill, args, kwargs, computed),
                index=len(self._records),
                name=here.name,
                module=here.kind,
                context=context if context.requires_grad else None,
            )
        )
        return context

    def _may_wait(self, here: Followed) -> bool:
        # A module's second call may go on from its first; heads that are packed or folded are known by their module.
        again = here.name in self._of_module or "num_key_value_groups" in vars(here.module)
        return not again and self.folded is None and not in_backward()

    def by_hand(self, call: Call, context: Tensor | None) -> None:
        """Takes note of an attention whose weights the model has formed."""
        here = self._modules.here
        if here is None:
            self._outside += 1
        elif not in_backward():
            self._modules.noticed += 1
            edits = self._edits_of(here.name)
            self._sight(call, context, here, edits)

    def edits_here(self) -> bool:
        """Whether the attention of the running module is to be edited; ValueError where it can't be."""
        here = self._modules.here
        if here is None or in_backward() or not any(edit.concerns(here.name) for edit in self._edits):
            return False
        self._check_editable(here)
        return True

    def edited(self, call: Call, weights: Tensor) -> tuple[Call, Tensor] | None:
        """The call as it is to be edited and the weights to go on with; None where it isn't to be."""
        here = self._modules.here
        edits = [] if here is None else self._edits_of(here.name)
        if here is None or not edits or in_backward():
            return None
        return editing.edited_weights(edits, call, weights, here.name, self._heads_at(call, here))

    def cannot_follow(self, why: str) -> None:
        """Takes note of an attention that can't be given back."""
        here = self._modules.here
        if here is not None and not in_backward():
            self._modules.complain(here.name, why)

    def multiplied(self) -> None:
        """Takes note of a product of two tensors that the model has computed."""
        self._modules.products += 1

    def gated(self) -> None:
        """Takes note of a function that so-called attentions use which attend to nothing."""
        self._modules.gates += 1

    def folded_here(self) -> int | None:
        """How many heads torch's own function or module folds into its batch; None elsewhere."""
        if self.folded is not None:
            return self.folded
        here = self._modules.here
        return here.module.num_heads if here is not None and isinstance(here.module, nn.MultiheadAttention) else None

    def _edits_of(self, name: str) -> list[Edit]:
        return [edit for edit in self._edits if edit.concerns(name)]

    def _heads_at(self, call: Call, here: Followed) -> int | None:
        return heads_at(call.shape[:-2], heads_of(here.module))

    def _check_editable(self, here: Followed) -> None:
        if functorch.transforming():
            raise ValueError(
                f"edit can't reach {here.name!r} under vmap or another torch.func transform: call it plainly"
            )
        if _in_checkpoint():
            raise ValueError(
                f"edit can't reach {here.name!r} under gradient checkpointing, whose second forward would be "
                "unedited: switch checkpointing off"
            )
        self._applied.update(edit for edit in self._edits if edit.concerns(here.name))

    def _computed_with(
        self, edits: list[Edit], call: Call, here: Followed, compute: Callable[[], Tensor]
    ) -> tuple[Call, Tensor]:
        self._check_editable(here)
        shape: list[torch.Size] = []

        def context() -> Tensor:
            found = compute()
            shape.append(found.shape)
            return found.reshape(*call.query.shape[:-1], found.shape[-1])

        edited, found = editing.apply(edits, call, here.name, context, self._heads_at(call, here))
        return edited, found.reshape(shape[0])

    def _sight(self, call: Call, context: Tensor | None, here: Followed, edits: list[Edit]) -> None:
        """Keeps a call. What fails is noted, and the model goes on; only heads that it lacks are an error."""
        if not in_layers(self._layers, here.name):
            self._records.left_out += 1
            self._left_out.add(here.name)
            return
        with functorch.unseen():
            try:
                self._keep(call, context, here, edits)
            except HeadsError:
                raise
            except Exception as error:  # whatever it is, the model goes on
                words = str(error).splitlines()
                self._modules.complain(here.name, f"not followed: {type(error).__name__}: {words[0] if words else ''}")

    def _keep(self, call: Call, context: Tensor | None, here: Followed, edits: list[Edit]) -> None:
        transformed = functorch.transformed((call.query, call.key, *([] if call.value is None else [call.value])))
        call = flex.written_out(functorch.outer(call))
        count = heads_of(here.module)
        at = heads_at(call.shape[:-2], count)
        heads = None if self._heads is None else resolve_heads(self._heads, call.shape, at, here.name)
        shape, masked = call.shape, call.masked  # of a rule for some heads it could not be said what it was
        dims = names_of(shape[:-2], at, count)
        if heads is not None:
            assert at is not None
            call = of_heads(call, heads, at)
            shape = torch.Size((*shape[:at], len(heads), *shape[at + 1 :]))
        graph = context is not None and context.requires_grad and self._device is None
        whole = heads is None and not transformed and graph and self._inquiry is None
        calls = self._of_module.setdefault(here.name, [])
        kept: Mapping[str, Kept] = {}
        if self._inquiry is None:
            kept = self._kept(call, calls)
        record = AttentionRecord(
            call.let_go(),
            index=len(self._records),
            name=here.name,
            module=here.kind,
            nth=len(calls),
            shape=shape,
            heads=None if heads is None else tuple(heads),
            dims=dims,
            masked=masked,
            edits=tuple(edit.kind for edit in edits),
            answers={} if self._inquiry is None else self._answers(self._inquiry, call),
            context=context if whole else None,
            kept=kept,
        )
        self._records.records.append(record)
        calls.append(record.index)

    def _answers(self, ask: Inquiry, call: Call) -> Mapping[str, object]:
        with torch.no_grad(), functorch.outside():
            flex.check(call)
            answers = ask(call.each(Tensor.detach).matrix())
        return {
            name: answer.to(self._device) if self._device and isinstance(answer, Tensor) else answer
            for name, answer in answers.items()
        }

    def _kept(self, call: Call, calls: list[int]) -> Mapping[str, Kept]:
        kept = {f"mask {n}": self._keeper.keep_mask(mask) for n, mask in enumerate(call.masks)}
        if call.value is not None:
            kept["value"] = self._keeper.keep(call.value)
        if call.weights is not None:
            return kept | {"weights": self._keeper.keep(call.weights, grows=False)}
        kept |= {"query": self._keeper.keep(call.query), "key": self._keeper.keep(call.key)}
        before = self._records.records[calls[-1]] if calls else None
        if before is not None and not kept["key"].tensor.requires_grad:
            # Where a cache grew by joining, the former step's keys are the beginning of these: kept once, not twice.
            kept |= {name: before.grown(name, kept[name]) for name in ("key", "value") if name in kept}
        return kept

    def _account(self) -> None:
        """Never silent: nothing seen is an error, something unseen a warning, an edit without effect an error."""
        report.account(
            self._records,
            self._model,
            ran=self._modules.ran,
            elsewhere=self._modules.elsewhere,
            outside=self._outside,
            left_out=self._left_out,
            idle=[edit for edit in self._edits if edit not in self._applied],
        )


@contextmanager
def heads_apart(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Layers that fold their heads together compute each by itself for as long as this lasts."""
    folding: list[Any] = [module for module in modules if vars(module).get("folds") is True]
    for module in folding:
        module.folds = False
    try:
        yield
    finally:
        for module in folding:
            module.folds = True


def _checked_edits(edit: Edit | Iterable[Edit], modules: Mapping[str, nn.Module]) -> list[Edit]:
    edits = [edit] if isinstance(edit, Edit) else list(edit)
    for given in edits:
        if not isinstance(given, Edit):
            raise TypeError(f"edit must be made by a function of mirada.interventions, got {given!r}")
    return [given.for_model(modules) for given in edits]


def _in_checkpoint() -> bool:
    frame, home = sys._getframe(), torch.utils.checkpoint.__file__
    while frame is not None:
        if frame.f_code.co_filename == home:
            return True
        frame = frame.f_back
    return False
