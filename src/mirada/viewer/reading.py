"""How the tokens of a scene are read: merged into words, without special ones, a block of segments alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mirada.masks import dense
from mirada.viewer.rows import ByRows, Grouped
from mirada.viewer.scene import Given, Layer, Scene
from mirada.viewer.side import Side


@dataclass(frozen=True)
class Reading:
    """A page's choices; as they stand, every token for itself."""

    words: bool = False
    """Tokens merged into words: summed over keys, averaged over queries, as ``A.merge``."""
    plain: bool = False
    """Without special tokens; the rest of each row renormalised, as ``A.restrict``."""
    asking: int | None = None
    """The segment whose queries are shown; None for all."""
    asked: int | None = None
    """The segment whose keys are shown, their weights as they are."""

    @classmethod
    def of(cls, text: str) -> Reading:
        """As the page writes it: "words,plain,from0,to1", any of these.

        Raises:
            ValueError: something else.
        """
        given: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            name = part.rstrip("0123456789")
            number = part[len(name) :]
            if name not in _NAMES or (name in ("words", "plain")) == bool(number) or len(number) > 6:
                raise ValueError(f"reading: got {text[:40]!r}, wanted words, plain, from0, to0, …, joined by commas")
            given[_NAMES[name]] = int(number) if number else True
        return cls(**given)

    def scene(self, whole: Scene) -> Scene:
        """A scene, read so.

        Raises:
            ValueError: nothing would be left of a layer.
        """
        return replace(whole, layers=tuple(map(self.layer, whole.layers)))

    def layer(self, layer: Layer) -> Layer:
        """A layer, read so."""
        assert not isinstance(layer.matrix, ByRows), "a layer is read once"
        queries, keys = self.spans(layer.queries, self.asking), self.spans(layer.keys, self.asked)
        matrix = _without_special(layer.matrix, layer.keys) if self.plain else layer.matrix
        grouped = Grouped(matrix, torch.tensor(queries), torch.tensor(keys))
        return replace(layer, matrix=grouped, value=None, tokens=None)

    def spans(self, side: Side, segment: int | None) -> list[tuple[int, int]]:
        """The groups of a side's tokens: the first of each, and the one after its last.

        Raises:
            ValueError: there are none.
        """
        first, after = (0, len(side))
        if segment is not None and segment < len(side.segments):
            _, first, after = side.segments[segment]
        groups = side.spans if self.words else [(at, at + 1) for at in range(len(side))]
        hidden = side.special if self.plain and side.special else (False,) * len(side)
        left = [span for span in groups if first <= span[0] and span[1] <= after and not hidden[span[0]]]
        if not left:
            raise ValueError("reading: all of its tokens are special ones, nothing would be left")
        return left


_NAMES = {"words": "words", "plain": "plain", "from": "asking", "to": "asked"}


def _without_special(matrix: Given, keys: Side) -> Given:
    if not any(keys.special):
        return matrix
    shown: Tensor = ~torch.tensor(keys.special, device=matrix.device)
    return matrix.restrict(dense(shown))


def texts(sides: Mapping[Side, int]) -> list[dict[str, Any]]:
    """What a page must know of each text to read it: words, special tokens, segments; nothing where there are none."""
    return [
        {
            name: found
            for name, found in (
                ("starts", side.starts if len(side.starts) < len(side) else ()),
                ("names", side.word_labels if len(side.starts) < len(side) else ()),
                ("special", [at for at, special in enumerate(side.special) if special]),
                ("segments", side.segments),
            )
            if found
        }
        for side in sides
    ]
