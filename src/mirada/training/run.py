"""A run's folder: its settings, the best weights, the metrics, the pictures, and what going on with it needs.

Every file appears whole or not at all: it is written beside its place and then renamed into it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from mirada import __version__

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

    def __repr__(self) -> str:
        return f"Folder({str(self.path)!r})"

    def begin(self, system: str, settings: Mapping[str, Any]) -> None:
        """Claim the folder for a new run.

        Raises:
            RunError: it holds a run already, or can't be written.
        """
        self.must_be_free()
        text = json.dumps({"system": system, "settings": dict(settings), "mirada": __version__}, indent=2)
        self._write("settings.json", text.encode() + b"\n")

    def give_up(self) -> None:
        """Free the folder again if nothing was kept in it since it was begun."""
        if not (self.path / "resume.pt").exists():
            with suppress(OSError):
                (self.path / "settings.json").unlink()

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
        except (ValueError, TypeError, KeyError):
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
            return None
        try:
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever its parts raise
            reason = str(error).split("\n")[0]
            raise RunError(f"{self.path / 'resume.pt'} is damaged ({reason}): train into another folder") from None

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
            return [json.loads(line) for line in data.splitlines()]
        except ValueError:
            raise RunError(f"{self.path / 'metrics.jsonl'} is damaged: train again into another folder") from None

    def save_picture(self, name: str, figure: Any) -> Path:
        """Keep a matplotlib figure as plots/NAME.png; gives its path."""
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        return self._write(f"plots/{name}.png", buffer.getvalue())

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RunError(f"can't read {self.path / name}: {error.strerror}") from None

    def _write(self, name: str, data: bytes) -> Path:
        path = self.path / name
        # One name, not a fresh one each time: what a killed process left behind is written over by the next.
        beside = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            _settle(path.parent)
        except OSError as error:
            with suppress(OSError):
                beside.unlink()
            raise RunError(
                f"can't write {path}: {error.strerror or error}; make room for it or choose another folder (--out); "
                "what was complete before is kept"
            ) from None
        return path


def _settle(folder: Path) -> None:
    # A rename is only safe from a power cut once the folder itself is on the disk. Windows can't open folders.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
