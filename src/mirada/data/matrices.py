"""Reads a matrix of numbers that a user brings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def read_matrix(path: Path, argument: str) -> Tensor:
    """A matrix, or a batch of them, from a file of numbers.

    Args:
        path: a .npy file with two or three dimensions, or a .csv file: one row a line, numbers with commas between.
        argument: what the errors call it.

    Returns:
        (rows, columns) or (N, rows, columns), float32.

    Raises:
        ValueError: no such file, or not such numbers.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "query.csv").write_text("1,2\\n3,4\\n")
    ...     read_matrix(Path(folder, "query.csv"), "query")
    tensor([[1., 2.],
            [3., 4.]])
    """
    readers = {".npy": _read_npy, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise ValueError(f"{argument}: {path} must be a .npy or a .csv file")
    try:
        numbers = readers[path.suffix.lower()](path)
    except FileNotFoundError:
        raise ValueError(f"{argument}: there is no file {path}; check the path") from None
    except (OSError, EOFError, MemoryError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ValueError(f"{argument}: {path} can't be read: {reason}") from None
    if numbers.dtype.kind not in "iuf":
        raise ValueError(f"{argument}: {path} must hold real numbers, not {numbers.dtype}")
    allowed = (2, 3) if path.suffix.lower() == ".npy" else (2,)
    if numbers.ndim not in allowed or 0 in numbers.shape:
        raise ValueError(
            f"{argument}: {path} must hold a matrix (rows, columns) or a batch (N, rows, columns), "
            f"not the shape {numbers.shape}"
        )
    return torch.from_numpy(numbers.astype(np.float32))


def _read_npy(path: Path) -> np.ndarray:
    # Not np.load: to a file that is none of NumPy's it answers with advice to unpickle it.
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_csv(path: Path) -> np.ndarray:
    rows: list[list[float]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append([float(word) for word in line.split(",")])
        except ValueError:
            word = next(word.strip() for word in line.split(",") if not _is_number(word))
            raise ValueError(f"line {number}: {word!r} is no number") from None
        if len(rows[-1]) != len(rows[0]):
            raise ValueError(f"line {number} has {len(rows[-1])} numbers, the first has {len(rows[0])}")
    if not rows:
        raise ValueError("it is empty")
    return np.array(rows)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
