"""`mirada systems`."""

from __future__ import annotations

from mirada import systems as lessons


def systems() -> None:
    """List the five systems."""
    width = max(map(len, lessons.names()))
    for name in lessons.names():
        print(f"{name:{width}}  {lessons.get(name).SUMMARY}")
