"""Files are written whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


def write_whole(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write a file beside its place, then rename it: a reader finds the old content or the new one, never half of it.

    The file beside it has a fresh name, so no link that lies there is followed, and carries the number of the process
    that writes it: ``.NAME.PID.RANDOM.part``.

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
    beside = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:  # whatever ended it, Ctrl-C included; after the rename there is nothing left to remove
        with suppress(OSError):
            beside.unlink()
    return path
