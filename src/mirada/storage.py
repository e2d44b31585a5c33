"""Files are written whole or not at all, and what a killed process left of one is removed at the next writing."""

from __future__ import annotations

import glob
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_writing: set[Path] = set()  # by this process, now


def write_whole(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file beside its place, then rename it: a reader finds the old content or the new one, never half of it.

    Raises:
        OSError: the folder is not there or can't be written, the disk is full, or `path` is a device, a pipe or a
            folder, which a rename would replace.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder) / "a.txt", b"whole").read_bytes()
    b'whole'
    """
    path = Path(path)
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(f"{path} is not a regular file: name another path")
    with place_beside(path) as beside:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    return path


@contextmanager
def place_beside(path: Path) -> Iterator[Path]:
    """The name of a file beside `path`, to be written and renamed; removed at the end if it is still there.

    It has a fresh name, so no link that lies there is followed, and carries the number of the process that writes it:
    ``.NAME.PID.RANDOM.part``.
    """
    remove_leftovers(path.parent, path.name)
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    _writing.add(beside)
    try:
        yield beside
    finally:  # whatever ended it, Ctrl-C included
        with suppress(OSError):
            beside.unlink()
        _writing.discard(beside)


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Remove what processes that no longer run left half written: of one file, or all in a folder of mirada's own."""
    for part in folder.glob(".*.part" if name is None else f".{glob.escape(name)}.*.*.part"):
        writer = part.name.split(".")[-3]
        is_left = not is_anothers(writer) and (name is None or writer.isdecimal())
        if is_left and part not in _writing:
            with suppress(OSError):
                part.unlink()


def is_anothers(number: str) -> bool:
    """Whether a number in a file's name is that of another process that runs."""
    return number.isdecimal() and int(number) != os.getpid() and _runs(int(number))


def _runs(process: int) -> bool:
    if os.name != "posix":
        return True  # there the signal 0 is Ctrl-C
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
