"""Which module is running: names for what is seen, and for what ran without being seen."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
import torch.fx
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

_ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)
# Parts of an attention that attend to nothing themselves.
_PART = re.compile(r"norm|mask|bias|drop|rotary|rope|embed|output|proj|config|cache", re.IGNORECASE)
_ATTENDS = re.compile(r"softmax|attention|_sdp")
_WRAPPED = re.compile(r"_orig_mod\.|\.?_orig_mod$")


# The frame that every call of a module goes through has this code, and the module as `self`.
_CALL = getattr(nn.Module.__call__, "__code__", None)


@dataclass(frozen=True, eq=False, slots=True)
class Followed:
    """A module of the model that runs."""

    module: nn.Module
    name: str
    kind: str


class _Run(NamedTuple):
    """A module that runs, with the counts when it began."""

    module: nn.Module
    noticed: int  # attention calls and complaints
    products: int
    gates: int
    functions: int
    missing: list[str]  # parts that are called attentions in which none was seen


class Modules:
    """Knows which module of one model runs, in one thread.

    The innermost one is read off the stack of calls, which costs nothing until it is asked for. Hooks are left to the
    model itself and to what is called an attention, since these are to be missed where nothing of theirs is seen.
    """

    def __init__(self, model: nn.Module) -> None:
        self.names = _named(model)
        self._model = model
        self._running: list[_Run] = []
        self._closed: set[nn.Module] = set()
        self.gates = 0
        self.functions: Callable[[], int] = lambda: 0
        """How many functions of torch the model has called."""
        self.noticed = 0
        self.products = 0
        self.ran = False
        self.unseen: dict[str, str] = {}
        self.elsewhere = False
        self._thread = threading.get_ident()
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Begins to follow."""
        # Models have thousands of modules of a few classes.
        kinds = {kind: _known(kind) for kind in set(map(type, self.names))}
        closed: list[str] = []
        for module, name in self.names.items():
            kind = kinds[type(module)]
            if kind.closed:
                if any(name.startswith(f"{other}.") or not other for other in closed):
                    continue  # a part of a module that is closed itself
                closed.append(name)
                if attends_inside(module):
                    self._attach_closed(module)
            elif kind.attends or module is self._model:
                self._handles.append(module.register_forward_pre_hook(self._enter, prepend=True))
                self._handles.append(module.register_forward_hook(self._leave, always_call=True))
            elif kind.own:
                self._handles.append(module.register_forward_pre_hook(self._enter_part))

    def _attach_closed(self, module: nn.Module) -> None:
        if not isinstance(module, torch.jit.ScriptModule):
            self._handles.append(module.register_forward_pre_hook(self._enter_closed))
        elif not self._closed:  # scripted modules take no hooks of their own
            self._handles.append(register_module_forward_pre_hook(self._enter_closed))
        self._closed.add(module)

    def detach(self) -> None:
        """Leaves nothing behind."""
        while self._handles:
            self._handles.pop().remove()

    def __reduce__(self) -> tuple[Callable[[nn.Module], Modules], tuple[nn.Module]]:
        """A model that is copied or saved while it is watched takes its hooks along: they follow nothing there."""
        return Modules, (nn.Identity(),)

    @property
    def here(self) -> Followed | None:
        """The innermost module of the model that is running."""
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_code is _CALL:
                module = frame.f_locals["self"]
                name = self.names.get(module)
                if name is not None:
                    self.ran = True
                    return Followed(module, name, class_name(module))
            frame = frame.f_back
        return None

    def complain(self, name: str, why: str) -> None:
        """Notes an attention that can't be given back."""
        self.unseen.setdefault(name, why)
        self.noticed += 1

    def _enter(self, module: nn.Module, args: object) -> None:
        if module not in self.names:
            return
        if threading.get_ident() != self._thread:
            self._enter_part(module, args)
            return
        self.ran = True
        self._running.append(_Run(module, self.noticed, self.products, self.gates, self.functions(), []))

    def _enter_part(self, module: nn.Module, args: object) -> None:
        """A part that runs in another thread, for a model that runs in this one, can't be seen."""
        if threading.get_ident() == self._thread or module not in self.names:
            return
        if not self._running or self._model in _calling():
            self.elsewhere = True
        elif not any(self.names[module].startswith(f"{name}.") for name in self.unseen):
            self.complain(self.names[module], "it ran in another thread: enter the watch in the thread that calls it")

    def _enter_closed(self, module: nn.Module, args: object) -> None:
        if module in self._closed:
            self.ran |= threading.get_ident() == self._thread
            scripted = isinstance(module, torch.jit.ScriptModule)
            how = "scripted or traced, and such code" if scripted else "exported, and such a graph"
            self.complain(self.names[module], f"it is {how} does not show what it calls")

    def _leave(self, module: nn.Module, args: object, output: object) -> None:
        if threading.get_ident() != self._thread or module not in self.names:
            return
        while self._running:
            run = self._running.pop()
            if run.module is module:
                break
        else:
            return
        if in_backward():
            return
        if noticed := run.noticed != self.noticed:
            run.missing.clear()  # parts of an attention that was seen
        elif looks_like_attention(module) and self._attends(run):
            run.missing.append(self.names[module])
        outer = next((other for other in reversed(self._running) if looks_like_attention(other.module)), None)
        if noticed or not run.missing:
            return
        if outer is not None and run.products == self.products:
            outer.missing.extend(run.missing)
            return
        for name in run.missing:
            self.complain(name, "it ran, and no attention call was seen in it")

    def _attends(self, run: _Run) -> bool:
        """Whether a module that is called an attention may be one: where it does nothing, or is a gate, it is none.

        A gate of convolutions or pooled means multiplies no two tensors; a kernel of one's own may be anything.
        """
        if run.functions == self.functions():
            return False
        return run.products != self.products or run.gates == self.gates


