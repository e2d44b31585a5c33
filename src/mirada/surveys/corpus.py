"""Texts, read one after the other, cut into windows, packed by length into batches, in rounds.

After a round all processes add up what they have, and it is kept. What a round holds depends on the corpus and the
options alone, never on the number of processes: so any number of them counts the same, and a survey that was broken off
goes on at the first text that is not kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from mirada.surveys.batches import Batch, Tokens, as_batch

Read = Iterator[tuple[str, str | None, str]]
"""Of each text: what it is called, the text, and why there is none."""
Window = tuple[int, Sequence[int]]
"""The number of a window in the corpus, and its tokens."""


_FULL = 0.8  # of a batch's rows: a shorter window begins a batch of its own


@dataclass(frozen=True)
class WindowOf:
    """A window of a text, or the whole of it."""

    name: str
    """Of the text: its line, or its batch and row."""
    start: int
    """Its first token's place in the text."""
    ids: tuple[int, ...]
    """Its tokens, where they are known."""


@dataclass
class Round:
    """Some texts, as batches; what is said of them is there once all batches are taken."""

    batches: Iterator[Batch]
    size: int | None = None
    """How many batches, where that is known before."""
    texts: int = 0
    """How many texts (or batches) were read."""
    windows: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Texts that were not counted, and why."""
    windows_of: dict[int, WindowOf] = field(default_factory=dict)
    """Each window by its number."""


def read(path: Path) -> Read:
    """The texts of a file: lines of ``.txt``, "text" of each line of ``.jsonl``, the column "text" of ``.parquet``.

    Raises:
        ValueError: another kind of file.
        RuntimeError: pyarrow is missing.
        OSError: the file can't be read.
    """
    kinds: dict[str, Callable[[Path], Read]] = {".txt": _lines, ".jsonl": _json_lines, ".parquet": _parquet}
    if path.suffix not in kinds:
        raise ValueError(f"{path}: wanted a .txt, .jsonl or .parquet file of texts")
    return kinds[path.suffix](path)


def rounds_of_texts(
    texts: Iterable[str] | Read,
    tokenizer: Any,
    *,
    every: int,
    length: int,
    tokens: int,
    skip: tuple[int, int] = (0, 0),
    arguments: Mapping[str, Any] | None = None,
) -> Iterator[Round]:
    """Rounds of ``every`` texts.

    Args:
        texts: strings, or what `read` gives.
        tokenizer: of transformers.
        every: texts a round.
        length: the longest window, in tokens.
        tokens: of a batch at the most, padding included.
        skip: how many texts and windows are counted already.
        arguments: more of the model's arguments, for each batch.
    """
    source = islice(enumerate(texts), skip[0], None)
    windows = skip[1]
    while chunk := list(islice(source, every)):
        named = [_named(number, given) for number, given in chunk]
        found = Round(iter(()), texts=len(chunk), skipped=[(name, why) for name, text, why in named if text is None])
        good = [(name, text) for name, text, _ in named if text is not None]
        cut: list[Window] = []
        for (name, _), of_text in zip(good, _windows(tokenizer, [text for _, text in good], length), strict=True):
            if not of_text:
                found.skipped.append((name, "0 tokens"))
            for start, ids in of_text:
                found.windows_of[windows] = WindowOf(name, start, tuple(ids))
                cut.append((windows, ids))
                windows += 1
        found.windows = windows
        packed = list(_packed(cut, tokens))
        found.size = len(packed)
        found.batches = (_padded(part, tokenizer, arguments or {}) for part in packed)
        yield found


def rounds_of_batches(batches: Iterable[Any], *, every: int, skip: tuple[int, int] = (0, 0)) -> Iterator[Round]:
    """Rounds of ``every`` batches that a user gives, one after the other."""
    source = islice(enumerate(batches), skip[0], None)
    windows = skip[1]
    for first in source:
        found = Round(iter(()), windows=windows)

        def taken(found: Round, first: tuple[int, Any]) -> Iterator[Batch]:
            for number, given in chain([first], islice(source, every - 1)):
                batch = as_batch(given, number)
                found.texts += 1
                names = range(found.windows, found.windows + batch.size)
                found.windows = names.stop
                rows = [()] * batch.size if batch.text is None or batch.text.ids is None else batch.text.ids.tolist()
                found.windows_of |= {
                    name: WindowOf(f"batch {number} row {row}", 0, tuple(ids))
                    for row, (name, ids) in enumerate(zip(names, rows, strict=True))
                }
                yield replace(batch, names=names)

        found.batches = taken(found, first)
        yield found
        windows = found.windows


def _named(number: int, given: Any) -> tuple[str, str | None, str]:
    """A text's name, the text, and why there is none to count."""
    name, text, why = (f"text {number + 1}", given, "") if isinstance(given, str) else given
    if text is not None and not text.strip():
        return name, None, "empty"
    try:
        (text or "").encode()
    except UnicodeEncodeError:
        return name, None, "not UTF-8 (half of a surrogate pair)"
    return name, text, why


