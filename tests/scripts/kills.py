"""Kills a training at many moments and goes on with it: python kills.py FOLDER '{"epochs": 3}' STRIDE.

A moment is any batch that is measured, any file that is half written, any file that is about to be renamed into its
place. For every STRIDE-th one a child trains up to it and kills itself; then a second child goes on with the run.
Prints what each left behind, as JSON; the first entry is the run that nobody killed.
"""

from __future__ import annotations

import json
import math
import os
import signal
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch

import mirada
from mirada import systems
from mirada.training import checkpoint
from mirada.training.run import Folder

systems.__path__.append(str(Path(__file__).parent.parent / "toys"))
MEASURE, REPLACE = systems.get("line").measure, os.replace


class Moments:
    """Counts moments and dies at one of them."""

    def __init__(self, last: float) -> None:
        self.count, self.last = 0, last

    def pass_by(self) -> None:
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any) -> Any:
            self.pass_by()
            return function(*arguments)

        return watched

    def half_written(self, descriptor: int) -> None:
        # In place of fsync: all that was written up to here may be lost, so a half is.
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and self.count + 1 == self.last:
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        self.pass_by()


def train(out: Path, settings: dict[str, Any], *, last: float, resume: bool) -> int:
    """Train up to the last moment; gives how many passed by."""
    moments = Moments(last)
    os.fsync, os.replace = moments.half_written, moments.watch(REPLACE)
    systems.get("line").measure = moments.watch(MEASURE)
    checkpoint._PAUSE = 0.0  # a file after every epoch, however short
    mirada.train("line", out=out, resume=resume, progress=False, **settings)
    return moments.count


def in_child(task: Callable[[], object]) -> int:
    """How a child ends that does the task: 0, or the signal that killed it."""
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            task()
            status = 0
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def left(out: Path) -> dict[str, Any]:
    """What is in the folder, down to the bits."""
    folder = Folder(out)
    metrics = [{key: value for key, value in line.items() if key != "seconds"} for line in folder.metrics()]
    weights = (out / "model.safetensors").read_bytes().hex() if (out / "model.safetensors").exists() else None
    files = sorted(path.name for path in out.iterdir()) if out.exists() else []
    return {"files": files, "metrics": metrics, "weights": weights, "epoch": (folder.state() or {}).get("epoch", 0)}


if __name__ == "__main__":
    torch.set_num_threads(1)  # a forked child has no use for threads that only its parent has
    root, settings, stride = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
    # Nobody kills this one. It runs here, not in a child, so that each child finds all modules imported.
    moments = train(root / "whole", settings, last=math.inf, resume=False)
    told: list[dict[str, Any]] = [{"after": left(root / "whole")}]
    for moment in range(1, moments + 1, stride):
        out = root / str(moment)
        killed = in_child(partial(train, out, settings, last=moment, resume=False))
        between = left(out)
        status = in_child(partial(train, out, settings, last=math.inf, resume=True))
        told.append({"killed": killed, "between": between, "status": status, "after": left(out)})
    print(json.dumps(told))
