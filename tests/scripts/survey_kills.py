"""Kills a survey at random moments and goes on with another number of processes: python survey_kills.py FOLDER COUNT.

Each time a few processes begin and are killed together; then a different number of them goes on until it is done.
Prints, as JSON, what each survey has at the end beside the one that was not killed.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch import distributed as dist

import mirada
from mirada.surveys import Survey
from surveyed import batched, llama, texts

ASK = ["entropy", "sink", "induction", "attention_by_distance"]
MODEL = llama()
BATCHES = batched(texts(90), 3)


def survey(out: Path, rank: int, processes: int, store: Path, *, resume: bool) -> None:
    """The whole survey, or one process' part of it."""
    if processes > 1:
        dist.init_process_group("gloo", store=dist.FileStore(str(store), processes), rank=rank, world_size=processes)
    mirada.survey(MODEL, BATCHES, ASK, every=4, out=out, resume=resume)
    if processes > 1:
        dist.destroy_process_group()


def begin(out: Path, processes: int, store: Path, *, resume: bool) -> list[int]:
    """Fork the processes; gives their numbers."""
    children = []
    for rank in range(processes):
        child = os.fork()
        if child == 0:
            status = 1
            with suppress(BaseException):
                survey(out, rank, processes, store, resume=resume)
                status = 0
            os._exit(status)
        children.append(child)
    return children


def end(children: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def compared(one: Survey, other: Survey) -> dict[str, float | bool]:
    apart, counts = 0.0, one.texts == other.texts and one.tokens == other.tokens
    for name in one:
        for what in ("mean", "std", "stderr", "min", "max"):
            first, second = getattr(one[name], what), getattr(other[name], what)
            counts &= torch.equal(first.isnan(), second.isnan())
            apart = max(apart, float((first - second).nan_to_num(0.0).abs().max()))
        for what in ("count", "texts", "histogram"):
            counts &= torch.equal(getattr(one[name], what), getattr(other[name], what))
    return {"apart": apart, "same counts": counts}


if __name__ == "__main__":
    torch.set_num_threads(1)  # a forked child has no use for threads that only its parent has
    root, count = Path(sys.argv[1]), int(sys.argv[2])
    since = time.monotonic()
    survey(root / "whole", 0, 1, root / "none", resume=False)
    lasts = time.monotonic() - since
    whole, draw, told = Survey.load(root / "whole"), random.Random(0), []
    for moment in range(count):
        out, first = root / str(moment), draw.choice([1, 2, 3])
        children = begin(out, first, root / f"{moment} a", resume=False)
        time.sleep(draw.random() * 1.2 * lasts)
        for child in children:
            os.kill(child, signal.SIGKILL)
        killed = end(children)
        done = Survey.load(out).texts if (out / "sums.safetensors").exists() else 0
        then = draw.choice([n for n in (1, 2, 3) if n != first])
        resume = (out / "survey.json").exists()
        status = end(begin(out, then, root / f"{moment} b", resume=resume))
        told.append({"killed": killed, "done": done, "status": status} | compared(whole, Survey.load(out)))
    print(json.dumps(told))
