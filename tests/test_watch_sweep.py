"""Every model type of the installed transformers that can be built small, watched against an independent recorder.

Slow: some twenty minutes on one core. The list of what is named in docs/watch.md is made here:
``MIRADA_WRITE=1 python -m pytest tests/test_watch_sweep.py -m slow``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from shrinking import model_types

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "watch.md"
BEGIN, END = "<!-- named: made by tests/test_watch_sweep.py -->", "<!-- end of named -->"
CHUNK = 40

pytestmark = [pytest.mark.transformers, pytest.mark.slow]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """What came of each type and implementation, in processes of some types each."""
    found, count = {}, len(model_types())
    for first in range(0, count, CHUNK):
        out = tmp_path_factory.mktemp("sweep") / "verdicts.json"
        command = [sys.executable, "-W", "ignore", str(HERE / "sweep.py"), str(first), str(first + CHUNK), str(out)]
        subprocess.run(command, check=True, timeout=3600, capture_output=True)
        found |= json.loads(out.read_text())
    return found


def by_type(verdicts):
    """The worst verdict of each type that was built."""
    order = ["crashed", "changed", "wrong", "silent", "named", "exact", "without"]
    types = {}
    for name, found in verdicts.items():
        if found["verdict"] != "not built":
            types.setdefault(name.split()[0], []).append(found["verdict"])
    return {kind: min(each, key=order.index) for kind, each in types.items()}


def named(verdicts):
    """A line for each type with a module that is named, and why."""
    lines = {}
    for name, found in verdicts.items():
        if found["verdict"] == "named":
            lines.setdefault(name.split()[0], set()).update(found["named"].values())
    return [f"- {kind}: {'; '.join(sorted(why))}" for kind, why in sorted(lines.items())]


def test_none_is_wrong_crashed_changed_or_silent(verdicts):
    types = by_type(verdicts)
    count = Counter(types.values())
    assert sum(count.values()) >= 500
    bad = {
        kind: found for kind, found in verdicts.items() if found["verdict"] in ("crashed", "changed", "wrong", "silent")
    }
    assert not bad
    assert count["exact"] >= 0.95 * (count["exact"] + count["named"])  # the rest is deformable, linear, hashed: named


def test_the_page_lists_what_is_named(verdicts):
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    listed, after = rest.split(END)
    if os.environ.get("MIRADA_WRITE"):
        listed = "\n" + "\n".join(named(verdicts)) + "\n"
        PAGE.write_text(before + BEGIN + listed + END + after)
    assert listed.strip().splitlines() == named(verdicts)
