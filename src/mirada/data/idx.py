"""Reads IDX, the format of MNIST's files.

Two zero bytes, the type of the values (8: unsigned bytes), the number of dimensions, each dimension as a big-endian
32-bit integer, then the values, the last dimension running fastest.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import torch
from torch import Tensor

from mirada.data.files import DataError, open_regular

_PIECE = 1 << 20  # bytes
_LARGEST = 1 << 32  # bytes of values
_SMALL, _RATIO = 1 << 27, 16  # what is unpacked: at most 128 MiB, or 16 × the packed size (MNIST: 5)


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
    path = Path(path)
    with _unpacked(path) as (file, packed, held):
        shape = _shape(file, path, dimensions)
        size = math.prod(shape)
        if packed is None and held - file.tell() != size:
            raise DataError(_other_size(path, shape, str(held - file.tell())))
        most = _LARGEST if packed is None else max(_SMALL, _RATIO * packed)
        if size > most:
            raise DataError(f"{path}: announces {_times(shape)} = {size} bytes, wanted at most {most}: no such images")
        content = bytearray()
        while len(content) <= size and (piece := file.read(min(_PIECE, size + 1 - len(content)))):
            content += piece
    if len(content) != size:
        raise DataError(_other_size(path, shape, "more" if len(content) > size else str(len(content))))
    return torch.frombuffer(content, dtype=torch.uint8).view(shape)


def pieces(path: Path) -> Iterator[bytes]:
    """The content of a file, gunzipped if it is gzipped, a piece at a time; DataError where that can't be had."""
    with _unpacked(path) as (file, *_):
        while piece := file.read(_PIECE):
            yield piece


@contextmanager
def _unpacked(path: Path) -> Iterator[tuple[BinaryIO, int | None, int]]:
    """The open file, its packed size if it is gzipped, and the size that it has on the disk."""
    try:
        with open_regular(path) as file:
            held = path.stat().st_size
            is_gzip = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if is_gzip:
                yield cast(BinaryIO, gzip.GzipFile(fileobj=file)), held, held
            else:
                yield file, None, held
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: broken gzip ({reason}): copy or download the file again") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}: wanted an IDX file, raw or gzipped") from None
    except MemoryError:
        raise DataError(f"{path}: too large for this machine's memory: bring fewer images") from None


def _shape(file: BinaryIO, path: Path, dimensions: int) -> tuple[int, ...]:
    wanted = 4 + 4 * dimensions
    header = file.read(wanted)
    magic = bytes([0, 0, 8, dimensions])
    if header[:4] != magic:
        raise DataError(
            f"{path}: starts with the bytes {header[:4].hex(' ') or '(none)'}, wanted {magic.hex(' ')} "
            f"(IDX, unsigned bytes in {dimensions} dimension{'s'[: dimensions > 1]}): put the right file there"
        )
    if len(header) < wanted:
        raise DataError(f"{path}: ends within its header of {wanted} bytes: copy or download the file again")
    shape = struct.unpack(f">{dimensions}I", header[4:])
    if 0 in shape:
        raise DataError(f"{path}: announces {_times(shape)} values, wanted at least one: put the right file there")
    return shape


def _other_size(path: Path, shape: tuple[int, ...], held: str) -> str:
    return (
        f"{path}: announces {_times(shape)} = {math.prod(shape)} bytes but holds {held}: "
        "copy or download the file again"
    )


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
