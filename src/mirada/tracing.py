"""The mechanism of attention, one step at a time, with nothing hidden between the steps.

    scores = query keyᵀ  →  scaled = scale · scores  →  masked  →  weights = softmax(masked)  →  context = weights value

`mirada.attention` gives the same context without ever holding the matrices in between; here they are what is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console, Group
from rich.text import Text
from torch import Tensor

from mirada.kernels import reference
from mirada.masks import Mask
from mirada.matrix import AttentionMatrix
from mirada.tables import MatrixTable, plain_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """Every step of one attention. `print(trace)` tells it in tables, `trace.draw()` in pictures."""

    query: Tensor  # (..., L, E)
    key: Tensor  # (..., S, E)
    value: Tensor  # (..., S, Ev)
    scale: float
    scores: Tensor
    """(..., L, S): query keyᵀ, how well each query and each key agree."""
    scaled: Tensor
    """(..., L, S): scores · scale."""
    hidden: Tensor
    """(..., L, S) booleans, True = the query may not attend to the key."""
    masked: Tensor
    """(..., L, S): −inf where a query may not attend, else the scaled score (plus the bias of a floating mask)."""
    weights: Tensor
    """(..., L, S): the softmax of each row of `masked`; each row adds up to 1, or is 0 where nothing may be seen."""
    context: Tensor
    """(..., L, Ev): weights value, the values' mean by these weights."""

    def __getitem__(self, index: Any) -> Trace:
        """The trace of one sequence, one head, ...: an index into the leading dimensions.

        >>> t = trace(*torch.randn(3, 2, 8, 5, 4))  # 2 sequences, 8 heads
        >>> t[1, 7].weights.shape
        torch.Size([5, 5])
        """
        index = index if isinstance(index, tuple) else (index,)
        leading = self.scores.shape[:-2]
        if len(index) > len(leading):
            raise IndexError(f"index {index} is longer than the leading dimensions {tuple(leading)}")
        # The last two dimensions are a matrix's own: they stay whole, after an ellipsis too.
        parts = {name: part[(*index, *_WHOLE)] for name, part in vars(self).items() if isinstance(part, Tensor)}
        return Trace(scale=self.scale, **parts)

    def __repr__(self) -> str:
        return f"Trace(query={tuple(self.query.shape)}, key={tuple(self.key.shape)}, value={tuple(self.value.shape)})"

    def __str__(self) -> str:
        return plain_text(self.__rich__())

    def show(self, console: Console | None = None) -> None:
        """Print every step as a table, as wide as the terminal."""
        (console or Console()).print(self)

    def __rich__(self) -> Group:
        shown, where = self._first()
        parts: list[Any] = [Text(where, style="dim")] if where else []
        for number, (name, formula, sentence, step) in enumerate(shown._steps(), start=1):
            heading = Text.assemble((f"{number}  {name}", "bold"), f" = {formula}", (f"   {sentence}", "dim"))
            hidden = shown.hidden if name == "weights" else None
            table = MatrixTable(step, rows="query", columns="" if name == "context" else "key", hidden=hidden)
            parts += [heading, table, Text()]
        return Group(*parts[:-1])

    def draw(self) -> Figure:
        """Draw the steps side by side, each under its formula; of several leading indices, the first.

        >>> len(trace(*torch.randn(3, 4, 2)).draw().axes)
        5
        """
        # Not at the top: who only wants the numbers needn't wait for matplotlib.
        from mirada import plots

        shown, where = self._first()
        (queries, keys), features = shown.scores.shape, shown.context.shape[-1]
        cell = 0.46 if max(queries, keys, features) <= _WRITTEN else 0.3
        wide = [min(max(count * cell, 1.6), 5.0) for count in (*[keys] * 4, features)]
        page = plots.figure(sum(wide) + 1.6, min(max(queries * cell, 1.4), 5.0) + 1.0, where or None)
        axes = page.subplots(1, 5, width_ratios=wide)
        formulas = [
            r"$QK^\mathrm{T}$",
            rf"$\times\,{shown.scale:.3g}$",
            "masked",
            "softmax of each row",
            r"$\times\,V$",
        ]
        for ax, formula, (name, _, _, step) in zip(axes, formulas, shown._steps(), strict=True):
            plots.heatmap(
                step,
                ax=ax,
                hidden=shown.hidden if name == "weights" else None,
                values="decimals" if max(step.shape, default=0) <= _WRITTEN else None,
                title=f"{name}: {formula}" if name != "masked" else "masked",
            )
            ax.set_xlabel("feature" if name == "context" else "key", fontsize=8)
        axes[0].set_ylabel("query", fontsize=8)
        return page

    def _repr_png_(self) -> bytes:
        from mirada import plots

        return plots.png(self.draw())

    def _first(self) -> tuple[Trace, str]:
        """The first of all leading indices, and a line that says so."""
        leading = tuple(self.scores.shape[:-2])
        if not leading:
            return self, ""
        if 0 in leading:
            raise ValueError(f"there is nothing to show: the leading dimensions are {leading}")
        first = (0,) * len(leading)
        index = ", ".join(map(str, first))
        return self[first], f"[{index}] of the leading dimensions {leading}"

    def _steps(self) -> list[tuple[str, str, str, Tensor]]:
        return [
            ("scores", "query · keyᵀ", "how well each query and each key agree", self.scores),
            ("scaled", f"scores × {self.scale:.4g}", "so that softmax isn't saturated", self.scaled),
            ("masked", "scaled, −∞ where hidden", "what may not be seen can't win", self.masked),
            ("weights", "softmax(masked)", "each query shares out 1 among the keys", self.weights),
            ("context", "weights · value", "the mean of the values, so weighted", self.context),
        ]


