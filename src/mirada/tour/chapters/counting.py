"""One learned query that finds out which digits matter."""

from __future__ import annotations

from typing import Any

import torch

from mirada import plots
from mirada.experiment import Run
from mirada.systems.counting import show
from mirada.tour import diagrams, trials
from mirada.tour.draw import learning, picture
from mirada.tour.page import Chapter, Diagrams, Fact, Look, Next, Picture, Pictures, Terms, Text, Trial
from mirada.tour.words import parameters
from mirada.viewer import view


def chapter(run: Run) -> Chapter:
    """What a query can learn, and what training is."""
    test = run.evaluate()["test"]
    wrong = round((1 - test["accuracy"]) * len(run.data.test[0]))
    share = _share_of_2_and_4(run)
    drawn = dict(run.system.pictures(run))
    return Chapter(
        name="counting",
        subject="one learned query attends to ten digits",
        title="A query can be learned: are there more 2s than 4s?",
        result=f"{wrong} of 100,000 fresh sequences wrong, {100 * share:.1f} % of attention on 2, 4",
        text=(
            "The model gets ten digits and must answer one question. It is never told which digits count. A digit is "
            "first turned into a vector of five numbers by a learned table, the **embedding**. Two projections make "
            "its {key:key} (five numbers) and its {value:value} (one number). The {query:query} is five learned "
            "numbers, the same for every sequence.",
            "At first the query attends to all digits alike. Training moves all numbers a little at each step, in "
            "the direction that makes the **loss** smaller, and the query comes to match the keys of 2 and 4, whose "
            "values pull in opposite directions. A digit that counts neither way may keep some weight, if its value "
            "lies in between.",
        ),
        facts=(
            Fact(f"{100 * share:.1f} %", "of the attention on 2 and 4, when each digit is shown once"),
            Fact(f"{wrong} wrong", "of 100,000 sequences that it was not trained on"),
            Fact(f"{parameters(run)}", "learned numbers, in all"),
        ),
        parts=(
            Diagrams(
                diagrams=(
                    (diagrams.counting(run), "The model. On the arrows: the shapes for one sequence of ten digits."),
                )
            ),
            Text(
                anchor="loss",
                heading="What is learned, and how is it measured?",
                paragraphs=(
                    "The model gives a probability of “yes”. Its loss is the surprise at the right answer, "
                    "−log(probability): 0 if it was certain of it, large if it thought the opposite. With the "
                    "natural logarithm the unit is the **nat**; with the logarithm to base 2 it is the **bit**, and "
                    f"1 nat is 1.44 bits. On fresh sequences the loss ends at {test['loss']:.4f} nats; a coin that "
                    "says 50 % pays 0.693 nats, which is 1 bit. Only sequences that were not trained on can show "
                    "whether the model learned the rule or only its examples.",
                ),
            ),
            Trial(
                heading="Try it: type ten digits",
                caption="The model runs in this page. Under each digit: its {key:weight} and its {value:value}. "
                "Questions to try: does the order of the digits matter? What do 2222222222 and 0000000000 give?",
                data=trials.digits(run),
            ),
            Look(
                view=view(run),
                caption="One sequence, and what the query attends to in it. The score of a digit does not depend on "
                "its position, so equal digits get equal weights.",
                opens={"view": "tokens"},
                height="low",
            ),
            Pictures(
                pictures=(
                    _ten_digits(run),
                    learning(run, "loss", "The loss (nats) by epoch, on a logarithmic scale.", log=True),
                    picture(
                        drawn["attention"],
                        "Twelve sequences of ten digits, shaded by their weights, the 2s and 4s in red.",
                        "What it attends to in twelve sequences, and whether there are more 2s than 4s.",
                        "half",
                    ),
                    picture(
                        drawn["values"],
                        "The same twelve sequences, with the values of the digits whose weight is above 0.1.",
                        "The values, where a weight is above 0.1. Those of 2 and 4 pull in opposite directions.",
                        "half",
                    ),
                )
            ),
            Terms(
                terms=(
                    ("embedding", "a learned table: one vector for each symbol"),
                    ("loss", "one number that says how wrong a model is; training makes it smaller"),
                    (
                        "nat, bit",
                        "units of surprise: −ln(p) nats, −log₂(p) bits, for the probability p of what happened",
                    ),
                    ("step, batch", "one small change of all learned numbers, after a few hundred examples: a batch"),
                    ("test data", "examples that training never saw; held-out means the same"),
                )
            ),
            Next(
                steps=(
                    (
                        "mirada train counting --model-seed 1",
                        "The same lesson from other first numbers. It answers as well; look at the share on 2 and 4: "
                        "it is another one. The task fixes what is answered, not where the attention goes.",
                    ),
                    (
                        "mirada predict runs/counting 2024193752",
                        "One sequence by hand. Look for equal digits: they get equal weights.",
                    ),
                )
            ),
        ),
    )


def _ten_digits(run: Run) -> Picture:
    model: Any = run.model
    with torch.no_grad():
        _, weights = model(torch.arange(10)[None])  # (1, 1, 10)
    page = plots.figure(4.2, 1.2)
    show(torch.arange(10)[None], weights, ax=page.add_subplot())
    shares = ", ".join(f"{digit}: {100 * share:.0f} %" for digit, share in enumerate(weights.flatten().tolist()))
    return picture(
        page, f"The ten digits, shaded by their weights: {shares}.", "Each digit shown once: its weight.", "half"
    )


def _share_of_2_and_4(run: Run) -> float:
    model: Any = run.model
    with torch.no_grad():
        _, weights = model(torch.arange(10)[None])  # (1, 1, 10)
    return float(weights[0, 0, [2, 4]].sum())
