"""The mechanism and its masks, one step at a time, on numbers small enough to check by hand.

    context = softmax(Q Kᵀ) V        (a model divides the scores by √E: the last step says why)

Query, key and value are one and the same 5 × 10 matrix, 0.00, 0.01, ... 0.49. Every step is a table and a picture: the
scores, what a padding mask and a no-peek mask hide of them, the softmax, the context, the same for a batch. Two
mistakes that are easily made follow, each beside the right result. Your own query, key and value can take the place of
the example's.

Nothing is trained here: `walk(Settings())` gives the steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from mirada import masks
from mirada.data.arrays import read_matrix
from mirada.matrix import AttentionMatrix
from mirada.systems._steps import Panel, Step, Walk
from mirada.tracing import Trace, trace
from mirada.viewer import Exhibit
from mirada.viewer.exhibit import Attention
from mirada.viewer.playground import matrix as edited_matrix

SUMMARY = "The mechanism and its masks, step by step, in tables and pictures."


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to walk through. What is not given is the query's, then the worked example's."""

    query: Path | None = None
    """Your queries: a .npy file (L, E) or (N, L, E), or a .csv file with one query a line."""
    key: Path | None = None
    """Your keys, (S, E) or (N, S, E); without it, the queries."""
    value: Path | None = None
    """Your values, (S, Ev) or (N, S, Ev); without it, the keys."""
    scale: float = 1.0
    """What the scores are multiplied by; models take 1/√E."""
    padding: int = 1
    """How many keys at the end the padding mask hides."""
    align: Literal["start", "end"] = "start"
    """Where queries and keys differ in number: the first query stands at the first key, or the last at the last."""
    mask: Literal["none", "padding", "no-peek", "both"] = "padding"
    """Which mask the context is taken under."""


# --- the lesson ---


def walk(settings: Settings | None = None) -> Walk:
    """Take every step.

    Raises:
        ValueError: a file that can't be read, shapes that don't fit, or more padding than keys.

    Example:
        >>> percents = 100 * walk()["percents"].panels[0].numbers
        >>> percents.round().int().tolist()[0]
        [23, 24, 26, 27, 0]
    """
    settings = settings or Settings()
    query, key, value = _inputs(settings)  # (N, L, E), (N, S, E), (N, S, Ev)
    queries, keys = query.shape[1], key.shape[1]
    if not 0 <= settings.padding <= keys:
        raise ValueError(f"padding must be 0 to {keys}, the number of keys, not {settings.padding}")
    padding = masks.padding([keys - settings.padding], keys)
    causal = masks.causal(queries, keys, settings.align)
    kinds = {"none": None, "padding": padding, "no-peek": causal, "both": padding & causal}
    traces = {kind: trace(query, key, value, mask, scale=settings.scale) for kind, mask in kinds.items()}
    first = {kind: steps[0] for kind, steps in traces.items()}
    batch, lengths = _batch(traces["none"], settings.padding)
    steps = (
        _input(first["none"], settings),
        _scores(first["none"]),
        _padding(first["padding"], settings.padding),
        _no_peek(first["no-peek"], settings.align),
        _both(first["both"]),
        _weights(first),
        _percents(first),
        _context(first[settings.mask], settings.mask),
        _same_for_a_batch(batch, lengths),
        _slip_of_the_fill(first["padding"], first["no-peek"]),
        _slip_of_the_dimension(batch),
        _why_scale(),
    )
    return Walk(steps, traces)


def _input(seen: Trace, settings: Settings) -> Step:
    if not (settings.query or settings.key or settings.value):
        said = (
            "One matrix is query, key and value at once. In a model they are three learned projections of the input, "
            "x W_Q, x W_K and x W_V; here each projection is the identity, and there is one head."
        )
        return Step("input", "Query, key and value", said, (_rows("query = key = value", seen.query),))
    said = "A query is compared with every key; its context is a weighted mean of the values."
    parts = (_rows("query", seen.query), _rows("key", seen.key, "key"), _rows("value", seen.value, "key"))
    return Step("input", "Query, key and value", said, parts)


def _scores(seen: Trace) -> Step:
    said = "The score of a query and a key is their dot product: the more they point the same way, the larger."
    panels = [Panel("query · keyᵀ", seen.scores)]
    if seen.scale != 1:
        panels.append(Panel(f"scaled by {seen.scale:.4g}", seen.scaled))
        said += f" Every score is then multiplied by {seen.scale:.4g}."
    return Step("scores", "Every query is compared with every key", said, tuple(panels))


def _padding(seen: Trace, count: int) -> Step:
    which = {0: "none of the keys", 1: "the last key"}.get(count, f"the last {count} keys")
    verb = "is" if count < 2 else "are"
    said = (
        f"Sequences of a batch are filled up to one length. Here {which} {verb} such filling: no query may attend to "
        "it, so its scores become −∞."
    )
    return Step("padding", "A padding mask hides what is no real key", said, _masked(seen))


