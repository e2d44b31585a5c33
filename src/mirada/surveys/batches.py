"""What a model is called with, and what is known of the texts in it: their tokens, and which of them are padding."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mirada.surveys.copies import Copies
from mirada.viewer.labels import is_cross

_DECODER = re.compile(r"decoder", re.IGNORECASE)
_HIDES = ("key_padding_mask", "src_key_padding_mask")  # torch.nn's: True = padding


@dataclass(frozen=True, eq=False)
class Tokens:
    """One side of a batch: the text, or what a decoder beside an encoder is given."""

    real: Tensor
    """(texts, L) bool: not padding."""
    ids: Tensor | None = None
    """(texts, L) integers."""

    @cached_property
    def copies(self) -> Copies | None:
        """Earlier copies of each token, the same for all layers; None where the tokens are not known."""
        return None if self.ids is None else Copies(self.ids, self.real)


@dataclass(frozen=True, eq=False)
class Batch:
    """Some texts, as a model takes them."""

    inputs: Any
    """What the model is called with: a mapping of arguments, a tuple of them, or one."""
    text: Tokens | None
    target: Tokens | None
    """The decoder's tokens, where there is one."""
    names: Sequence[int]
    """The number of each text in the corpus."""

    @property
    def size(self) -> int:
        """How many texts there are."""
        return len(self.names)

    @property
    def tokens(self) -> int:
        """How many tokens are real."""
        return sum(int(side.real.sum()) for side in (self.text, self.target) if side is not None)

    @property
    def padding(self) -> int:
        """How many are padding."""
        sides = (side.real for side in (self.text, self.target) if side is not None)
        return sum(real.numel() - int(real.sum()) for real in sides)

    def run(self, model: nn.Module) -> Any:
        """The model's output."""
        if isinstance(self.inputs, Mapping):
            return model(**self.inputs)
        return model(*self.inputs) if isinstance(self.inputs, tuple | list) else model(self.inputs)

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        text, target = (_side_on(side, device) for side in (self.text, self.target))
        return Batch(_moved(self.inputs, device), text, target, self.names)

    def single(self, text: int) -> Batch:
        """One of its texts."""
        part = slice(text, text + 1)
        text_side, target = (
            None if side is None else Tokens(side.real[part], None if side.ids is None else side.ids[part])
            for side in (self.text, self.target)
        )
        return Batch(_cut(self.inputs, part, self.size), text_side, target, self.names[part])

    def sides(self, name: str, queries: int, keys: int) -> tuple[Tokens, Tokens, bool]:
        """The tokens of an attention's queries and keys, and whether they are the same ones.

        Args:
            name: of the module.
            queries: L.
            keys: S.
        """
        text, target = self.text, self.target
        if target is not None and is_cross(name):
            return self._fitting(target, queries), self._fitting(text, keys), False
        own = target if target is not None and _DECODER.search(name) else text
        same = queries == keys and not is_cross(name)
        return self._fitting(own, queries), self._fitting(own, keys), same

    def _fitting(self, side: Tokens | None, length: int) -> Tokens:
        if side is not None and side.real.shape[-1] == length:
            return side
        device = next((one.real.device for one in (self.text, self.target) if one is not None), None)
        return Tokens(torch.ones(self.size, length, dtype=torch.bool, device=device))


def as_batch(given: Any, number: int) -> Batch:
    """A batch of what a user gives: a mapping of arguments, a tuple or list of them, or one tensor.

    Token ids are found under ``input_ids`` or are the first integers (texts, L); padding by ``attention_mask``, or by
    torch's ``src_key_padding_mask`` (True = padding).

    Raises:
        ValueError: no tensor in it; a mask that doesn't fit the tokens.
    """
    named = dict(given) if isinstance(given, Mapping) else {}
    tensors = [value for value in (named.values() if named else _listed(given)) if isinstance(value, Tensor)]
    tensors = [value for value in tensors if value.ndim]
    if not tensors:
        raise ValueError(
            f"batches: number {number} holds no tensor, got {type(given).__name__}: wanted a mapping of the model's "
            "arguments, a tuple of them, or one tensor; texts go with tokenizer="
        )
    first = named.get("input_ids", tensors[0])
    text = _text(first, named, number)
    decoder = named.get("decoder_input_ids")
    target = None if decoder is None else _tokens(decoder, named.get("decoder_attention_mask"), number)
    return Batch(named or given, text, target, range(len(first)))


def _text(first: Tensor, named: Mapping[str, Any], number: int) -> Tokens | None:
    ids = first if first.ndim == 2 and not first.is_floating_point() else None
    hides = next((named[name] for name in _HIDES if isinstance(named.get(name), Tensor)), None)
    shown = named.get("attention_mask")
    if isinstance(shown, Tensor) and shown.ndim != 2:
        shown = None  # a mask of queries × keys says nothing of padding
    if shown is None and isinstance(hides, Tensor) and hides.dtype == torch.bool:
        shown = ~hides
    if ids is not None:
        return _tokens(ids, shown, number)
    return None if shown is None else Tokens(shown.bool())


def _tokens(ids: Tensor, shown: Tensor | None, number: int) -> Tokens:
    if shown is not None and shown.shape != ids.shape:
        raise ValueError(
            f"batches: attention_mask of number {number} has shape {tuple(shown.shape)}, its tokens {tuple(ids.shape)}"
        )
    return Tokens(torch.ones_like(ids, dtype=torch.bool) if shown is None else shown.bool(), ids)


def _listed(given: Any) -> Sequence[Any]:
    return given if isinstance(given, tuple | list) else [given]


def _moved(given: Any, device: torch.device) -> Any:
    if isinstance(given, Tensor):
        return given.to(device)
    if isinstance(given, Mapping):
        return {name: _moved(value, device) for name, value in given.items()}
    return type(given)(_moved(value, device) for value in given) if isinstance(given, tuple | list) else given


def _side_on(side: Tokens | None, device: torch.device) -> Tokens | None:
    if side is None:
        return None
    return Tokens(side.real.to(device), None if side.ids is None else side.ids.to(device))


def _cut(given: Any, part: slice, size: int) -> Any:
    """The part of each tensor whose first dimension counts texts."""
    if isinstance(given, Tensor):
        return given[part] if given.ndim and len(given) == size else given
    if isinstance(given, Mapping):
        return {name: _cut(value, part, size) for name, value in given.items()}
    return type(given)(_cut(value, part, size) for value in given) if isinstance(given, tuple | list) else given
