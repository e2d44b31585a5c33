"""`python -m mirada`, which is also what torchrun starts."""

from __future__ import annotations

import sys

from mirada.cli import main

if __name__ == "__main__":
    sys.exit(main())
