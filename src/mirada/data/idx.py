"""Reads IDX, the format of MNIST's files.

Two zero bytes, the type of the values (8: unsigned bytes), the number of dimensions, each dimension as a big-endian
32-bit integer, then the values, the last dimension running fastest.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import torch
from torch import Tensor


class DataError(ValueError):
    """A data file is missing, broken or not what it should be; the message says which, and what to do."""


def read_idx(path: str | Path, dimensions: int) -> Tensor:
    """Read one IDX file of unsigned bytes, gzipped or not.

    Args:
        path: the file. Whether it is gzipped is seen from its content, not from its name.
        dimensions: how many are wanted: 1 for labels, 3 for images.

    Returns:
        A uint8 tensor of the file's shape: labels (N,), images (N, H, W).

    Raises:
        DataError: the file is missing, unreadable, cut off, or not such an IDX file.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "two-labels"
    >>> _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    >>> read_idx(file, dimensions=1)
    tensor([7, 9], dtype=torch.uint8)
    """
    content = uncompressed(Path(path))
    magic = bytes([0, 0, 8, dimensions])
    if content[:4] != magic:
        raise DataError(
            f"{path}: starts with the bytes {content[:4].hex(' ') or '(none)'}, wanted {magic.hex(' ')} "
            f"(IDX, unsigned bytes in {dimensions} dimension{'s'[: dimensions > 1]}): put the right file there"
        )
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(f"{path}: ends within its header of {start} bytes: copy or download the file again")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if 0 in shape:
        raise DataError(f"{path}: announces {_times(shape)} values, wanted at least one: put the right file there")
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"{path}: announces {_times(shape)} = {math.prod(shape)} bytes but holds {len(content) - start}: "
            "copy or download the file again"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)


def uncompressed(path: Path) -> bytes:
    """The content of a file, gunzipped if it is gzipped; DataError where that can't be had."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}: wanted an IDX file, raw or gzipped") from None
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: broken gzip ({reason}): copy or download the file again") from None


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
