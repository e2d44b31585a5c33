"""The mechanism on numbers that can be checked by hand."""

from __future__ import annotations

import torch

from mirada.systems.walkthrough import Walk, exhibit
from mirada.tour import trials
from mirada.tour.draw import panels
from mirada.tour.page import Chapter, Fact, Look, Next, Pictures, Table, Terms, Text, Trial
from mirada.tour.words import percents
from mirada.viewer import view


def chapter(walk: Walk) -> Chapter:
    """Scores, masks, weights, context, why √d, and the slips that raise no error."""
    plain, padded = walk.traces["none"][0], walk.traces["padding"][0]
    x = plain.query  # (5, 10)
    first = ", ".join(f"{score:.4f}" for score in plain.scores[0].tolist())
    leaked = walk["slip-fill"].panels[1].numbers[:, -1]
    leak = f"{100 * leaked.min():.0f} to {100 * leaked.max():.0f} %"
    return Chapter(
        name="walkthrough",
        subject="five rows attend to each other",
        title="Scores, a mask, softmax, a weighted mean",
        result=f"{len(walk.steps)} steps, from scores to context",
        text=(
            "Take five rows of ten numbers, 0.00 to 0.49. To keep the arithmetic small, each row is its own "
            "{query:query}, {key:key} and {value:value}: the three projections are the identity here, and the scores "
            "are not divided by √d.",
            "The score of a pair is the dot product: multiply number by number and add up. The first row's scores "
            f"are {first}.",
        ),
        facts=(
            Fact(
                percents(padded.weights[0].tolist()), "percent: what row 1 attends to while a padding mask hides row 5"
            ),
            Fact(leak, "of the attention reaches that row when the fill is mistyped"),
        ),
        parts=(
            Text(
                anchor="softmax",
                heading="Softmax: from scores to weights, and why e^{x}",
                paragraphs=(
                    "A weighted mean needs weights that are positive and add up to 1. Softmax makes them from any "
                    "scores:",
                    "Why e^{x}? It is positive for every score, also for negative ones. It grows with the score, so a "
                    "better match always gets more. Only differences count: adding 5 to all scores multiplies every "
                    "e^{s} by the same e^{5}, which cancels. And it is smooth, so training can follow its slope. "
                    + _by_hand(padded),
                ),
                formula="weight_{i} = e^{sᵢ} / ( e^{s₁} + e^{s₂} + … + e^{sₙ} )",
            ),
            Text(
                anchor="mask",
                heading="What does a mask do?",
                paragraphs=(
                    "A mask says which keys a query may attend to. The scores of all others become −∞ before the "
                    "softmax, and e^{−∞} is 0: they get no weight. A **padding mask** hides the filling that makes "
                    "the sequences of a batch equally long. A **causal mask** (also called no-peek mask) hides what "
                    "comes later: a model that must predict the next word may not read it.",
                ),
            ),
            Look(
                view=view(exhibit()),
                caption="From two vectors to a context, with every number on the way. Choose a row as the query, and "
                "go step by step. The padding mask hides row 5.",
                opens={"view": "steps", "query": 0},
            ),
            Trial(
                heading="Try it: edit the matrix and its mask",
                caption="Change a number, or what may be attended to. The scores, the weights and the context below "
                "follow. Questions to try: what if row 1 is ten times as large? What if a row may attend to nothing?",
                data=trials.matrix(x),
            ),
            Pictures(
                pictures=panels(
                    walk["percents"],
                    (
                        "The weights in percent: each row (query) adds up to 100. The padding mask hides row 5. Read "
                        f"a row aloud: “row 3 takes {100 * padded.weights[2, 3]:.0f} % of its context from row 4”.",
                        "A causal mask hides later keys: row 1 can attend to itself alone.",
                        "Both masks: only what both allow may be attended to.",
                    ),
                )
            ),
            Text(
                anchor="scale",
                heading="Why are the scores divided by √d?",
                paragraphs=(
                    "A dot product adds up d products. The more there are, the larger the sum gets: for random "
                    "vectors whose numbers have variance 1, the score has variance d. Large scores are a problem for "
                    "softmax: one weight is nearly 1, all others are nearly 0, and their slope is nearly 0 too, so "
                    "training cannot correct them. Divided by √d, the scores have variance 1 for every d. The table "
                    "is measured: 2,000 random queries, ten random keys for each.",
                ),
            ),
            _scale_table(),
            Text(
                anchor="slips",
                heading="Two slips that raise no error",
                paragraphs=(
                    "The first is one sign. Filled with −1e-9 where −1e9 or −∞ was meant, a hidden score is "
                    f"practically 0, and e^{{0}} is 1: the hidden row still gets {leak} of the attention. The second "
                    "is a dimension that was not named. `softmax(scores)` of a batch (N, L, S) runs over the batch: "
                    "sequences that have nothing to do with each other compete, and a row no longer adds up to 1. In "
                    "a batch of one, every weight is 1. Always write `dim=-1`.",
                ),
            ),
            Pictures(
                pictures=[
                    *panels(walk["slip-fill"], ("The right fill.", f"The wrong fill: {leak} for the hidden row 5.")),
                    panels(walk["slip-dimension"], ("", "The wrong dimension, in the first of three sequences."))[1],
                ]
            ),
            Terms(
                terms=(
                    (
                        "dot product",
                        "multiply two vectors number by number, add up; large where both point the same way",
                    ),
                    ("softmax", "turns a row of numbers into positive shares that add up to 1"),
                    ("mask", "which keys each query may attend to: in mirada True means “may attend”"),
                    ("padding", "filling that makes sequences equally long; hidden by a mask"),
                    ("causal", "only the element itself and earlier ones may be attended to"),
                )
            ),
            Next(
                steps=(
                    (
                        "mirada walkthrough",
                        "All steps as tables in the terminal. Follow one number: find row 1's second weight, and "
                        "compute it from row 1's scores.",
                    ),
                    (
                        "mirada walkthrough --query mine.csv --key theirs.csv --value said.csv",
                        "Your own numbers. Look for the row with the most even weights: are its scores close together?",
                    ),
                )
            ),
        ),
    )


def _by_hand(padded) -> str:
    scores = padded.scaled[0, :4].tolist()
    powers = [2.718281828459045**score for score in scores]
    terms = " + ".join(f"{power:.3f}" for power in powers)
    return (
        f"By hand, for row 1 with row 5 hidden: {terms} = {sum(powers):.3f}, and {powers[0]:.3f} / {sum(powers):.3f} = "
        f"{powers[0] / sum(powers):.3f}."
    )


def _scale_table() -> Table:
    rows = []
    for width in (1, 10, 100, 1000):
        generator = torch.Generator().manual_seed(21)
        query = torch.randn(2000, width, generator=generator)
        key = torch.randn(2000, 10, width, generator=generator)  # ten keys of its own for each query
        scores = torch.einsum("qd,qkd->qk", query, key)  # (2000, 10)
        largest = [(scores / divisor).softmax(-1).amax(-1).mean() for divisor in (1, width**0.5)]
        rows.append(
            (
                f"d = {width:,}",
                f"{scores.var():,.1f}",
                f"{scores.var() / width:.2f}",
                *(f"{100 * share:.0f} %" for share in largest),
            )
        )
    return Table(
        caption="What the length of the vectors does to scores and weights",
        head=("length", "variance of q · k", "of q · k / √d", "largest of ten weights", "with / √d"),
        rows=rows,
    )
