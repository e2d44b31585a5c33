"""Which module is running: names for what is seen, and for what ran without being seen."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

_ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)
# Parts of an attention that attend to nothing themselves.
_PART = re.compile(r"norm|mask|bias|drop|rotary|rope|embed|output|proj|config|cache", re.IGNORECASE)
_WRAPPED = re.compile(r"_orig_mod\.|\.?_orig_mod$")


# The frame that every call of a module goes through has this code, and the module as `self`.
_CALL = getattr(nn.Module.__call__, "__code__", None)


@dataclass(frozen=True, eq=False, slots=True)
class Followed:
    """A module of the model that runs."""

    module: nn.Module
    name: str
    kind: str


class Modules:
    """Knows which module of one model runs, in one thread.

    The innermost one is read off the stack of calls, which costs nothing until it is asked for. Hooks are left to the
    model itself and to what is called an attention, since these are to be missed where nothing of theirs is seen.
    """

    def __init__(self, model: nn.Module) -> None:
        self.names = _named(model)
        self._model = model
        self._running: list[tuple[nn.Module, int]] = []  # with the attention calls and complaints when it began
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
        followed = {kind for kind in set(map(type, self.names)) if any(_known(kind))}
        for module in [module for module in self.names if type(module) in followed or module is self._model]:
            name, (scripted, attends) = self.names[module], _known(type(module))
            if scripted:
                if looks_like_attention(module):
                    self.unseen[name] = "it is scripted, and scripted code can't be looked into"
            elif attends or module is self._model:
                self._handles.append(module.register_forward_pre_hook(self._enter, prepend=True))
                self._handles.append(module.register_forward_hook(self._leave, always_call=True))

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
            self.elsewhere = True
            return
        self.ran = True
        self._running.append((module, self.noticed))

    def _leave(self, module: nn.Module, args: object, output: object) -> None:
        if threading.get_ident() != self._thread or module not in self.names:
            return
        while self._running:
            left, noticed = self._running.pop()
            if left is module:
                break
        else:
            return
        if noticed == self.noticed and looks_like_attention(module) and not in_backward():
            self.complain(self.names[module], "it ran, and no attention call was seen in it")


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


@cache
def _known(kind: type[nn.Module]) -> tuple[bool, bool]:
    """Whether modules of a class are scripted, and whether the class is called an attention."""
    return issubclass(kind, torch.jit.ScriptModule), _names_attention(kind.__name__)


# A private name: without it, checkpointing's second forward is seen as a call of its own.
_graph_task: Callable[[], int] | None = getattr(torch._C, "_current_graph_task_id", None)


def in_backward() -> bool:
    """Whether this is gradient checkpointing's second forward, within a backward pass."""
    return _graph_task is not None and _graph_task() != -1
