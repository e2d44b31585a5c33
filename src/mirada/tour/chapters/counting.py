"""One learned query that looks for what matters."""

from __future__ import annotations

from typing import Any

import torch

from mirada.experiment import Run
from mirada.tour.draw import picture
from mirada.tour.page import Chapter, Fact, Look
from mirada.tour.words import parameters, percent
from mirada.viewer import view


def chapter(run: Run) -> Chapter:
    """How seldom it is wrong, and how much of its attention goes to the digits that count."""
    test = run.evaluate()["test"]
    drawn = dict(run.system.pictures(run))
    sequences = len(run.data.test[0])
    wrong = f"{round((1 - test['accuracy']) * sequences)} of {sequences:,}"
    share = _share_of_2_and_4(run)
    return Chapter(
        name="counting",
        asks="one learned query asks ten digits",
        title="Nobody told it which digits count",
        result=f"{wrong} fresh sequences wrong, {percent(share)} of the look on 2 and 4",
        text=(
            "Ten digits: are there more 2s than 4s? The model looks once, with a single query that it has learned and "
            "that is the same for every sequence. What it is told is one number, and from that it has to answer.",
            f"It answers {wrong} fresh sequences wrong. Shown each digit once, it gives {percent(share)} of its "
            "attention to the 2 and the 4; even shares would give them 20 %.",
        ),
        facts=(
            Fact(wrong, "fresh sequences answered wrong, by one learned query"),
            Fact(percent(share), "of its attention goes to 2 and 4, shown each digit once"),
            Fact(f"{parameters(run):,}", "numbers learnt, 5 of them the query"),
        ),
        look=Look(
            view=view(run),
            caption="One sequence: point at the question, or at a digit. In Steps the query is multiplied with the key "
            "of each digit.",
            opens={"view": "tokens"},
            height="low",
        ),
        pictures=(
            picture(
                drawn["ten-digits"],
                "The digits 0 to 9 in a row, shaded by their weight, the 2 and the 4 in red and the darkest.",
                "Where the query looks when each digit is there once.",
            ),
            picture(
                drawn["attention"],
                "Twelve sequences of ten digits, shaded by their weights, the 2s and 4s in red.",
                "Where it looks in twelve sequences, and whether there are more 2s than 4s.",
                "half",
            ),
            picture(
                drawn["values"],
                "The same twelve sequences, with the values of the digits that are looked at.",
                "What it is told there: the values, where a weight is above 0.1. The two kinds pull opposite ways.",
                "half",
            ),
        ),
        commands=("mirada train counting", "mirada predict runs/counting 2024193752"),
    )


def _share_of_2_and_4(run: Run) -> float:
    model: Any = run.model
    with torch.no_grad():
        _, weights = model(torch.arange(10)[None])  # (1, 1, 10)
    return float(weights[0, 0, [2, 4]].sum())
