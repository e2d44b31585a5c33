"""Reads arrays of numbers that a user brings: .npy and .csv files."""

from __future__ import annotations

import ast
import io
import math
import re
import struct
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from mirada.data.files import DataError, open_regular, read_at_most

_NUMBERS = 1 << 24  # in a .npy file: 4,096 × 4,096
_TEXT = 1 << 24  # bytes of a .csv file
_HEADER = 1 << 12  # bytes of a .npy file's header; NumPy's own have 118


def read_matrix(path: Path, argument: str) -> Tensor:
    """A matrix, or a batch of them, from a file of numbers.

    Args:
        path: a .npy file with two or three dimensions, or a .csv file: one row a line (see `read_csv`).
        argument: what the errors call it.

    Returns:
        (rows, columns) or (N, rows, columns), float32.

    Raises:
        ValueError: no such file, or not such numbers.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "query.csv").write_text("1,5; 2\\n3; 4\\n")
    ...     read_matrix(Path(folder, "query.csv"), "query")
    tensor([[1.5000, 2.0000],
            [3.0000, 4.0000]])
    """
    readers = {".npy": read_npy, ".csv": read_csv}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{argument}: {path} must be a .npy or a .csv file")
    try:
        numbers = readers[path.suffix.lower()](path)
    except FileNotFoundError:
        raise ValueError(f"{argument}: there is no file {path}; check the path") from None
    except (OSError, MemoryError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).removeprefix(f"{path}: ") or "out of memory"
        raise ValueError(f"{argument}: {path} can't be read: {reason}") from None
    if numbers.dtype.kind not in "iuf":
        raise ValueError(f"{argument}: {path} must hold real numbers, not {numbers.dtype}")
    allowed = (2, 3) if path.suffix.lower() == ".npy" else (2,)
    if numbers.ndim not in allowed or 0 in numbers.shape:
        raise ValueError(
            f"{argument}: {path} must hold a matrix (rows, columns) or a batch (N, rows, columns), "
            f"not the shape {numbers.shape}"
        )
    with np.errstate(over="ignore"):
        single = numbers.astype(np.float32)
    if not np.isfinite(single).all():
        place = tuple(int(index) for index in np.argwhere(~np.isfinite(single))[0])
        raise ValueError(
            f"{argument}: {path} holds {numbers[place]} at {place} (counted from 0), "
            "wanted finite numbers that float32 can hold"
        )
    return torch.from_numpy(single)


def read_npy(path: Path) -> np.ndarray:
    """The array of a .npy file, of numbers only: what it announces is held against its size before it is read.

    Raises:
        OSError: there is no such file, or it can't be read.
        DataError: it is no such file; pickled objects are never loaded.
    """
    # Not np.load: to a file that is none of NumPy's it answers with advice to unpickle it.
    with open_regular(path) as file:
        dtype, is_fortran, shape = _header(file, path)
        count, at = math.prod(shape), file.tell()
        if count > _NUMBERS:
            raise DataError(f"{path}: announces {count} numbers, wanted at most {_NUMBERS}")
        content = file.read(count * dtype.itemsize + 1)
    if len(content) != count * dtype.itemsize:
        held = "more" if len(content) > count * dtype.itemsize else str(len(content))
        raise DataError(f"{path}: announces {count * dtype.itemsize} bytes after its header of {at}, but holds {held}")
    return np.frombuffer(content, dtype, count).reshape(shape, order="F" if is_fortran else "C")


def _header(file: BinaryIO, path: Path) -> tuple[np.dtype, bool, tuple[int, ...]]:
    magic = file.read(8)
    if magic[:6] != b"\x93NUMPY":
        raise DataError(f"{path}: the magic string is not correct: no .npy file")
    form = "<H" if magic[6:7] == b"\x01" else "<I"
    length = file.read(struct.calcsize(form))
    size = struct.unpack(form, length)[0] if len(length) == struct.calcsize(form) else 0
    if not 0 < size <= _HEADER:
        raise DataError(f"{path}: a header of {size} bytes, wanted 1 to {_HEADER}: no .npy file of numbers")
    try:
        record = ast.literal_eval(file.read(size).decode("latin1").strip())
        descr, is_fortran, shape = record["descr"], record["fortran_order"], record["shape"]
        if not isinstance(descr, str) or not isinstance(is_fortran, bool) or not isinstance(shape, tuple):
            raise ValueError
        if len(shape) > 32 or any(type(side) is not int or side < 0 for side in shape):
            raise ValueError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some old names of types warn
            dtype = np.dtype(descr)
    except (ValueError, SyntaxError, TypeError, KeyError, AttributeError, MemoryError, RecursionError, IndexError):
        raise DataError(f"{path}: a header that can't be understood: no .npy file of numbers") from None
    if dtype.hasobject:
        raise DataError(f"{path}: holds pickled Python objects, which are never loaded: save plain numbers")
    if dtype.itemsize == 0:
        raise DataError(f"{path}: values of no size: no .npy file of numbers")
    return dtype, is_fortran, shape


def read_csv(path: Path) -> np.ndarray:
    """The matrix of a text file: one row a line, float64.

    Between numbers stand semicolons, tabs, commas or spaces. A decimal comma is understood wherever commas can't be
    what separates: ``1,5;2,5`` and ``1,5 2,5`` are two numbers, ``1,5`` and ``1, 5`` are two numbers 1 and 5.

    Raises:
        OSError: there is no such file, or it can't be read.
        DataError: it holds something else; the line is named.
    """
    content = read_at_most(path, _TEXT)
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path}: not a text in UTF-8") from None
    rows = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not rows:
        raise DataError(f"{path}: it is empty")
    separator = _separator(text)
    clean = [(number, line.replace(",", ".") if separator != "," else line) for number, line in rows]
    try:
        return np.loadtxt(
            io.StringIO("\n".join(line for _, line in clean)), delimiter=separator, ndmin=2, comments=None
        )
    except ValueError:
        raise DataError(f"{path}: {_fault(rows, clean, separator)}") from None


def _separator(text: str) -> str | None:
    """What stands between the numbers; None is any run of spaces."""
    for mark in ";\t":
        if mark in text.strip():
            return mark
    # "1,5 2,5": a space that no comma stands beside separates, so the commas are decimal.
    if "," in text and not re.search(r"[^\s,][^\S\r\n]+[^\s,]", text):
        return ","
    return None


def _fault(rows: list[tuple[int, str]], clean: list[tuple[int, str]], separator: str | None) -> str:
    """The first line that is at fault, in words."""
    first = None
    for (number, line), (_, written) in zip(rows, clean, strict=True):
        cells = written.split(separator, 1 << 16)
        for cell, was in zip(cells, line.split(separator, 1 << 16), strict=True):
            if not _is_number(cell):
                shown = was.strip()
                shown = shown if len(shown) <= 40 else shown[:40] + "…"
                return f"line {number}: {shown!r} is not a number"
        first = len(cells) if first is None else first
        if len(cells) != first:
            return f"line {number} has {len(cells)} numbers, the first has {first}"
    return "not a matrix of numbers"


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return word.isascii() and "_" not in word
