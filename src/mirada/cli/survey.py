"""`mirada survey MODEL TEXTS --out FOLDER`, also under torchrun; `mirada survey --compare A B`."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mirada import surveys
from mirada.cli.opening import chosen, without_bars
from mirada.models import OpenModel, open_model
from mirada.surveys.corpus import count, read
from mirada.surveys.questions import DEFAULT
from mirada.surveys.scores import next_token_loss
from mirada.training import processes

LENGTH = 1024


def survey(
    model: Annotated[str | None, Parameter(help="A hub name (owner/model), a folder, or a .gguf file.")] = None,
    /,
    *texts: Annotated[Path, Parameter(help='.txt (a text a line), .jsonl or .parquet (their "text").')],
    out: Annotated[Path, Parameter(help="Folder that keeps the survey.")] = Path("survey"),
    ask: Annotated[list[str] | None, Parameter(help="Summaries by name.")] = None,
    importance: Annotated[bool, Parameter(help="Also how much each head counts for the loss.", negative="")] = False,
    ablate: Annotated[list[str] | None, Parameter(help="Heads to ablate, as LAYER.HEAD: 18.6.")] = None,
    layers: Annotated[list[str] | None, Parameter(help="Blocks by number, or modules by name.")] = None,
    length: Annotated[
        int | None, Parameter(help="Texts are cut into windows of so many tokens; 1024, or less.")
    ] = None,
    tokens: Annotated[int, Parameter(help="Tokens of a batch, padding included.")] = 4096,
    every: Annotated[int, Parameter(help="The folder is written after so many texts.")] = 256,
    resume: Annotated[bool, Parameter(help="Go on with the survey in the folder.", negative="")] = False,
    device: Annotated[str | None, Parameter(help="cpu, cuda; a GPU where there is one.")] = None,
    dtype: Annotated[str | None, Parameter(help="auto, float32, bfloat16, float16, float64.")] = None,
    revision: Annotated[str | None, Parameter(help="Branch, tag or commit of a hub name.")] = None,
    compare: Annotated[tuple[Path, Path] | None, Parameter(help="Two surveys' folders: which heads differ.")] = None,
) -> None:
    """Summarise every head of a model over many texts. Under torchrun the processes share the texts."""
    warnings.simplefilter("default")
    if compare is not None:
        _compare(*compare)
        return
    if model is None or not texts:
        raise ValueError("survey needs a model and texts: mirada survey MODEL texts.jsonl --out FOLDER")
    known = list(_texts(texts))
    opened = _opened(model, device, dtype, revision)
    size = _length(opened, length)
    about = {"model": opened.title, "revision": revision or "", "texts": ", ".join(known)}
    scored = importance or bool(ablate)
    asked = [*(ask or DEFAULT), *(["importance"] if importance else [])]
    with _Progress(sum(map(count, texts))) as progress:
        found = surveys.survey(
            opened.model,
            (one for path in texts for one in _named(path, many=len(texts) > 1)),
            asked,
            tokenizer=opened.tokenizer,
            score=next_token_loss if scored else None,
            ablate=[_head(one) for one in ablate or ()],
            layers=chosen(layers),
            length=size,
            tokens=tokens,
            every=every,
            out=out,
            resume=resume,
            about=about,
            tell=progress.tell,
        )
    if processes.is_launched_first():
        print(found)
        print(out)


def _texts(paths: tuple[Path, ...]) -> Iterator[str]:
    """Each file by name and size: with another one a survey is not gone on with."""
    for path in paths:
        read(path)  # its kind is known
        yield f"{path.name} ({path.stat().st_size} bytes)"


def _named(path: Path, *, many: bool) -> Iterator[tuple[str, str | None, str]]:
    for name, text, why in read(path):
        yield f"{path.name} {name}" if many else name, text, why


def _opened(model: str, device: str | None, dtype: str | None, revision: str | None) -> OpenModel:
    without_bars()
    place = processes.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    opened = open_model(model, device=place, dtype=dtype, revision=revision)
    if opened.takes != "text" or opened.decodes:
        kind = "text for an encoder and a decoder" if opened.decodes else opened.takes
        raise ValueError(f"{opened.title}: takes {kind}; give mirada.survey batches of its own inputs in Python")
    if opened.tokenizer is None:
        raise ValueError(
            f"{opened.title}: it has no tokenizer that can be read{f': {opened.unread}' if opened.unread else ''}"
        )
    return opened


def _length(opened: OpenModel, length: int | None) -> int:
    most = getattr(opened.config, "max_position_embeddings", None) or LENGTH
    if length is not None and length > most:
        raise ValueError(f"--length {length}: {opened.title} takes {most} tokens at the most")
    return length or min(LENGTH, most)


def _head(text: str) -> tuple[int | str, int]:
    layer, _, head = text.rpartition(".")
    if not layer or not head.isdecimal():
        raise ValueError(f"--ablate {text!r}: wanted LAYER.HEAD, as in 18.6")
    return int(layer) if layer.isdecimal() else layer, int(head)


def _compare(one: Path, other: Path) -> None:
    from mirada.surveys.compare import compare

    print(compare(surveys.Survey.load(one), surveys.Survey.load(other)))


class _Progress:
    """A bar with texts and tokens a second and the time left; without a terminal, a line now and then."""

    _pause = 20.0  # seconds between two lines

    def __init__(self, total: int) -> None:
        shown = processes.is_launched_first()
        console = Console(stderr=True, quiet=not shown, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._console, self._bar, self._total = console, console.is_terminal and shown, total
        self._progress = Progress(
            TextColumn("texts"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not self._bar,
        )
        self._task = self._progress.add_task("", total=total, told="")
        self._began: tuple[float, float, int] | None = None
        self._next = 0.0

    def __enter__(self) -> _Progress:
        self._progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._progress.stop()

    def tell(self, texts: float, tokens: int) -> None:
        """Called after each batch."""
        now = time.monotonic()
        if self._began is None:
            self._began = now, texts, tokens
            return
        began, first, before = self._began
        seconds = max(now - began, 1e-9)
        rate = (texts - first) / seconds
        left = _clock((self._total - texts) / rate) if rate > 0 else "?"
        told = f"{rate:.3g} texts/s  {(tokens - before) / seconds:,.0f} tokens/s  {left} left"
        if self._bar:
            self._progress.update(self._task, completed=round(texts), told=told)
        elif now >= self._next:
            self._next = now + self._pause
            self._console.print(f"{texts:.0f} of {self._total} texts  {told}")


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
