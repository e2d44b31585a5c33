"""A survey's folder: survey.json (what was asked, of what, how many), heads.csv, sums.safetensors.

sums.safetensors is all that was counted, in float64, histograms among them: also what a survey goes on from. Every file
appears whole or not at all, and it alone says how far the survey is, so a process that dies between two files loses
nothing that was kept.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as tensor_bytes
from torch import Tensor

from mirada import __version__
from mirada.storage import write_whole
from mirada.surveys.corpus import WindowOf
from mirada.surveys.examples import Examples
from mirada.surveys.measuring import Measured
from mirada.surveys.result import Survey
from mirada.surveys.state import State
from mirada.surveys.tally import Tally
from mirada.training.run import Folder, RunError

_SUMS, _TABLE, _ABOUT = "sums.safetensors", "heads.csv", "survey.json"
FORMAT = 1


class SurveyError(ValueError):
    """A folder that can't be used as asked: one line that says what, where, and the way out."""


class SurveyFolder:
    """The folder of one survey."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process alone."""
        try:
            with Folder(self.path).locked():
                yield
        except RunError as error:
            raise SurveyError(str(error)) from None

    def begin(self, settings: Mapping[str, str], fresh: State, *, resume: bool) -> State:
        """Claim the folder, or go on with what it keeps.

        Raises:
            SurveyError: it holds a survey and is not to be resumed, or another one than this; it can't be read.
        """
        about = self._about() if (self.path / _ABOUT).exists() else None
        if about is None:
            if (self.path / _SUMS).exists():
                raise SurveyError(f"{self.path} has {_SUMS} but no {_ABOUT}: choose another folder (--out)")
            self._write_about(dict(settings), complete=False)
            return fresh
        if not resume:
            raise SurveyError(
                f"{self.path} holds a survey already: go on with it (--resume), or choose another folder (--out)"
            )
        for name, value in settings.items():
            if about["settings"].get(name) != value:
                raise SurveyError(
                    f"{self.path} holds another survey: {name} was {about['settings'].get(name)!r}, now {value!r}; "
                    "choose another folder (--out)"
                )
        return self._state() if (self.path / _SUMS).exists() else fresh

    def give_up(self) -> None:
        """Free the folder again if nothing was kept in it."""
        if not (self.path / _SUMS).exists():
            with suppress(OSError):
                (self.path / _ABOUT).unlink()

    def keep(self, state: State) -> None:
        """Keep how far the survey is."""
        if state.total is not None:
            write_whole(self.path / _SUMS, packed(state))

    def finish(self, survey: Survey) -> Path:
        """Keep all of it."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.keep(survey.state)
        write_whole(self.path / _TABLE, _table(survey).encode())
        counts = {"texts": survey.texts, "tokens": survey.tokens, "padding": survey.padding}
        counts |= {"skipped": survey.state.skipped_count, "layers": len(survey.layers), "heads": survey.heads}
        self._write_about(survey.settings, complete=True, counted=counts)
        return self.path

    def save(self, survey: Survey) -> Path:
        """Keep a survey that is there; its own folder is written anew, another survey's is not.

        Raises:
            SurveyError: the folder holds another survey, or other files.
        """
        if self.path.exists() and not self.path.is_dir():
            raise SurveyError(f"{self.path} is a file: choose another folder")
        if (self.path / _ABOUT).exists() and self._about()["settings"] != survey.settings:
            raise SurveyError(f"{self.path} holds another survey: choose another folder")
        return self.finish(survey)

    def load(self) -> Survey:
        """Read a survey; one that is not complete has what was counted so far.

        Raises:
            SurveyError: no survey there, a damaged file.
        """
        about = self._about()
        if not (self.path / _SUMS).exists():
            raise SurveyError(f"{self.path}: nothing is counted yet: go on with it (--resume)")
        return Survey(self._state(), about["settings"])

    def _about(self) -> dict[str, Any]:
        path = self.path / _ABOUT
        try:
            found = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise SurveyError(f"{self.path} is no survey's folder: there is no {_ABOUT} in it") from None
        except (ValueError, RecursionError):
            raise SurveyError(f"{path} is damaged: not JSON") from None
        settings = found.get("settings") if isinstance(found, dict) else None
        if not isinstance(settings, dict) or not all(isinstance(value, str) for value in settings.values()):
            raise SurveyError(f"{path} is damaged: it names no settings")
        if found.get("format") != FORMAT:
            raise SurveyError(f"{path}: format {found.get('format')!r}, this mirada reads {FORMAT}")
        return found

    def _write_about(self, settings: Mapping[str, str], *, complete: bool, counted: Any = None) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        about = {"format": FORMAT, "mirada": __version__, "complete": complete, "settings": dict(settings)}
        text = json.dumps(about | ({} if counted is None else {"counted": counted}), indent=2, ensure_ascii=False)
        write_whole(self.path / _ABOUT, text.encode() + b"\n")

    def _state(self) -> State:
        path = self.path / _SUMS
        try:
            return unpacked(path.read_bytes())
        except OSError as error:
            raise SurveyError(f"can't read {path}: {error.strerror or error}") from None
        except ValueError as error:
            raise SurveyError(f"{path} is damaged ({error})") from None


def packed(state: State) -> bytes:
    """All of it, as a file of safetensors."""
    total = state.total
    assert total is not None
    tensors = {"blind": total.blind}
    for name, tally in total.tallies.items():
        tensors |= {f"{name}/{what}": tensor for what, tensor in tally.tensors().items()}
    for name, found in total.examples.items():
        tensors |= {f"{name}/example {what}": tensor for what, tensor in found.tensors().items()}
    told = {
        "layers": total.layers,
        "names": list(total.tallies),
        "counts": [total.texts, total.tokens, total.padding],
        "done": state.done,
        "windows": state.windows,
        "skipped": state.skipped,
        "skipped_count": state.skipped_count,
        "classes": state.classes,
        "kept": [[number, one.name, one.start, one.ids] for number, one in sorted(state.kept.items())],
    }
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return tensor_bytes(contiguous, {"state": json.dumps(told, ensure_ascii=False)})


def unpacked(data: bytes) -> State:
    """What `packed` gave; ValueError where it is anything else."""
    try:
        tensors = tensors_of(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return _checked(json.loads(header["__metadata__"]["state"]), tensors)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, IndexError) as error:
        said = " ".join(str(error).split())[:120]
        raise ValueError(f"{type(error).__name__}: {said}") from None


def _checked(told: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> State:
    """The state, or a ValueError, KeyError or TypeError where something in it doesn't fit."""
    layers, names = tuple(map(str, told["layers"])), [str(name) for name in told["names"]]
    blind = tensors["blind"]
    if blind.ndim != 2 or len(blind) != len(layers):
        raise ValueError("its layers and sums disagree")
    for name, tensor in tensors.items():
        if tensor.shape[:2] != blind.shape or tensor.dtype not in (torch.float64, torch.int64):
            raise ValueError(f"{name} has shape {tuple(tensor.shape)} in {tensor.dtype}")
    fields = list(Tally.__dataclass_fields__)
    tallies = {name: Tally(*(tensors[f"{name}/{what}"] for what in fields)) for name in names}
    examples = {
        name: Examples(*(tensors[f"{name}/example {what}"] for what in ("value", "text", "query")))
        for name in names
        if f"{name}/example value" in tensors
    }
    texts, tokens, padding = (_whole(one) for one in told["counts"])
    kept = {
        _whole(number): WindowOf(str(name), _whole(start), tuple(map(_whole, ids)))
        for number, name, start, ids in told["kept"]
    }
    return State(
        Measured(layers, tallies, examples, blind, texts, tokens, padding),
        _whole(told["done"]),
        _whole(told["windows"]),
        tuple((str(name), str(why)) for name, why in told["skipped"]),
        _whole(told["skipped_count"]),
        kept,
        tuple(map(str, told["classes"])),
    )


def _whole(number: Any) -> int:
    if type(number) is not int:
        raise ValueError(f"{number!r} is no whole number")
    return number


def _table(survey: Survey) -> str:
    """A row for each summary, head and bin of a curve."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("mean", "std", "stderr", "min", "max", "count", "texts")
    writer.writerow(["summary", "layer", "name", "head", "bin", *columns])
    for name in survey.names():
        summary = survey[name]
        tensors = [getattr(summary, column) for column in columns]
        for layer, module in enumerate(survey.layers):
            for head in range(survey.heads):
                cells = [tensor[layer, head] for tensor in tensors]
                rows = zip(summary.bins, *(cell.tolist() for cell in cells), strict=True) if summary.bins else None
                for label, *numbers in rows or [["", *(float(cell) for cell in cells)]]:
                    if numbers[-1]:
                        writer.writerow([name, layer, _safe(module), head, label, *map(_number, numbers)])
    return text.getvalue()


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.10g}"


def _safe(text: str) -> str:
    """A cell that a spreadsheet takes for text, not for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text
