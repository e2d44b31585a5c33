"""Whether the kernel that is explained runs on a second device: python explain_far.py. Prints differences, a count."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import explaining
import far  # noqa: F401 - registers the device


def main() -> None:
    count = 0
    for question in explaining.QUESTIONS:
        for name in explaining.PROBLEMS:
            difference = explaining.explained_and_ran(question, name, "far")
            if difference is not None:
                print(difference)
            count += 1
    print(count)


if __name__ == "__main__":
    main()
