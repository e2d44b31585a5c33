"""`mirada systems`."""

from __future__ import annotations

from mirada import systems as rooms


def systems() -> None:
    """List the five systems."""
    width = max(map(len, rooms.names()))
    for name in rooms.names():
        print(f"{name:{width}}  {rooms.get(name).SUMMARY}")
