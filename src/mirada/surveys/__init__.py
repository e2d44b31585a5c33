"""Statistics of every head over many texts, on one process or many."""

from __future__ import annotations

from mirada.surveys.result import Example as Example
from mirada.surveys.result import Summary as Summary
from mirada.surveys.result import Survey as Survey
from mirada.surveys.running import survey as survey

__all__ = ["Example", "Summary", "Survey", "survey"]
