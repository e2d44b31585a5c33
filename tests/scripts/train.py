"""Trains the toy system: python train.py OUT '{"epochs": 3}' [--resume]; for tests that need a process of their own.

RANK in OUT stands for the number of the process under torchrun.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import mirada
from mirada import systems

if __name__ == "__main__":
    systems.__path__.append(str(Path(__file__).parent.parent / "toys"))
    for out in sys.argv[1].split(","):
        mirada.train(
            "line",
            out=out.replace("RANK", os.environ.get("RANK", "")),
            resume="--resume" in sys.argv,
            **json.loads(sys.argv[2]),
        )
