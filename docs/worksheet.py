"""The printable worksheet of teach.md: attention on five rows by hand, and a second sheet with the answers.

``python docs/worksheet.py FOLDER`` writes both pages; the documentation's build does, too. Every answer is computed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

import mirada
from mirada import masks

ROW = 2  # the row that is computed by hand, counted from 0
X = torch.arange(50).reshape(5, 10) / 100  # (5, 10)
PADDING = masks.padding([4], 5)

STYLE = """
@page { size: A4; margin: 14mm; }
body { font: 11pt/1.4 system-ui, sans-serif; max-width: 182mm; margin: 1rem auto; padding: 0 1rem; }
body { color: #000; background: #fff; }
h1 { font-size: 18pt; margin: 0 0 0.2rem; }
h2 { font-size: 12pt; margin: 1rem 0 0.2rem; break-after: avoid; }
p { margin: 0.25rem 0; } .who { margin: 0.4rem 0 0.8rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.35rem 0; break-inside: avoid; }
th, td { border: 1px solid #777; padding: 0.15rem 0.4rem; min-width: 2.6rem; height: 1.35rem; }
td { text-align: right; font-variant-numeric: tabular-nums; }
th { white-space: nowrap; font-weight: 600; background: #f3f3f3; text-align: center; }
td.open { background: #fffbe8; }
td.answer { font-weight: 700; color: #004a75; }
td.hidden { background: repeating-linear-gradient(45deg, #ddd 0 3px, #fff 3px 7px); }
.line { display: inline-block; border-bottom: 1px solid #000; min-width: 9rem; }
@media print { td.open { background: #fff; } }
"""


def _table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    top = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "".join(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>' for name, cells in rows)
    return f'<div class="scroll" tabindex="0"><table><tr>{top}</tr>{body}</table></div>'


def _given(number: float, digits: int = 4) -> str:
    return f"<td>{number:.{digits}f}</td>"


class _Sheet:
    """Open fields, or the same fields filled in."""

    def __init__(self, answers: bool) -> None:
        self.answers = answers

    def field(self, number: float, digits: int) -> str:
        return f'<td class="answer">{number:.{digits}f}</td>' if self.answers else '<td class="open"></td>'

    def line(self, text: str) -> str:
        return f"<strong>{text}</strong>" if self.answers else '<span class="line">&nbsp;</span>'

    def exponentials(self, scores: Tensor, weights: Tensor) -> str:
        """e to the power of each score, their sum, and the weights; of as many keys as there are scores."""
        powers = scores.exp()
        keys = [f"key {n}" for n in range(1, len(scores) + 1)]
        return _table(
            ["", *keys, "sum"],
            [
                (
                    "e<sup>score</sup>",
                    [*(self.field(p, 3) for p in powers.tolist()), self.field(powers.sum().item(), 3)],
                ),
                ("weight", [*(self.field(w, 3) for w in weights.tolist()), self.field(weights.sum().item(), 2)]),
            ],
        )


def page(*, answers: bool) -> str:
    """The sheet as a page of its own."""
    sheet = _Sheet(answers)
    batch = X[None]  # (1, 5, 10)
    padded = mirada.trace(batch, batch, batch, PADDING, scale=1.0)[0]
    causal = mirada.trace(batch, batch, batch, PADDING & masks.causal(5), scale=1.0)[0]
    keys = [f"key {n}" for n in range(1, 6)]
    numbers = _table(
        ["feature", *map(str, range(1, 11))],
        [(f"row {n}", [_given(v, 2) for v in row]) for n, row in enumerate(X.tolist(), start=1)],
    )
    scores = _table(
        ["score", *keys],
        [
            (f"query {i + 1}", [sheet.field(s, 4) if i == ROW else _given(s) for s in row])
            for i, row in enumerate(padded.scores.tolist())
        ],
    )
    values, context = X[:4, 0].tolist(), padded.context[ROW, 0].item()  # feature 1 of what may be attended to
    below = sum(value < context for value in values)
    may = ", ".join(str(n + 1) for n in range(ROW + 1))
    percents = _table(
        ["%", *keys],
        [
            (
                f"query {i + 1}",
                [
                    '<td class="hidden"></td>' if hidden else sheet.field(100 * w, 0)
                    for w, hidden in zip(row, gone, strict=True)
                ],
            )
            for i, (row, gone) in enumerate(zip(causal.weights.tolist(), causal.hidden.tolist(), strict=True))
        ],
    )
    visible = slice(0, ROW + 1)
    title = f"Attention by hand{': the answers' if answers else ''}"
    who = "" if answers else f'<p class="who">Name {sheet.line("")} Date {sheet.line("")}</p>'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{STYLE}</style></head><body><main>
<h1>{title}</h1>{who}
<p>Five positions, ten features. Each row is query, key and value at once. Row 5 is padding. No scale.</p>{numbers}
<h2>1 · Scores of query {ROW + 1}</h2>
<p>Multiply row {ROW + 1} with each row, feature by feature, and add up. The other rows are done.</p>{scores}
<h2>2 · Mask</h2>
<p>Row 5 is padding. Cross out the column that no query may attend to. Its scores become {sheet.line("−∞")}</p>
<h2>3 · Softmax of query {ROW + 1}</h2>
<p>Take e to the power of each score that is left, add up, divide.</p>
{sheet.exponentials(padded.scores[ROW, :4], padded.weights[ROW, :4])}
<h2>4 · Context, feature 1</h2>
<p>Feature 1 of the values is {", ".join(f"{value:.2f}" for value in values)}.
Weighted mean: {sheet.line(f"{context:.3f}")}
Between which two rows does it lie? {sheet.line(f"rows {below} and {below + 1}")}</p>
<h2>5 · Causal mask</h2>
<p>Query {ROW + 1} may now attend only to itself and to those before: keys {sheet.line(may)}.
Take the powers of step 3 and divide again.</p>
{sheet.exponentials(padded.scores[ROW, visible], causal.weights[ROW, visible])}
<h2>6 · The whole matrix, with both masks</h2>
<p>Fill in rows 1 and 3, and as many more as you have time for.
Then shade each cell with a pencil: the larger, the darker.</p>{percents}
<p>Read row {ROW + 1} aloud:
“query {ROW + 1} takes {sheet.line(f"{100 * causal.weights[ROW, 0]:.0f} % from row 1")} …”</p>
</main></body></html>
"""


def write(folder: Path) -> list[Path]:
    """Both pages, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, answers in {"worksheet": False, "worksheet-answers": True}.items():
        paths.append(folder / f"{name}.html")
        paths[-1].write_text(page(answers=answers), encoding="utf-8")
    return paths


if __name__ == "__main__":
    for path in write(Path(sys.argv[1])):
        print(path)