def _no_peek(seen: Trace, align: str) -> Step:
    said = (
        "A model that predicts what comes next must not see it: a query may attend to its own key and those before it. "
        "This mask is also called causal."
    )
    (queries, keys), ends = seen.scores.shape, {"start": "first", "end": "last"}
    if queries != keys:
        said += f" Of {queries} queries and {keys} keys, the {ends[align]} are taken to stand at the same place."
    return Step("no-peek", "A no-peek mask hides the future", said, _masked(seen))


def _both(seen: Trace) -> Step:
    said = "A query may attend to a key where both masks allow it: `padding & causal`."
    return Step("both", "Both masks together", said, _masked(seen))


def _weights(seen: dict[str, Trace]) -> Step:
    said = (
        "The softmax of a row makes its scores positive and lets them add up to 1. e to the power of −∞ is 0: a hidden "
        "key gets nothing, and the others share what it would have had."
    )
    panels = tuple(_shares(title, seen[kind], "decimals") for kind, title in _MASKS.items())
    return Step("weights", "Softmax turns scores into shares", said, panels)


def _percents(seen: dict[str, Trace]) -> Step:
    said = (
        "The same weights in whole percents: row by row, what a query attends to; a row sums to 100, but for rounding. "
        f"{_aloud(seen['padding'])}"
    )
    panels = tuple(_shares(title, seen[kind], "percents") for kind, title in _MASKS.items())
    return Step("percents", "The weights as percents", said, panels)


def _aloud(seen: Trace) -> str:
    """One cell of the weights as a sentence: of the middle query, the key that it attends to most."""
    row = (len(seen.weights) - 1) // 2
    if seen.hidden[row].all():
        return f"Read a row aloud: query {row + 1} attends to nothing."
    column = int(seen.weights[row].argmax())
    share = f"{100 * float(seen.weights[row, column]):.0f} %"
    return (
        f"Read a cell aloud, row {row + 1}, column {column + 1} of the first table: query {row + 1} takes {share} of "
        f"its context from key {column + 1}."
    )


def _context(seen: Trace, kind: str) -> Step:
    (queries, features), under = (
        seen.context.shape,
        {"none": "no mask", "both": "both masks"}.get(kind, f"the {kind} mask"),
    )
    said = (
        "The context of a query is the mean of the values, weighted by its row: all queries at once, in one product. "
        f"Under {under} it has the shape {queries} × {features}: one row for each query, as wide as a value."
    )
    return Step(
        "context",
        "The weights mix the values",
        said,
        (_shares("weights", seen, "percents"), _rows("context = weights · value", seen.context)),
    )


def _same_for_a_batch(batch: Trace, lengths: list[int]) -> Step:
    said = (
        "A batch is computed at once; each sequence has its own padding. A query that may attend to nothing gets "
        "weights and context of 0, where softmax alone would give 0/0, NaN. "
        f"The context is {' × '.join(map(str, batch.context.shape))}."
    )
    panels = (
        _shares(f"sequence {n}: {_count(length)}", batch[n - 1], "percents") for n, length in enumerate(lengths, 1)
    )
    return Step("batch", "The same for a batch", said, tuple(panels))


def _slip_of_the_fill(seen: Trace, causal: Trace) -> Step:
    # The original write-up of this lesson fills with −1e-9. It looks like −1e9, but it is as good as 0, and e⁰ is 1:
    # the hidden key is seen as though its score were 0. −∞ can't be mistyped, and no score is below it.
    slipped = torch.softmax(seen.scaled.masked_fill(seen.hidden, -1e-9), dim=-1)
    # As the write-up ran it: the padding by −1e9, then the causal mask by −1e-9 over it, which uncovers padded keys
    # too.
    written = torch.softmax(seen.scaled.masked_fill(seen.hidden, -1e9).masked_fill(causal.hidden, -1e-9), dim=-1)
    said = "A mistake of one sign: −1e-9 in place of −1e9 or −∞. It is a score of 0 and hides nothing"
    if seen.hidden.any():
        leaked = f"{float(slipped[seen.hidden].max()):.0%}".replace("%", " %")
        said += f": a padded key gets up to {leaked} of the attention, and no error tells."
    else:
        said += ". Here no key is padded, so the padding mask shows no difference."
    said += " In the last matrix the padding has −1e9, and the future then −1e-9 over it."
    panels = (
        _shares("filled with −∞: right", seen, "percents"),
        Panel("filled with −1e-9: wrong", slipped, values="percents"),
        Panel("−1e9, then −1e-9 over it: wrong", written),
    )
    return Step("slip-fill", "A slip: a fill that hides nothing", said, panels)


