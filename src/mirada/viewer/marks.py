"""Where words begin in the tokens of a vocabulary that marks it: Ġ (bytes), ▁ (SentencePiece), ## (WordPiece)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SPECIAL = re.compile(r"\[(CLS|SEP|PAD|BOS|EOS)\]|</?s>|<(pad|bos|eos|start_of_turn|end_of_turn)>|<\|[^|<>]+\|>")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class Marked:
    """Tokens without their marks."""

    labels: tuple[str, ...]
    words: tuple[int, ...]
    """The word of each token, numbered from 0."""
    names: tuple[str, ...]
    """The text of each word."""


def is_special(label: str) -> bool:
    """Whether a token belongs to no text: [CLS], </s>, <|endoftext|>, …

    >>> [is_special(one) for one in ("[CLS]", "<s>", "<|im_start|>", "[MASK]", "s")]
    [True, True, True, False, False]
    """
    return bool(_SPECIAL.fullmatch(label))


def by_marks(labels: Sequence[str]) -> Marked | None:
    """Tokens read by their marks; None where there are none.

    A word also begins where letters or digits follow something else, or something else follows them.

    >>> by_marks(["Un", "believ", "able", ",", "Ġsaid", "ĠâĤ", "¬"]).names
    ('Unbelievable', ',', 'said', '€')
    >>> by_marks(["em", "##bed", "##ding", "s", "."]).words
    (0, 0, 0, 1, 2)
    """
    kind = next((kind for kind in _KINDS if any(map(kind.marks, labels))), None)
    if kind is None:
        return None
    words: list[int] = []
    pieces: list[bytes] = []
    before = ""
    for at, label in enumerate(labels):
        special = is_special(label)
        piece = label.encode() if special else kind.piece(label)
        starts = at == 0 or special or is_special(labels[at - 1]) or kind.starts(label) or _turns(before, piece)
        before = piece.decode("utf-8", "ignore")
        words.append((words[-1] if words else -1) + starts)
        pieces.append(piece)
    names = [b"" for _ in range(words[-1] + 1)]
    for word, piece in zip(words, pieces, strict=True):
        names[word] += piece
    return Marked(
        tuple(_shown(piece, label) for piece, label in zip(pieces, labels, strict=True)),
        tuple(words),
        tuple(_shown(name, labels[words.index(word)]) for word, name in enumerate(names)),
    )


def _shown(piece: bytes, label: str) -> str:
    """A piece as text, without the space before it; the vocabulary's own name where it is no whole character."""
    try:
        text = piece.decode()
    except UnicodeDecodeError:
        return label
    return text.strip(" ") or text or label


def _turns(before: str, piece: bytes) -> bool:
    """Whether letters and digits end or begin between two pieces."""
    after = piece.decode("utf-8", "ignore")
    return bool(before and after) and before[-1].isalnum() != after[0].isalnum()


class _Bytes:
    """Byte-level BPE (GPT-2): each byte is written as a visible character, a space as Ġ."""

    def marks(self, label: str) -> bool:
        return label[:1] == "Ġ"

    def starts(self, label: str) -> bool:
        return label[:1] in ("Ġ", "Ċ")

    def piece(self, label: str) -> bytes:
        known = [_OF_CHARACTER.get(character) for character in label]
        return label.encode() if None in known else bytes(byte for byte in known if byte is not None)


class _Underlined:
    """SentencePiece: a space is written as ▁, a byte without a token as <0xE2>."""

    def marks(self, label: str) -> bool:
        return label[:1] == "▁"

    starts = marks

    def piece(self, label: str) -> bytes:
        byte = _BYTE.fullmatch(label)
        return bytes([int(byte[1], 16)]) if byte else label.replace("▁", " ").encode()


class _Continued:
    """WordPiece (BERT): what continues a word begins with ##."""

    def marks(self, label: str) -> bool:
        return label[:2] == "##" and len(label) > 2

    def starts(self, label: str) -> bool:
        return not self.marks(label)

    def piece(self, label: str) -> bytes:
        return (label[2:] if self.marks(label) else label).encode()


_KINDS = (_Bytes(), _Underlined(), _Continued())


def _characters() -> dict[str, int]:
    """The byte that each character stands for in GPT-2's vocabulary: printable ones themselves, others from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_OF_CHARACTER = _characters()
