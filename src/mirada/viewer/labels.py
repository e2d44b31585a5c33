"""Which tokens stand along which side of a layer: what is given for one text or two, and which of them a layer has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mirada.viewer.side import Side, numbered, side_of

Labels = Sequence[str] | tuple[Sequence[str], Sequence[str]]

_CROSS = re.compile(r"enc_?dec|encoder_?attn|encoder_?attention|multihead_attn|cross", re.IGNORECASE)


@dataclass(frozen=True)
class Along:
    """The tokens of the queries (the target) and of the keys (the source); None where none were given."""

    target: Side | None
    source: Side | None
    pair: bool
    """Whether two texts were given."""

    def of(self, name: str, queries: int, keys: int) -> tuple[Side, Side]:
        """The sides of a layer of this name and size.

        Raises:
            ValueError: neither text is as long as a side.
        """
        target, source = self.target, self.source
        if target is None or source is None:
            return numbered(queries), numbered(keys)
        if self.pair:
            for one, other in _by_name(name, target, source):
                if (len(one), len(other)) == (queries, keys):
                    return one, other
            if queries != keys and (len(target), len(source)) == (keys, queries):
                raise ValueError(
                    f"labels: {name} has {queries} queries and {keys} keys, got {len(target)} words for its queries "
                    f"and {len(source)} for its keys: give the pair as (queries, keys)"
                )
        return _fitting(target, source, queries, f"{name}'s queries"), _fitting(source, target, keys, f"{name}'s keys")


def along_sides(labels: Labels | None, words: Any = None, special: Any = None, segments: Any = None) -> Along:
    """The sides of what is given: of one text, or of a pair (of the queries, of the keys).

    Raises:
        TypeError: labels that are one string; words, special or segments of the wrong kind.
        ValueError: words, special or segments that do not cover the tokens, or without labels.
    """
    if labels is None:
        given = {"words": words, "special": special, "segments": segments}
        for name in (name for name, one in given.items() if one is not None):
            raise ValueError(f"{name}: they are of the tokens that labels= names: give labels= too")
        return Along(None, None, pair=False)
    if isinstance(labels, str):
        raise TypeError("labels: one string was given, wanted a list with a string for each token")
    if not _is_pair(labels):
        side = side_of(labels, words, special, segments)  # pyright: ignore[reportArgumentType] - no pair
        return Along(side, side, pair=False)
    apart = [_apart(name, of) for name, of in (("words", words), ("special", special), ("segments", segments))]
    target, source = (side_of(one, *of) for one, of in zip(labels, zip(*apart, strict=True), strict=True))
    return Along(target, source, pair=True)


def is_cross(name: str) -> bool:
    """Whether a module's name says that its queries are of one text and its keys of another.

    >>> [is_cross(name) for name in ("decoder.layers.0.encoder_attn", "layers.1.multihead_attn", "encoder.self_attn")]
    [True, True, False]
    """
    return bool(_CROSS.search(name))


def _is_pair(labels: Any) -> bool:
    return isinstance(labels, tuple) and len(labels) == 2 and not any(isinstance(part, str) for part in labels)


def _apart(name: str, given: Any) -> tuple[Any, Any]:
    """What belongs to the queries and what to the keys."""
    if given is None:
        return None, None
    if not isinstance(given, tuple) or len(given) != 2:
        raise ValueError(f"{name}: labels are a pair, wanted a pair too: (of the queries, of the keys); None for none")
    return given


def _by_name(name: str, target: Side, source: Side) -> list[tuple[Side, Side]]:
    """The pairs of sides that a layer may have, most likely first: its name tells which side it is of."""
    parts = name.lower().split(".")
    if not is_cross(name):
        if any(part.startswith("decoder") for part in parts):
            return [(target, target), (target, source)]
        if any(part.startswith("encoder") for part in parts):
            return [(source, source), (target, source)]
    return [(target, source)]


def _fitting(side: Side, other: Side, count: int, of: str) -> Side:
    """The one of two texts that is as long as it must be: an encoder's own layers are labelled by the source alone."""
    for candidate in (side, other):
        if len(candidate) == count:
            return candidate
    lengths = " and ".join(str(length) for length in dict.fromkeys((len(side), len(other))))
    raise ValueError(f"labels: got {lengths}, wanted {count}, one for each of {of}; for two sides, a pair of lists")
