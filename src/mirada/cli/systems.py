"""`mirada systems`."""

from __future__ import annotations

from mirada import systems as lessons


def systems() -> None:
    """List the systems."""
    width = max(map(len, lessons.names()))
    for name in lessons.names():
        try:
            text = lessons.get(name).SUMMARY
        except ValueError as error:
            text = str(error)
        print(f"{name:{width}}  {text}")
