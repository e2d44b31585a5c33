"""The mechanism on numbers that can be checked by hand."""

from __future__ import annotations

from mirada.exhibits import walkthrough
from mirada.systems.walkthrough import Walk
from mirada.tour.draw import picture
from mirada.tour.page import Chapter, Fact, Look
from mirada.viewer import view


def chapter(walk: Walk) -> Chapter:
    """Scores, masks, weights, context, and a slip that raises no error."""
    first = ", ".join(f"{score:.4f}" for score in walk.traces["none"].scores[0, 0].tolist())
    percents = " ".join(f"{100 * weight:.0f}" for weight in walk.traces["padding"].weights[0, 0].tolist())
    leaked = walk["slip-fill"].panels[1].numbers[:, -1]
    leak = f"{100 * leaked.min():.0f} to {100 * leaked.max():.0f} %"
    return Chapter(
        name="walkthrough",
        asks="five rows ask each other",
        title="Scores, a mask, shares, a mean: that is all of it",
        result=f"{len(walk.steps)} steps, from scores to context",
        text=(
            "Take five rows of ten numbers, 0.00 to 0.49, and let them play all three parts: each row asks (query), is "
            f"asked (key) and answers (value). The score of a pair is its dot product; the first row's are {first}.",
            "A mask sets to −∞ what may not be seen. Softmax turns each row of scores into shares that add up to 1, "
            "and e to the power of −∞ is 0: who is hidden gets nothing. The context is the mean of the values, "
            "weighted by those shares.",
        ),
        facts=(
            Fact(percents, "percent: where the first row looks while a padding mask hides the last key"),
            Fact(leak, "of the attention gets through to that key when the fill is mistyped"),
        ),
        look=Look(
            view=view(walkthrough()),
            caption="From two vectors to a context, with all the numbers on the way. Choose a row that asks, or go "
            "step by step. The padding mask hides the last key.",
            opens={"view": "steps", "query": 0},
        ),
        pictures=(
            picture(
                walk["percents"].picture,
                "Three 5 by 5 tables of percents: under the padding mask the last column is empty, under the no-peek "
                "mask everything right of the diagonal, under both masks both.",
                "Where each row (query) looks, in percent, under a padding mask that hides the last key, a no-peek "
                "mask that hides the future, and both.",
            ),
            picture(
                walk["slip-fill"].picture,
                "Two 5 by 5 tables of percents: the right fill leaves the last column at 0, the wrong one does not.",
                "A slip that raises no error. Filled with −1e-9 where −1e9 or −∞ was meant, the hidden last key still "
                f"gets {leak} of the attention.",
            ),
        ),
        commands=("mirada walkthrough", "mirada walkthrough --query mine.npy --key theirs.npy --value said.npy"),
    )
