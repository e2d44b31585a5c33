"""The tour: train the systems on embedded data, and tell on one page what they are and what they attend to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import torch

from mirada import __version__
from mirada.storage import write_whole
from mirada.systems.walkthrough import walk
from mirada.tour import cover, trials
from mirada.tour.chapters import counting, introduction, mechanism, patches, pixels, squares
from mirada.tour.page import Chapter, render
from mirada.tour.trainings import Trainings


def write(out: str | os.PathLike[str], say: Callable[[str], None] = print) -> Path:
    """Write `out`/index.html, and the runs that it tells of beside it.

    Args:
        out: the folder; made if it isn't there. What an earlier tour left in it is replaced.
        say: gets a line for each chapter that is done.

    Returns:
        The path of the page.

    Raises:
        RunError: something in the folder is not of an earlier tour and would be lost.
        OSError: the folder can't be written.
    """
    out, began = Path(out), perf_counter()
    with one_thread(), Trainings(out) as trained:
        chapters: list[Chapter] = []
        for make in (
            lambda: introduction.chapter(walk()),
            lambda: mechanism.chapter(walk()),
            lambda: counting.chapter(trained["counting"]),
            lambda: pixels.chapter(trained["pixels"]),
            lambda: patches.chapter(
                {name: trained[f"patches-{name}"] for name in patches.MODELS},
                {
                    heads: trained["patches-wide" if heads == 16 else f"patches-heads-{heads}"]
                    for heads in patches.HEADS
                },
            ),
            lambda: squares.chapter({name: trained[f"squares-{name}"] for name in trials.DECODERS}),
        ):
            since = perf_counter()
            chapters.append(make())
            say(f"{chapters[-1].name:12} {chapters[-1].result:66} {perf_counter() - since:5.1f} s")
        seconds = perf_counter() - began
        front = cover.cover(chapters, trained["patches-block"], seconds)
        page = render(front, chapters, seconds=seconds, version=__version__, torch=str(torch.__version__))
        trained.keep()
    return write_whole(out / "index.html", page.encode())


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: these models are too small to share out, and threads that wait cost others' time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
