"""All that a survey has counted so far, and all that going on with it needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mirada.surveys.corpus import Round, WindowOf
from mirada.surveys.measuring import Measured

_NAMED = 100  # skipped texts that are named; all are counted


@dataclass(frozen=True, eq=False)
class State:
    """What was counted, of which texts."""

    total: Measured | None = None
    done: int = 0
    """Texts that are dealt with, counted or skipped; of given batches, batches."""
    windows: int = 0
    skipped: tuple[tuple[str, str], ...] = ()
    skipped_count: int = 0
    kept: dict[int, WindowOf] = field(default_factory=dict)
    """The texts of the examples, by their number."""
    classes: tuple[str, ...] = ()
    """The classes of tokens."""

    def after(self, part: Round, found: Measured | None, skipped: list[tuple[str, str]]) -> State:
        """With one more round: what was counted in it, and the texts that were not."""
        total = self.total if found is None else found if self.total is None else self.total.merge(found)
        needed = set() if total is None else set().union(*(one.texts() for one in total.examples.values()))
        named = [*self.skipped, *sorted(skipped)]
        texts = {number: text for number, text in (self.kept | part.windows_of).items() if number in needed}
        return replace(
            self,
            total=total,
            done=self.done + part.texts,
            windows=part.windows,
            skipped=tuple(named[:_NAMED]),
            skipped_count=self.skipped_count + len(skipped),
            kept=texts,
        )
