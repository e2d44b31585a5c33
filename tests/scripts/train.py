"""Trains the toy system: python train.py OUT '{"epochs": 3}' [--resume]; for tests that need a process of their own.

RANK in OUT stands for the number of the process under torchrun; with --die the second one kills itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import mirada
from mirada import systems


def die_later(out: Path) -> None:
    """End this process as no program can prevent, once the run is under way."""
    while not (out / "metrics.jsonl").exists():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if "--die" in sys.argv and os.environ["RANK"] == "1":
        threading.Thread(target=die_later, args=(Path(sys.argv[1]),), daemon=True).start()
    systems.__path__.append(str(Path(__file__).parent.parent / "toys"))
    for out in sys.argv[1].split(","):
        mirada.train(
            "line",
            out=out.replace("RANK", os.environ.get("RANK", "")),
            resume="--resume" in sys.argv,
            **json.loads(sys.argv[2]),
        )
