"""What there is to look at in each system, and what can be tried with it by hand."""

from __future__ import annotations

from mirada.exhibits.systems import exhibit as exhibit
from mirada.exhibits.systems import walkthrough as walkthrough

__all__ = ["exhibit", "walkthrough"]
