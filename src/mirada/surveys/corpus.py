"""Texts, read one after the other, cut into windows, packed by length into batches, in rounds.

After a round all processes add up what they have, and it is kept. What a round holds depends on the corpus and the
options alone, never on the number of processes: so any number of them counts the same, and a survey that was broken off
goes on at the first text that is not kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch

from mirada.surveys.batches import Batch, Tokens, as_batch

Read = Iterator[tuple[str, str | None, str]]
"""Of each text: what it is called, the text, and why there is none."""
Window = tuple[int, Sequence[int]]
"""The number of a window in the corpus, and its tokens."""


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
) -> Iterator[Round]:
    """Rounds of ``every`` texts.

    Args:
        texts: strings, or what `read` gives.
        tokenizer: of transformers.
        every: texts a round.
        length: the longest window, in tokens.
        tokens: of a batch at the most, padding included.
        skip: how many texts and windows are counted already.
    """
    source = islice(enumerate(texts), skip[0], None)
    windows = skip[1]
    while chunk := list(islice(source, every)):
        found = Round(iter(()), texts=len(chunk))
        cut: list[Window] = []
        for number, given in chunk:
            name, text, why = (str(number + 1), given, "") if isinstance(given, str) else given
            ids = [] if text is None else _ids(tokenizer, text)
            if not ids:
                found.skipped.append((name, why or "0 tokens"))
            for start in range(0, len(ids), length):
                window = WindowOf(name, start, tuple(ids[start : start + length]))
                found.windows_of[windows] = window
                cut.append((windows, window.ids))
                windows += 1
        found.windows = windows
        found.batches = (_padded(part, tokenizer) for part in _packed(cut, tokens))
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
                yield Batch(batch.inputs, batch.text, batch.target, batch.size, names)

        found.batches = taken(found, first)
        yield found
        windows = found.windows


def _ids(tokenizer: Any, text: str) -> list[int]:
    return [int(one) for one in tokenizer(text, verbose=False)["input_ids"]]


def _packed(windows: list[Window], tokens: int) -> Iterator[list[Window]]:
    """Windows of like length together, longest first, so that a batch that is too large is seen at once."""
    ordered = sorted(windows, key=lambda window: (-len(window[1]), window[0]))
    while ordered:
        count = max(1, tokens // len(ordered[0][1]))
        yield ordered[:count]
        ordered = ordered[count:]


def _padded(windows: list[Window], tokenizer: Any) -> Batch:
    """A batch with padding on the right."""
    longest = max(len(ids) for _, ids in windows)
    fill = getattr(tokenizer, "pad_token_id", None) or 0
    ids = torch.full((len(windows), longest), fill)
    real = torch.zeros(len(windows), longest, dtype=torch.bool)
    for row, (_, window) in enumerate(windows):
        ids[row, : len(window)] = torch.tensor(window)
        real[row, : len(window)] = True
    inputs = {"input_ids": ids, "attention_mask": real.long()}
    return Batch(inputs, Tokens(real, ids), None, len(windows), [number for number, _ in windows])


# --- files ---


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
    try:
        from pyarrow import parquet  # pyright: ignore[reportMissingImports] - only where there is a Parquet file
    except ImportError:
        raise RuntimeError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from None
    file = parquet.ParquetFile(path)
    if "text" not in file.schema_arrow.names:
        raise ValueError(f"{path}: no column 'text'; there are {', '.join(file.schema_arrow.names)}")
    number = 0
    for batch in file.iter_batches(1024, columns=["text"]):
        for text in batch.column(0).to_pylist():
            number += 1
            yield f"row {number}", text if isinstance(text, str) else None, 'no "text" in it'
