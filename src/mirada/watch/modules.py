"""Which module is running: names for what is seen, and for what ran without being seen."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

_ATTENTION = re.compile(r"attention|attn", re.IGNORECASE)
# Parts of an attention that attend to nothing themselves.
_PART = re.compile(r"norm|mask|bias|drop|rotary|rope|embed|output|proj|config|cache", re.IGNORECASE)
_WRAPPED = re.compile(r"_orig_mod\.|\.?_orig_mod$")


@dataclass(frozen=True, eq=False, slots=True)
class Followed:
    """A module of the model, and what there is to know of it before it runs."""

    module: nn.Module
    name: str
    kind: str
    attends: bool  # by what it is called


class Modules:
    """Follows the modules of one model in one thread, by hooks that see nothing but the module's coming and going."""

    def __init__(self, model: nn.Module) -> None:
        # torch.compile wraps a module in another one; the name is that of the module.
        self.names = {module: _WRAPPED.sub("", name) for name, module in model.named_modules()}
        self._followed: dict[nn.Module, Followed] = {}
        self._running: list[tuple[Followed, int]] = []  # with the attention calls and complaints when it began
        self.noticed = 0
        self.ran = False
        self.unseen: dict[str, str] = {}
        self.elsewhere = False
        self._thread = threading.get_ident()
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Begins to follow."""
        for module, name in self.names.items():
            if isinstance(module, torch.jit.ScriptModule):
                if looks_like_attention(module):
                    self.unseen[name] = "it is scripted, and scripted code can't be looked into"
                continue
            if _is_simple(module):
                continue
            self._followed[module] = Followed(module, name, class_name(module), looks_like_attention(module))
            self._handles.append(module.register_forward_pre_hook(self._enter, prepend=True))
            self._handles.append(module.register_forward_hook(self._leave, always_call=True))

    def detach(self) -> None:
        """Leaves nothing behind."""
        while self._handles:
            self._handles.pop().remove()
        self._followed.clear()

    def __reduce__(self) -> tuple[Callable[[nn.Module], Modules], tuple[nn.Module]]:
        """A model that is copied or saved while it is watched takes its hooks along: they follow nothing there."""
        return Modules, (nn.Identity(),)

    @property
    def here(self) -> Followed | None:
        """The innermost module that is running."""
        return self._running[-1][0] if self._running else None

    def complain(self, name: str, why: str) -> None:
        """Notes an attention that can't be given back."""
        self.unseen.setdefault(name, why)
        self.noticed += 1

    def _enter(self, module: nn.Module, args: object) -> None:
        followed = self._followed.get(module)
        if followed is None:
            return
        if threading.get_ident() != self._thread:
            self.elsewhere = True
            return
        self.ran = True
        self._running.append((followed, self.noticed))

    def _leave(self, module: nn.Module, args: object, output: object) -> None:
        if threading.get_ident() != self._thread or module not in self._followed:
            return
        while self._running:
            left, noticed = self._running.pop()
            if left.module is module:
                break
        else:
            return
        if left.attends and noticed == self.noticed and not in_backward():
            self.complain(left.name, "it ran, and no attention call was seen in it")


def _is_simple(module: nn.Module) -> bool:
    """Whether this is one of torch's own with nothing inside: a Linear attends to nothing, and there are many."""
    return type(module).__module__.startswith("torch.nn.") and next(module.children(), None) is None


def class_name(module: nn.Module) -> str:
    """The class of a module, also where it was scripted."""
    return module.original_name if isinstance(module, torch.jit.ScriptModule) else type(module).__name__


def looks_like_attention(module: nn.Module) -> bool:
    """Whether a module is called an attention."""
    name = class_name(module)
    return bool(_ATTENTION.search(name)) and not _PART.search(name)


# A private name: without it, checkpointing's second forward is seen as a call of its own.
_graph_task: Callable[[], int] | None = getattr(torch._C, "_current_graph_task_id", None)


def in_backward() -> bool:
    """Whether this is gradient checkpointing's second forward, within a backward pass."""
    return _graph_task is not None and _graph_task() != -1
