"""Which tokens stand along the two sides of an attention matrix: text, decoder's text, patches, frames of sound."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mirada.models.inputs import Prepared
from mirada.viewer.labels import is_cross

_IMAGE = re.compile(r"vision|visual|image|vit\b", re.IGNORECASE)
_SOUND = re.compile(r"audio|speech|sound|wav", re.IGNORECASE)
_DECODER = re.compile(r"decoder", re.IGNORECASE)


@dataclass(frozen=True)
class Sides:
    """The labels of queries and keys, and whether both are one text."""

    queries: Sequence[str]
    keys: Sequence[str]
    ids: tuple[int, ...] | None = None
    """The tokens, where queries and keys are the same text."""


def sides(name: str, queries: int, keys: int, prepared: Prepared) -> Sides:
    """The sides of one attention call.

    Args:
        name: of the module that attended.
        queries: L.
        keys: S.
        prepared: the inputs of the forward pass.
    """
    if is_cross(name) and prepared.target is not None:
        return Sides(_text(prepared, "target", queries), _source(name, keys, prepared))
    if prepared.target is not None and _DECODER.search(name):
        return _square("target", queries, keys, prepared)
    if prepared.text is not None and not _IMAGE.search(name) and len(prepared.text) in (queries, keys):
        return _square("text", queries, keys, prepared)
    found = _source(name, keys, prepared)
    return Sides(found if queries == keys else _source(name, queries, prepared), found)


def _square(part: str, queries: int, keys: int, prepared: Prepared) -> Sides:
    tokens = getattr(prepared, part)
    whole = len(tokens) == queries == keys
    along = _text(prepared, part, keys)
    return Sides(along if queries == keys else _text(prepared, part, queries), along, tokens.ids if whole else None)


def _text(prepared: Prepared, part: str, count: int) -> Sequence[str]:
    tokens = getattr(prepared, part)
    return tokens.side() if tokens is not None and len(tokens) == count else _numbers(count)


def _source(name: str, count: int, prepared: Prepared) -> Sequence[str]:
    """What an encoder reads: patches, frames, or a text; numbers where nothing fits."""
    if prepared.patches is not None and (_IMAGE.search(name) or prepared.text is None):
        return prepared.patches.labels(count) or _numbers(count)
    if prepared.sound is not None and (_SOUND.search(name) or prepared.text is None):
        return prepared.sound.labels(count)
    return _text(prepared, "text", count)


def _numbers(count: int) -> Sequence[str]:
    return [str(n) for n in range(count)]
