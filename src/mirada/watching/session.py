"""One watched block: catches calls while it is open, and says at its end what was and wasn't seen."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from mirada.masks import is_causal
from mirada.watching import compile, flex, functorch, report, sdpa
from mirada.watching import edits as editing
from mirada.watching.call import Call
from mirada.watching.edits import Edit
from mirada.watching.functorch import unseen
from mirada.watching.glance import Glance, can_wait
from mirada.watching.gqa import unpacked
from mirada.watching.intercept import Catcher
from mirada.watching.keeping import Keeper
from mirada.watching.masks import OfHeads
from mirada.watching.modules import Followed, Modules, in_backward
from mirada.watching.questions import Inquiry, Question, inquiry
from mirada.watching.records import AttentionRecord, Inputs, Records
from mirada.watching.select import check_heads, check_layers, in_layers, resolve_heads, take_heads

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
            raise ValueError(f"keep must be 'inputs' or 'summaries', got {keep!r}")
        if ask is not None and keep != "statistics":
            raise ValueError("ask goes with keep='statistics'; with keep='inputs' ask the sightings' matrices")
        self._modules = Modules(model)
        names = self._modules.names.values()
        self._layers, self._heads = check_layers(layers, names), check_heads(heads)
        self._edits = _checked_edits(edit, names)
        self._inquiry = inquiry(ask) if keep == "statistics" else None
        self._device = None if device is None else torch.device(device)
        self._keeper = Keeper(self._device)
        self._applied: set[Edit] = set()
        self._left_out: set[str] = set()
        self._outside = 0
        self._of_module: dict[str, list[int]] = {}
        self._model = model
        self._seen = Records()
        everything = keep == "inputs" and layers is None and heads is None and device is None
        self._hasty = everything and not self._edits
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
            entered.enter_context(Catcher(self))
            self._open = entered.pop_all()
        self._state = "open"
        return self._seen

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state != "open":
            raise ValueError(f"this watch is {self._state}, not open: a block is left once")
        self._state = "left"
        self._open.close()
        self._seen.unseen = self._modules.unseen
        if error is None:
            self._account()

    def attend(self, call: Call, compute: Callable[[], Tensor]) -> Tensor:
        """Takes note of a call, edits it where that was asked, and gives its context."""
        return self.attended(call, compute)[1]

    def attended(self, call: Call, compute: Callable[[], Tensor]) -> tuple[Call, Tensor]:
        """The same, with the call as it was computed: another one where it was edited."""
        here = self._modules.here
        if here is None:
            self._outside += 1
            return call, compute()
        if in_backward():
            return call, compute()
        self._modules.noticed += 1
        call = unpacked(call, here.module)
        concerned = [edit for edit in self._edits if edit.concerns(here.name)]
        if concerned:
            call, context = self._edited(concerned, call, here, compute)
        else:
            context = compute()
        if not in_layers(self._layers, here.name):
            self._seen.left_out += 1
            self._left_out.add(here.name)
        elif self._inquiry is not None and not flex.understood(call):
            self._modules.complain(
                here.name, "its score_mod does more than add to the score (a softcap?): watch with keep='inputs'"
            )
        else:
            with unseen():
                self._sight(call, context, here, concerned)
        return call, context

    def pass_by(self, func: Callable[..., Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Takes note of a call of `F.scaled_dot_product_attention` and gives its context: later, if it can wait."""
        here = self._modules.here if self._hasty else None
        if here is None or not self._may_wait(here) or not can_wait(args, kwargs):
            return self.attend(sdpa.read(*args, **kwargs), lambda: func(*args, **kwargs))
        computed = sdpa.computed(*args, **kwargs)
        context = func(*args, **kwargs)
        self._modules.noticed += 1
        self._of_module[here.name] = [len(self._seen)]
        kept = context if context.requires_grad else None
        self._seen.note(Glance(args, kwargs, here, computed, len(self._seen), kept))
        return context

    def _may_wait(self, here: Followed) -> bool:
        # A module's second call may go on from its first, and heads that are packed are known by their module.
        again = here.name in self._of_module or "num_key_value_groups" in vars(here.module)
        return not again and not in_backward()

    def cannot_follow(self, why: str) -> None:
        """Takes note of an attention that can't be given back."""
        here = self._modules.here
        if here is not None and not in_backward():
            self._modules.complain(here.name, why)

    def heads_here(self) -> int | None:
        """How many heads torch's own module has folded into its batch."""
        here = self._modules.here
        return here.module.num_heads if here is not None and isinstance(here.module, nn.MultiheadAttention) else None

    def _edited(
        self, edits: list[Edit], call: Call, here: Followed, compute: Callable[[], Tensor]
    ) -> tuple[Call, Tensor]:
        if functorch.transformed((call.query, call.key, call.value)):
            raise ValueError(
                f"edit can't reach {here.name!r} under vmap or another torch.func transform: call it plainly"
            )
        if _in_checkpoint():
            raise ValueError(
                f"edit can't reach {here.name!r} under gradient checkpointing, whose second forward would be "
                "unedited: switch checkpointing off"
            )
        self._applied.update(edits)
        packed = call.query.shape[-2] == 1 and call.enable_gqa
        shape: list[torch.Size] = []

        def context() -> Tensor:
            found = compute()
            shape.append(found.shape)
            return found.reshape(*call.query.shape[:-1], found.shape[-1]) if packed else found

        edited, found = editing.apply(edits, call, here.name, context)
        return edited, found.reshape(shape[0])

    def _sight(self, call: Call, context: Tensor, here: Followed, edits: list[Edit]) -> None:
        transformed = functorch.transformed((call.query, call.key, call.value))
        if transformed:
            tensors = functorch.plain((call.query, call.key, call.value, *call.masks))
            call = replace(call, query=tensors[0], key=tensors[1], value=tensors[2], masks=tuple(tensors[3:]))
        heads = None if self._heads is None else resolve_heads(self._heads, call.heads, here.name)
        shape, masked = call.shape, call.masked  # of a rule for some heads nobody could say what it was
        if heads is not None:
            call, shape = _of_heads(call, heads), torch.Size((*shape[:-3], len(heads), *shape[-2:]))
        whole = heads is None and not transformed and context.requires_grad and self._device is None
        calls = self._of_module.setdefault(here.name, [])
        record = AttentionRecord.of(
            call,
            index=len(self._seen),
            name=here.name,
            module=here.kind,
            nth=len(calls),
            shape=shape,
            heads=None if heads is None else tuple(heads),
            masked=masked,
            edits=tuple(edit.kind for edit in edits),
            answers={} if self._inquiry is None else self._answers(self._inquiry, call, transformed),
            context=context if whole and self._inquiry is None else None,
            inputs=self._inputs(call, calls) if self._inquiry is None else None,
        )
        self._seen.note(record)
        calls.append(record.index)

    def _answers(self, ask: Inquiry, call: Call, transformed: bool) -> Mapping[str, object]:
        with torch.no_grad(), functorch.outside() if transformed else nullcontext():
            answers = ask(call.each(Tensor.detach).matrix())
        return {
            name: answer.to(self._device) if self._device and isinstance(answer, Tensor) else answer
            for name, answer in answers.items()
        }

    def _inputs(self, call: Call, calls: list[int]) -> Inputs:
        query, key, value = map(self._keeper.keep, (call.query, call.key, call.value))
        masks = tuple(map(self._keeper.keep_mask, call.masks))
        before = self._seen.records[calls[-1]].inputs if calls else None
        if before is not None and not key.tensor.requires_grad:
            # Where a cache grew by joining, the former step's keys are the beginning of these: kept once, not twice.
            key, value = before.key.grow(key) or key, before.value.grow(value) or value
        return Inputs(call.let_go(), query, key, value, masks)

    def _account(self) -> None:
        """Never silent: nothing seen is an error, something unseen a warning, an edit without effect an error."""
        report.account(
            self._seen,
            self._model,
            ran=self._modules.ran,
            elsewhere=self._modules.elsewhere,
            outside=self._outside,
            left_out=self._left_out,
            idle=[edit for edit in self._edits if edit not in self._applied],
        )


def _checked_edits(edit: Edit | Iterable[Edit], names: Iterable[str]) -> list[Edit]:
    edits = [edit] if isinstance(edit, Edit) else list(edit)
    for given in edits:
        if not isinstance(given, Edit):
            raise TypeError(f"edit must be made by ablate, cut or uniform of mirada.watch, got {given!r}")
    return [given.for_model(list(names)) for given in edits]


def _of_heads(call: Call, heads: list[int]) -> Call:
    count = call.query.shape[-3]
    rule = call.rule if call.rule is None or is_causal(call.rule) else OfHeads(call.rule, heads, count)
    return replace(call.each(lambda tensor: take_heads(tensor, heads, count)), rule=rule, enable_gqa=False)


def _in_checkpoint() -> bool:
    frame, home = sys._getframe(), torch.utils.checkpoint.__file__
    while frame is not None:
        if frame.f_code.co_filename == home:
            return True
        frame = frame.f_back
    return False
