"""Opens the files that a user names: regular files only, and no more of them than is asked for."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


class DataError(ValueError):
    """A data file is missing, broken or not what it should be; the message says which, and what to do."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    A pipe, a device or a folder is refused at once: to open a pipe would wait for a writer, and a device may never end.

    Raises:
        OSError: there is no such file, or it can't be read.
        DataError: it is no regular file.

    >>> open_regular(Path(os.devnull))
    Traceback (most recent call last):
        ...
    mirada.data.files.DataError: ...: not a regular file
    """
    if "\0" in str(path):
        raise DataError(f"{str(path)!r}: no name of a file")
    _must_be_regular(path, path.stat().st_mode)
    # Without O_NONBLOCK the opening itself would wait, if a pipe has taken the file's place since.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = os.fdopen(descriptor, "rb")
    try:
        _must_be_regular(path, os.fstat(descriptor).st_mode)
    except DataError:
        file.close()
        raise
    return file


def read_at_most(path: Path, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes.

    Raises:
        OSError: there is no such file, or it can't be read.
        DataError: it is no regular file, or a larger one.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise DataError(f"{path}: more than the {limit:,} bytes that such a file may have")
    return content


def _must_be_regular(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise DataError(f"{path}: {kind}")