_WHOLE = (slice(None), slice(None))
# Up to this many cells a side, their numbers can be read in a picture.
_WRITTEN = 10


def trace(
    query: Tensor, key: Tensor, value: Tensor, mask: Mask | Tensor | None = None, *, scale: float | None = None
) -> Trace:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1), keeping every step.

    Args:
        query: (..., L, E), floating.
        key: (..., S, E).
        value: (..., S, Ev).
        mask: a mask of `mirada.masks`, or a tensor that broadcasts to (..., L, S): bool (True = may attend) or floating
            (added to the scaled scores).
        scale: what the scores are multiplied by; None means 1/√E.

    Returns:
        The steps, in the dtype of the query and differentiable. A query that may see nothing has weights and context
        0; a key that may not be seen has no influence, NaN and inf in it included.

    Raises:
        ValueError: shapes, dtypes or devices that don't fit.
        TypeError: a mask that is neither bool nor floating.

    >>> t = trace(torch.tensor([[1.0, 0.0]]), torch.eye(2), torch.eye(2), scale=1.0)
    >>> t.weights
    tensor([[0.7311, 0.2689]])
    """
    matrix = AttentionMatrix(query, key, mask, scale=scale)
    *leading, queries, keys = matrix.shape
    value = _fitting(value, key, leading)
    query, key = (part.expand(*leading, *part.shape[-2:]) for part in (query, key))

    scores = _scores(query, key)  # (..., L, S)
    scaled = scores * matrix.scale
    masked, hidden = scaled, torch.zeros_like(scaled, dtype=torch.bool)
    if matrix.mask is not None:
        visible, bias = matrix.mask.materialise(leading, queries, keys, query.device)
        hidden = ~visible.expand_as(hidden)
        if bias is not None:
            masked = masked + bias.to(masked.dtype)
        # Not −1e9, which a large score outweighs, and never −1e-9, which hides nothing.
        masked = masked.masked_fill(hidden, -torch.inf)
    weights = reference.softmax(masked)
    context = reference.context(weights, value)  # (..., L, Ev)
    return Trace(query, key, value, matrix.scale, scores, scaled, hidden, masked, weights, context)


def _scores(query: Tensor, key: Tensor) -> Tensor:
    """Query keyᵀ, where a gradient of 0 stays 0 in front of NaN and inf: 0 × NaN would be NaN on the way back."""
    scores = query @ key.mT
    if scores.isfinite().all():
        return scores
    query, key = (torch.where(part.isfinite(), part, 0.0) for part in (query, key))
    return torch.where(scores.isfinite(), query @ key.mT, scores.detach())


def _fitting(value: Tensor, key: Tensor, leading: list[int]) -> Tensor:
    if not isinstance(value, Tensor) or value.dtype != key.dtype or value.device != key.device:
        found = f"{value.dtype} on {value.device}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"value must be a tensor like query and key, {key.dtype} on {key.device}, got {found}")
    if value.ndim < 2 or value.shape[-2] != key.shape[-2]:
        raise ValueError(
            f"value must have one row for each of the {key.shape[-2]} keys, (..., {key.shape[-2]}, width), "
            f"got {tuple(value.shape)}"
        )
    try:
        return value.expand(*leading, *value.shape[-2:])
    except RuntimeError:
        raise ValueError(
            f"value of shape {tuple(value.shape)} doesn't broadcast to the leading dimensions {tuple(leading)}"
        ) from None