def _windows(tokenizer: Any, texts: list[str], length: int) -> list[list[tuple[int, list[int]]]]:
    """Each text as windows: the place of its first token, and its tokens, special ones around them included."""
    found: list[list[tuple[int, list[int]]]] = [[] for _ in texts]
    if not texts:
        return found
    if not getattr(tokenizer, "is_fast", False):
        for text, windows in zip(texts, found, strict=True):
            ids = tokenizer(text, verbose=False)["input_ids"]
            windows += [(start, ids[start : start + length]) for start in range(0, len(ids), length)]
        return found
    around = tokenizer.num_special_tokens_to_add()
    if around >= length:
        raise ValueError(f"length must be more than the {around} special tokens around each window, got {length}")
    cut = tokenizer(texts, truncation=True, max_length=length, return_overflowing_tokens=True, verbose=False)
    for text, ids in zip(cut["overflow_to_sample_mapping"], cut["input_ids"], strict=True):
        if len(ids) > around:
            found[text].append((len(found[text]) * (length - around), ids))
    return found


def _packed(windows: list[Window], tokens: int) -> Iterator[list[Window]]:
    """Windows of like length together, longest first, so that a batch that is too large for memory is met at once."""
    ordered = sorted(windows, key=lambda window: (-len(window[1]), window[0]))
    while ordered:
        longest = len(ordered[0][1])
        part = [one for one in ordered[: max(1, tokens // longest)] if len(one[1]) >= _FULL * longest]
        yield part
        ordered = ordered[len(part) :]


def _padded(windows: list[Window], tokenizer: Any, arguments: Mapping[str, Any]) -> Batch:
    """A batch with padding on the right."""
    longest = max(len(ids) for _, ids in windows)
    fill = getattr(tokenizer, "pad_token_id", None) or 0
    ids = torch.full((len(windows), longest), fill)
    real = torch.zeros(len(windows), longest, dtype=torch.bool)
    for row, (_, window) in enumerate(windows):
        ids[row, : len(window)] = torch.tensor(window)
        real[row, : len(window)] = True
    inputs = {"input_ids": ids, "attention_mask": real.long(), **arguments}
    return Batch(inputs, Tokens(real, ids), None, [number for number, _ in windows])


# --- files ---


def count(path: Path) -> int:
    """How many lines or rows a file of texts has."""
    if path.suffix == ".parquet":
        return _opened(path).metadata.num_rows
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _lines(path: Path) -> Read:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8").strip()
            except UnicodeDecodeError:
                yield f"line {number}", None, "not UTF-8"
                continue
            if text:
                yield f"line {number}", text, ""


def _json_lines(path: Path) -> Read:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"line {number}", *_of_json(line)


def _of_json(line: bytes) -> tuple[str | None, str]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None, "not JSON"
    text = found.get("text") if isinstance(found, dict) else found
    return (text, "") if isinstance(text, str) else (None, 'no "text" in it')


def _parquet(path: Path) -> Read:
    file = _opened(path)
    if "text" not in file.schema_arrow.names:
        raise ValueError(f"{path}: no column 'text'; there are {', '.join(file.schema_arrow.names)}")
    number = 0
    for batch in file.iter_batches(1024, columns=["text"]):
        for text in batch.column(0).to_pylist():
            number += 1
            yield f"row {number}", text if isinstance(text, str) else None, 'no "text" in it'


def _opened(path: Path) -> Any:
    try:
        from pyarrow import ArrowException, parquet  # pyright: ignore[reportMissingImports] - where it is needed only
    except ImportError:
        raise RuntimeError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None
    try:
        return parquet.ParquetFile(path)
    except ArrowException as error:
        raise ValueError(f"{path}: not a Parquet file ({' '.join(str(error).split())[:100]})") from None
