"""The tokens along one side of a matrix: their labels, the words they are pieces of, special ones, segments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, overload

from mirada.viewer.marks import by_marks, is_special

Segments = Mapping[str, Any]
"""Name → slice, range, or (start, stop) of tokens."""


@dataclass(frozen=True)
class Side(Sequence[str]):
    """The tokens along one side; as a sequence, their labels."""

    labels: tuple[str, ...]
    words: tuple[int, ...] = ()
    """The word of each token, not decreasing; () where each token is its own."""
    special: tuple[bool, ...] = ()
    """Whether a token belongs to no text ([CLS], </s>); () for none."""
    segments: tuple[tuple[str, int, int], ...] = ()
    """Name, first token and the one after the last; they don't overlap."""
    names: tuple[str, ...] = ()
    """The text of each word, as `words` numbers them; () for its tokens' labels, joined."""

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...

    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        return self.labels[at]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Side:
        """The first tokens alone."""
        segments = tuple((name, a, min(b, count)) for name, a, b in self.segments if a < count)
        inside = bool(self.words) and count < len(self) and self.words[count] == self.words[count - 1]
        special = self.special[:count] if any(self.special[:count]) else ()
        return Side(self.labels[:count], self.words[:count], special, segments, () if inside else self.names)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The first token of each word. None reaches over a segment's edge or holds special tokens beside others."""
        edges = {edge for _, first, after in self.segments for edge in (first, after)}
        special, words = self.special or (False,) * len(self), self.words or range(len(self))
        return tuple(
            at
            for at in range(len(self))
            if at == 0 or at in edges or special[at] or special[at] != special[at - 1] or words[at] != words[at - 1]
        )

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """First token of each word, and the one after its last."""
        return tuple(zip(self.starts, (*self.starts[1:], len(self)), strict=True))

    @cached_property
    def word_labels(self) -> tuple[str, ...]:
        """The text of each of the words that `spans` tells of."""
        whole = {}
        if self.names and self.words:
            bounds = [at for at in range(len(self)) if at == 0 or self.words[at] != self.words[at - 1]]
            whole = {
                (first, after): self.names[self.words[first]]
                for first, after in zip(bounds, [*bounds[1:], len(self)], strict=True)
            }
        return tuple(whole.get(span) or "".join(self.labels[slice(*span)]) for span in self.spans)


def side_of(labels: Sequence[Any], words: Any = None, special: Any = None, segments: Segments | None = None) -> Side:
    """The tokens of one side, checked. What is not given is read off the labels: marks of a vocabulary, [CLS], </s>.

    Raises:
        TypeError: labels that are one string, words or special tokens that are no list.
        ValueError: words, special tokens or segments that do not cover the tokens.

    >>> side = side_of(["[CLS]", "em", "##bed", "##s", "[SEP]"])
    >>> side.word_labels, side.special
    (('[CLS]', 'embeds', '[SEP]'), (True, False, False, False, True))
    """
    if isinstance(labels, Side):
        return labels
    if isinstance(labels, str):
        raise TypeError("labels: one string was given, wanted a list with a string for each token")
    texts = tuple(_text(label) for label in labels)
    hidden = _flags(special, len(texts)) if special is not None else tuple(is_special(text) for text in texts)
    marked = by_marks(texts)
    of_each, names = (), ()
    if words is not None:
        of_each = _numbers(words, len(texts))
    elif marked is not None:
        of_each, names = marked.words, marked.names
    shown = texts if marked is None else marked.labels
    return Side(shown, of_each, hidden if any(hidden) else (), _parts(segments, len(texts)), names)


def numbered(count: int) -> Side:
    """Tokens of which nothing is known but their positions."""
    return Side(tuple(map(str, range(count))))


def _text(word: Any) -> str:
    # Half a surrogate pair, as some tokenizers give it, is no character that a page could hold.
    return str(word).encode("utf-8", "replace").decode("utf-8")


def _numbers(words: Any, count: int) -> tuple[int, ...]:
    """Numbered anew from 0: a word is a run of one number; None (a tokenizer's special token) is a word of its own."""
    given = _listed("words", words)
    if len(given) != count:
        raise ValueError(f"words: got {len(given)}, wanted {count}, the word's number for each token (as word_ids())")
    if not all(word is None or (isinstance(word, int) and not isinstance(word, bool)) for word in given):
        wrong = next(word for word in given if not (word is None or isinstance(word, int)) or isinstance(word, bool))
        raise TypeError(f"words: got {wrong!r}, wanted a whole number for each token, or None for a token without one")
    found, word = [], -1
    for at, own in enumerate(given):
        word += at == 0 or own is None or own != given[at - 1]
        found.append(word)
    return tuple(found)


def _flags(special: Any, count: int) -> tuple[bool, ...]:
    given = _listed("special", special)
    if len(given) != count:
        raise ValueError(f"special: got {len(given)}, wanted {count}, True or False for each token")
    if not all(flag in (0, 1) for flag in given):
        raise ValueError("special: wanted True or False (1 or 0) for each token")
    return tuple(map(bool, given))


def _listed(name: str, given: Any) -> list[Any]:
    given = given.tolist() if hasattr(given, "tolist") else given
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise TypeError(f"{name}: got {type(given).__name__}, wanted a list with one entry for each token")
    return list(given)


def _parts(segments: Segments | None, count: int) -> tuple[tuple[str, int, int], ...]:
    if segments is None:
        return ()
    if not isinstance(segments, Mapping):
        raise TypeError(f"segments: got {type(segments).__name__}, wanted a dictionary: name → slice of tokens")
    found = sorted(((str(name), *_bounds(str(name), part, count)) for name, part in segments.items()), key=_first)
    for (name, _, after), (other, first, _) in pairwise(found):
        if first < after:
            raise ValueError(f"segments: {name!r} and {other!r} overlap at token {first}")
    return tuple(found)


def _first(part: tuple[str, int, int]) -> int:
    return part[1]


def _bounds(name: str, part: Any, count: int) -> tuple[int, int]:
    if isinstance(part, slice):
        part = range(part.start or 0, count if part.stop is None else part.stop, part.step or 1)
    if isinstance(part, tuple) and len(part) == 2:
        part = range(*part)
    if not isinstance(part, range) or part.step != 1 or not 0 <= part.start < part.stop <= count:
        raise ValueError(
            f"segments: {name!r} is {part!r}, wanted a slice of the {count} tokens, such as slice(0, {count})"
        )
    return part.start, part.stop
