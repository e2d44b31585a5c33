"""The steps of a generation, shown as one matrix a module."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from mirada.viewer.labels import Along


def as_one(what: Any) -> Any:
    """What was watched, its steps stitched where modules were called step by step; anything else as it is.

    Raises:
        ValueError: calls of different sizes that are no steps of one generation; it names the module and why.
    """
    if not hasattr(what, "stitched"):
        return what
    counts = Counter(record.name for record in what)
    several = [record for record in what if counts[record.name] > 1]
    sizes = {(record.name, *record.shape[-2:]) for record in several}
    differ = len(sizes) > len({record.name for record in several})
    if not differ and not any(record.shape[-2] == 1 for record in several):
        return what  # once each, or the same size again: a shared module, another example
    try:
        return what.stitched()
    except ValueError as error:
        if not differ:
            return what
        raise ValueError(
            f"what: the calls are not the steps of one generation: {error}; give some of them, such as records[:4]"
        ) from None


def without_last(along: Along, what: Any) -> Along:
    """Labels of all tokens of a generation: the last one was written, and never fed to the model."""
    target = along.target
    longest = max((record.shape[-1] for record in what), default=0)
    if along.pair or target is None or len(target) != longest + 1:
        return along
    cut = target.first(longest)
    return replace(along, target=cut, source=cut)


def steps_of(along: Along, what: Any) -> dict[str, Any] | None:
    """How many tokens a generation began with, and those it wrote; None where the labels are of two texts.

    Args:
        along: the labels of all tokens, the last one too where it is given.
        what: the records, call by call.
    """
    counts = Counter(record.name for record in what)
    first = next(record for record in what if counts[record.name] > 1)
    if along.pair:
        return None
    prompt, total = first.shape[-2], sum(record.shape[-2] for record in what if record.name == first.name)
    written = along.target.labels[prompt:] if along.target is not None else [str(n) for n in range(prompt, total)]
    return {"prompt": prompt, "written": list(written)}
