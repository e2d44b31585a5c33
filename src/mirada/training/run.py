"""A run's folder: its settings, the best weights, the metrics, the pictures, and what going on with it needs.

Every file appears whole or not at all: it is written beside its place and then renamed into it.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from mirada import __version__
from mirada.storage import remove_leftovers, write_whole

try:
    import fcntl
except ImportError:  # Windows: no lock there
    fcntl = None

Metrics = dict[str, Any]
"""One line of metrics.jsonl: "epoch", "split", what the system reports, "seconds"."""


class RunError(Exception):
    """A run's folder that can't be used as asked: one line that says what, where, and the way out."""


class KeepError(RunError, RuntimeError):
    """A run that can't keep how far it is, and so ends: the disk is full or gone."""


class Folder:
    """The folder of one run.

    >>> import tempfile
    >>> place = tempfile.TemporaryDirectory()
    >>> folder = Folder(place.name)
    >>> folder.begin("squares", {"epochs": 3})
    >>> folder.settings()
    ('squares', {'epochs': 3})
    >>> folder.begin("squares", {"epochs": 4})
    Traceback (most recent call last):
        ...
    mirada.training.run.RunError: ... holds a run already: go on with it (--resume), or choose another folder (--out)
    >>> place.cleanup()
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._place: tuple[int, int] | None = None  # device and inode, while the run is locked

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"

    def begin(self, system: str, settings: Mapping[str, Any]) -> None:
        """Claim the folder for a new run.

        Raises:
            RunError: it holds a run already, or can't be written.
        """
        self.must_be_free()
        self._clean()
        text = json.dumps({"system": system, "settings": dict(settings), "mirada": __version__}, indent=2)
        self._write("settings.json", text.encode() + b"\n")

    def change(self, system: str, settings: Mapping[str, Any]) -> None:
        """Write other settings for a run that is there: it is to go on with them."""
        text = json.dumps({"system": system, "settings": dict(settings), "mirada": __version__}, indent=2)
        self._write("settings.json", text.encode() + b"\n")

    def give_up(self) -> None:
        """Free the folder again if nothing was kept in it since it was begun."""
        if not any((self.path / name).exists() for name in ("resume.pt", "model.safetensors", "metrics.jsonl")):
            with suppress(OSError):
                (self.path / "settings.json").unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process alone, for as long as this lasts; leftovers of killed processes are removed.

        The system frees the lock of a process that dies, however it dies.

        Raises:
            RunError: another process trains it, or the folder can't be written.
        """
        path = self.path / ".lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = _lock(path)
        except BlockingIOError:
            raise RunError(
                f"{self.path} is in use by {_holder(path)}: wait until it ends, or choose another folder (--out)"
            ) from None
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            found = self.path.stat()
            self._place = found.st_dev, found.st_ino
            self._clean()
            yield
        finally:
            self._place = None
            with suppress(OSError):  # before it is freed: a later process makes a lock of its own
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    path.unlink()
            os.close(descriptor)

    def _clean(self) -> None:
        """Remove what processes that no longer run left half written."""
        for folder in (self.path, self.path / "plots"):
            remove_leftovers(folder)

    def must_be_free(self) -> None:
        """Raise a RunError if there is any file of a run in the folder."""
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file: choose another folder (--out)")
        for name in ("settings.json", "resume.pt", "model.safetensors", "metrics.jsonl"):
            if (self.path / name).exists():
                raise RunError(
                    f"{self.path} holds a run already: go on with it (--resume), or choose another folder (--out)"
                )

    def begun(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / "settings.json").exists()

    def settings(self) -> tuple[str, dict[str, Any]]:
        """The name of the system, and its settings.

        Raises:
            RunError: the folder holds no run, or settings.json is damaged.
        """
        data = self._read("settings.json")
        if data is None:
            raise RunError(f"{self.path} is no run's folder: there is no settings.json in it")
        try:
            record = json.loads(data)
            return str(record["system"]), dict(record["settings"])
        except (ValueError, TypeError, KeyError, RecursionError):
            raise RunError(f"{self.path / 'settings.json'} is damaged: train again into another folder") from None

    def keep(self, state: Mapping[str, Any], metrics: Sequence[Metrics], best: Mapping[str, Tensor] | None) -> None:
        """Keep how far the run is: `state` holds all that going on needs, and says so first.

        The metrics and the best weights can be written again from the state, so a run that dies between two of these
        files has lost nothing. `best` is None when model.safetensors has them already.

        Raises:
            KeepError: the folder can't be written any more.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        lines = [json.dumps(line, allow_nan=False) + "\n" for line in metrics]
        try:
            self._write("resume.pt", buffer.getvalue())
            if best is not None:
                self._write("model.safetensors", tensor_bytes(dict(best)))
            self._write("metrics.jsonl", "".join(lines).encode())
        except RunError as error:
            raise KeepError(str(error)) from None

    def state(self) -> dict[str, Any] | None:
        """What `keep` was given last; None before the first time.

        Raises:
            RunError: resume.pt is damaged.
        """
        data = self._read("resume.pt")
        if data is None:
            for name in ("model.safetensors", "metrics.jsonl"):
                if (self.path / name).exists():
                    raise RunError(
                        f"{self.path} has {name} but no resume.pt, so the run can't go on: "
                        "evaluate it as it is, or train into another folder (--out)"
                    )
            return None
        try:
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever its parts raise
            # Not torch's own text: it says how to unpickle the file all the same, which must never be done.
            reason = type(error).__name__
            raise RunError(
                f"{self.path / 'resume.pt'} is damaged or holds more than tensors and numbers ({reason}), and is not "
                "loaded: train into another folder (--out)"
            ) from None

    def weights(self) -> dict[str, Tensor]:
        """The weights of the best epoch, on the CPU.

        Raises:
            RunError: they are missing or damaged.
        """
        data = self._read("model.safetensors")
        if data is None:
            raise RunError(
                f"{self.path} has no model.safetensors: the run stopped in its first epoch; go on with it (--resume)"
            )
        try:
            return read_tensors(data)
        except SafetensorError as error:
            path = self.path / "model.safetensors"
            raise RunError(f"{path} is damaged ({error}): train again into another folder") from None

    def metrics(self) -> list[Metrics]:
        """The lines of metrics.jsonl; none before the first epoch ended.

        Raises:
            RunError: metrics.jsonl is damaged.
        """
        data = self._read("metrics.jsonl") or b""
        try:
            return [_metrics(line) for line in data.splitlines()]
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise RunError(f"{self.path / 'metrics.jsonl'} is damaged: train again into another folder") from None

    def save_picture(self, name: str, png: bytes) -> Path:
        """Keep a picture as plots/NAME.png; gives its path."""
        return self._write(f"plots/{name}.png", png)

    def _read(self, name: str) -> bytes | None:
        path = self.path / name
        try:
            # Without O_NONBLOCK the opening itself would wait if a pipe lay there.
            with os.fdopen(os.open(path, os.O_RDONLY | _NO_WAITING), "rb") as file:
                if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RunError(f"can't read {path}: {error.strerror}") from None
        except ValueError as error:
            raise RunError(f"can't read {str(path)!r}: {error}") from None
        raise RunError(f"can't read {path}: not a regular file")

    def _write(self, name: str, data: bytes) -> Path:
        path = self.path / name
        self._must_be_in_place()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, data)
            _settle(path.parent)
        except OSError as error:
            raise _unwritable(path, error) from None
        return path

    def _must_be_in_place(self) -> None:
        """While a run is trained its folder must stay where it is: to make it anew would leave the run in halves."""
        if self._place is None:
            return
        with suppress(OSError):
            found = self.path.stat()
            if (found.st_dev, found.st_ino) == self._place:
                return
        raise KeepError(
            f"{self.path} was renamed or removed while the run was trained; what was complete before is in the folder "
            "that was there: name it with --out and go on with --resume"
        )


_NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def _metrics(line: bytes) -> Metrics:
    """One line of metrics.jsonl, or a ValueError: every value but the split's name is a finite number."""
    metrics = dict(json.loads(line))
    if not isinstance(metrics["split"], str) or type(metrics["epoch"]) is not int:
        raise ValueError
    if not all(math.isfinite(value) for name, value in metrics.items() if name != "split"):
        raise ValueError
    return metrics


def _unwritable(path: Path, error: OSError) -> RunError:
    remedy = "make room for it" if error.errno in _FULL else "make it writable"
    return RunError(
        f"can't write {path}: {error.strerror or error}; {remedy} or choose another folder (--out); "
        "what was complete before is kept"
    )


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def _lock(path: Path) -> int:
    """A descriptor that holds the lock; BlockingIOError where another process does."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that held it removes the file when it ends, which may have been a moment ago.
            if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _holder(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        holder = file.read(200).decode("utf-8", "replace")
        if holder.isprintable() and holder:
            return holder
    return "another process"


def _settle(folder: Path) -> None:
    # A rename is only safe from a power cut once the folder itself is on the disk. Windows can't open folders.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