def _slip_of_the_dimension(batch: Trace) -> Step:
    # The original write-up of this lesson names no dimension. torch then takes the first of three, the batch, and
    # sequences share out 1 among each other; where none of them may attend it is 0/0. On a single matrix the
    # same line is right, so tests pass.
    slipped = torch.softmax(batch.masked, dim=0)
    said = (
        "With no dimension named, torch warns (“Implicit dimension choice for softmax has been deprecated”) and takes "
        "the softmax of (N, L, S) over N: the sequences of a batch, which have nothing to do with each other, compete, "
        "and a row no longer adds up to 1. A key that none of them may attend to "
        "gets 0/0, NaN. Here is the first sequence. In a batch of one, "
        "each weight competes with itself alone: all are 1."
    )
    sums = torch.stack([batch.weights[0].sum(-1), slipped[0].nansum(-1)])
    panels = (
        _shares("over the keys: right", batch[0], "percents"),
        Panel("over the batch: wrong", slipped[0], values="percents"),
        Panel("over a batch of one: wrong", torch.softmax(batch.scaled[:1], dim=0)[0]),
        Panel("rows add up to (NaN aside)", sums, rows=("right", "wrong"), columns="query", values="percents"),
    )
    return Step("slip-dimension", "A slip: softmax over the wrong dimension", said, panels)


def _why_scale() -> Step:
    said = (
        "The dot product of two standard-normal vectors of n numbers has variance n: the wider a model, the larger its "
        "scores. The softmax of large scores is all or nothing, and passes no gradient. Divided by √n, they keep a "
        "variance of 1."
    )
    widths = (1, 10, 100, 1000)
    variances = torch.tensor([dot_products(width).var() for width in widths])  # (4,)
    both = torch.stack([variances, variances / torch.tensor(widths)], dim=-1)  # (4, 2)
    factors = (1, 2, 10, 100)
    shares = torch.softmax(torch.tensor([4.0, 1.0]) * torch.tensor(factors)[:, None], dim=-1)  # (4, 2)
    return Step(
        "scale",
        "Why scores are scaled",
        said,
        (
            Panel("variance of 10,000 scores", both, [f"n = {width}" for width in widths], ("q · k", "q · k / √n")),
            Panel("softmax of [4, 1]", shares, [f"× {factor}" for factor in factors], ("of 4", "of 1")),
        ),
    )


def dot_products(width: int, pairs: int = 10_000) -> Tensor:
    """Dot products of pairs of standard-normal vectors, (pairs,): their variance is the width of the vectors.

    >>> round(float(dot_products(100).var() / 100), 1)
    1.0
    """
    generator = torch.Generator().manual_seed(21)
    query, key = torch.randn(2, pairs, width, generator=generator)
    return (query * key).sum(-1)


# --- inputs and panels ---

_MASKS = {"padding": "padding mask", "no-peek": "no-peek mask", "both": "both masks"}


def _inputs(settings: Settings) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value, each (N or 1, ...)."""
    query = read_matrix(settings.query, "query") if settings.query else torch.arange(50).view(5, 10) / 100
    key = read_matrix(settings.key, "key") if settings.key else query
    value = read_matrix(settings.value, "value") if settings.value else key
    query, key, value = (part if part.ndim == 3 else part[None] for part in (query, key, value))
    return query, key, value


def _batch(seen: Trace, padding: int) -> tuple[Trace, list[int]]:
    """A batch to show: the user's own, or three times the one sequence with ever more padding, at last all."""
    keys, count = seen.key.shape[-2], seen.key.shape[0]
    lengths = [keys - padding] * min(count, 3) if count > 1 else [keys - padding, (keys - padding) // 2, 0]
    query, key, value = (
        part[:3] if count > 1 else part.expand(3, -1, -1) for part in (seen.query, seen.key, seen.value)
    )
    return trace(query, key, value, masks.padding(lengths, keys), scale=seen.scale), lengths


def _rows(title: str, numbers: Tensor, rows: str = "query") -> Panel:
    return Panel(title, numbers, rows=rows, columns="")


def _masked(seen: Trace) -> tuple[Panel, Panel]:
    """The mask itself, and what it makes of the scores."""
    mask = Panel("the mask: 1 = may attend", (~seen.hidden).float(), values="whole")
    return mask, Panel("scores, −∞ where hidden", seen.masked)


def _shares(title: str, seen: Trace, values: Literal["decimals", "percents"]) -> Panel:
    return Panel(title, seen.weights, values=values, hidden=seen.hidden)


def _count(length: int) -> str:
    return {0: "no real key", 1: "1 real key"}.get(length, f"{length} real keys")


# --- the interactive view ---


def exhibit() -> Exhibit:
    """The worked example under its padding mask, and the matrix and the mask to edit."""
    x = _inputs(Settings())[0]  # (1, 5, 10)
    rows, keys = [f"row {n + 1}" for n in range(x.shape[1])], x.shape[1]
    attended = Attention("walkthrough", AttentionMatrix(x, x, masks.padding([keys - 1], keys), scale=1.0), x)

    def attend(x: Tensor, mask: Tensor, scale: float) -> dict[str, Tensor]:
        seen = trace(x, x, x, mask, scale=scale)
        return {name: getattr(seen, name) for name in ("scores", "masked", "weights", "context")}

    trial = edited_matrix(attend, example=x[0])
    return Exhibit([attended], (rows, rows), "walkthrough", trials={"try": trial})