def _named(model: nn.Module) -> dict[nn.Module, str]:
    """What `named_modules` gives, in a third of its time, by module."""
    names: dict[nn.Module, str] = {model: ""}

    def name_parts(whole: nn.Module, prefix: str) -> None:
        for own, part in whole._modules.items():
            if part is None or part in names:
                continue
            # torch.compile wraps a module in another one; the name is that of the module.
            name = _WRAPPED.sub("", prefix + own) if own == "_orig_mod" else prefix + own
            names[part] = name
            if part._modules:
                name_parts(part, f"{name}." if name else "")

    name_parts(model, "")
    return names


def class_name(module: nn.Module) -> str:
    """The class of a module, also where it was scripted."""
    return module.original_name if isinstance(module, torch.jit.ScriptModule) else type(module).__name__


def looks_like_attention(module: nn.Module) -> bool:
    """Whether a module is called an attention."""
    return _names_attention(class_name(module))


def _names_attention(name: str) -> bool:
    return bool(_ATTENTION.search(name)) and not _PART.search(name)


def _calling() -> list[nn.Module]:
    """The modules whose calls this thread is in."""
    found, frame = [], sys._getframe(1)
    while frame is not None:
        if frame.f_code is _CALL:
            found.append(frame.f_locals["self"])
        frame = frame.f_back
    return found


class _Kind(NamedTuple):
    closed: bool  # scripted, traced or exported
    attends: bool  # called an attention
    own: bool  # a class that isn't torch's


@cache
def _known(kind: type[nn.Module]) -> _Kind:
    closed = issubclass(kind, (torch.jit.ScriptModule, torch.fx.GraphModule))
    own = not kind.__module__.startswith("torch.nn.modules")
    return _Kind(closed, _names_attention(kind.__name__) and not closed, own)


def attends_inside(module: nn.Module) -> bool:
    """Whether the code of a scripted, traced or exported module has an attention in it that can't be seen."""
    if isinstance(module, torch.jit.ScriptModule):
        code = str(getattr(module, "inlined_graph", ""))
        return bool(_ATTENDS.search(code)) or looks_like_attention(module)
    graph = getattr(module, "graph", None)
    # A graph of torch's public functions shows what it calls; one of operators doesn't.
    return any(
        isinstance(node.target, torch._ops.OpOverload) and _ATTENDS.search(str(node.target))
        for node in getattr(graph, "nodes", ())
    )


# A private name: without it, checkpointing's second forward is seen as a call of its own.
_graph_task: Callable[[], int] | None = getattr(torch._C, "_current_graph_task_id", None)


def in_backward() -> bool:
    """Whether this is gradient checkpointing's second forward, within a backward pass."""
    return _graph_task is not None and _graph_task() != -1
