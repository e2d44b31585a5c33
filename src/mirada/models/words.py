"""A text as a model's tokens, and the piece of the text that each token stands for, by the tokenizer's own offsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mirada.viewer.side import Side


@dataclass(frozen=True)
class Tokens:
    """The tokens of a text."""

    ids: tuple[int, ...]
    labels: tuple[str, ...]
    """The piece of the text that each token stands for; of a special token, its name."""
    words: tuple[int, ...]
    """The word that each token belongs to, numbered from 0."""
    special: tuple[bool, ...]
    """Whether a token was added by the tokenizer: no part of the text."""
    segments: dict[str, slice] = field(default_factory=dict)
    """Parts of the text by name, as slices of its tokens: the roles of a chat, prompt and continuation."""
    names: tuple[str, ...] = ()
    """The text of each word; () for its tokens' labels, joined."""

    def __len__(self) -> int:
        return len(self.ids)

    def side(self) -> Side:
        """As a view takes them."""
        segments = tuple((name, part.start, part.stop) for name, part in self.segments.items())
        special = self.special if any(self.special) else ()
        return Side(self.labels, self.words, special, segments, self.names)


def read(tokenizer: Any, text: str, *, special: bool = True) -> Tokens:
    """The tokens of a text, with their pieces of it.

    Args:
        tokenizer: of transformers.
        text: any string.
        special: add the tokens that the model expects around a text.

    Raises:
        ValueError: the text has no tokens.
    """
    fast = bool(getattr(tokenizer, "is_fast", False))
    found = tokenizer(text, add_special_tokens=special, return_offsets_mapping=fast, verbose=False)
    ids = [int(number) for number in found["input_ids"]]
    if not ids:
        raise ValueError("the text has 0 tokens: give at least one word")
    known = set(tokenizer.all_special_ids)
    if not fast:
        return of_ids(tokenizer, ids)
    spans = [tuple(span) for span in found["offset_mapping"]]
    names = tokenizer.convert_ids_to_tokens(ids)
    empty = [start == end for start, end in spans]
    labels = [name if none else text[slice(*span)] for name, span, none in zip(names, spans, empty, strict=True)]
    shown = tuple(map(_tidy, _numbered(labels, spans, empty)))
    words = _words(text, spans, empty, found.word_ids(0))
    names = tuple(
        shown[part[0]] if empty[part[0]] else _tidy(text[spans[part[0]][0] : spans[part[-1]][1]])
        for part in _members(words)
    )
    return Tokens(tuple(ids), shown, words, tuple(number in known for number in ids), names=names)


def of_ids(tokenizer: Any, ids: Sequence[int]) -> Tokens:
    """Tokens of which no text is known: generated ones, or those of a tokenizer without offsets."""
    names = [name_of(tokenizer, number) for number in ids]
    known = set(tokenizer.all_special_ids)
    labels, words, word = [], [], -1
    for number, name in zip(ids, names, strict=True):
        piece = tokenizer.decode([number])
        whole = piece and "\ufffd" not in piece
        starts = (
            number in known
            or name[:1] in ("Ġ", "▁", "Ċ")
            or not labels
            or not (piece[:1].isalnum() or name[:2] == "##")
        )
        word += bool(starts)
        words.append(max(word, 0))
        labels.append(_tidy(piece) if whole and number not in known else name)
    pieces = [tokenizer.decode([ids[at] for at in part]) for part in _members(words)]
    ok = [bool(piece) and "\ufffd" not in piece for piece in pieces]
    whole = [
        _tidy(piece) if fine and ids[part[0]] not in known else "".join(labels[at] for at in part)
        for piece, fine, part in zip(pieces, ok, _members(words), strict=True)
    ]
    flags = tuple(number in known for number in ids)
    return Tokens(tuple(ids), tuple(labels), tuple(words), flags, names=tuple(whole))


def name_of(tokenizer: Any, number: int) -> str:
    """A token as the vocabulary writes it; its number where the vocabulary has no such token."""
    name = tokenizer.convert_ids_to_tokens(number)
    return f"#{number}" if name is None else str(name)


def piece_of(tokenizer: Any, number: int) -> str:
    """What a token writes, white space included; its name where it is no whole character."""
    text = tokenizer.decode([number])
    return text if text and "\ufffd" not in text else name_of(tokenizer, number)


def joined(first: Tokens, second: Tokens, names: tuple[str, str]) -> Tokens:
    """Two texts, one after the other, as segments with these names."""
    after = first.words[-1] + 1 if first.words else 0
    segments = first.segments or {names[0]: slice(0, len(first))}
    return Tokens(
        first.ids + second.ids,
        first.labels + second.labels,
        first.words + tuple(after + word for word in second.words),
        first.special + second.special,
        segments | {names[1]: slice(len(first), len(first) + len(second))},
        first.names + second.names,
    )


def chat(tokenizer: Any, text: str) -> Tokens:
    """A text as what a user says in a chat, by the tokenizer's own template; the roles are segments.

    Raises:
        ValueError: the tokenizer has no chat template.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError("chat: this model's tokenizer has no chat template")
    said = [{"role": "user", "content": text}]
    whole = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    tokens = read(tokenizer, whole, special=False)
    at = whole.rfind(text)
    if at < 0 or not getattr(tokenizer, "is_fast", False):
        return tokens
    spans = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    start = sum(span[1] <= at for span in spans)
    end = sum(span[0] < at + len(text) for span in spans)
    parts = {"system": slice(0, start), "user": slice(start, end), "assistant": slice(end, len(tokens))}
    segments = {name: part for name, part in parts.items() if part.start < part.stop}
    return replace(tokens, segments=segments)


def _numbered(labels: Sequence[str], spans: Sequence[tuple[int, ...]], empty: Sequence[bool]) -> list[str]:
    """Several tokens may share one character, as bytes of it: each says which of them it is."""
    numbered, run = list(labels), 1
    for at in range(1, len(labels)):
        start = spans[at][0]
        shares = not empty[at] and not empty[at - 1] and start < spans[at - 1][1]
        run = run + 1 if shares else 1
        if shares:
            numbered[at] = f"{labels[at].strip()}·{run}"
    return numbered


def _words(
    text: str, spans: Sequence[tuple[int, ...]], empty: Sequence[bool], own: Sequence[int | None]
) -> tuple[int, ...]:
    """A new word begins where the tokenizer's own pre-tokenizer or white space says so."""
    words, word = [], -1
    for at, (start, end) in enumerate(spans):
        piece = text[start:end]
        spaced = piece[:1].isspace() or (start > 0 and text[start - 1].isspace() and start >= spans[at - 1][1])
        begins = at == 0 or empty[at] or empty[at - 1] or own[at] != own[at - 1] or spaced
        word += bool(begins)
        words.append(word)
    return tuple(words)


def _members(words: Sequence[int]) -> list[list[int]]:
    """The tokens of each word."""
    found: list[list[int]] = [[] for _ in range(words[-1] + 1 if words else 0)]
    for at, word in enumerate(words):
        found[word].append(at)
    return found


def _tidy(piece: str) -> str:
    """Without the space before a word; white space alone stays as it is."""
    return piece.strip(" ") or piece
