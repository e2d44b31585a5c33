"""Whatever is asked on another device is answered there, and as on the CPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parent / "scripts" / "second_device.py"


def test_a_second_device_agrees_with_the_cpu():
    # In a process of its own, which knows of a device that is made of the CPU and keeps apart from it (far.py).
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True, timeout=300)
    *differences, count = done.stdout.splitlines()
    assert not differences
    assert int(count.removesuffix(" agree")) > 2000
