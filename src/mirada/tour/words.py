"""Numbers as the page says them."""

from __future__ import annotations

from mirada.experiment import Run


def percent(share: float) -> str:
    """Give a share in percent.

    >>> percent(0.9736)
    '97.4 %'
    """
    return f"{100 * share:.1f} %"


def parameters(run: Run) -> int:
    """How many numbers the model has learnt."""
    return sum(parameter.numel() for parameter in run.model.parameters())
