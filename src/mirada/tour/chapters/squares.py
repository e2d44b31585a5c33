"""A decoder that finishes a square, with and without a look at what the encoder read."""

from __future__ import annotations

from mirada.experiment import Run
from mirada.tour.draw import picture
from mirada.tour.page import Chapter, Fact, Look, Table
from mirada.tour.words import parameters
from mirada.viewer import view

DECODERS = {
    "none": "the decoder has only the encoder's last state: two numbers",
    "single": "at each step it asks all of the encoder's states",
    "multihead": "it asks three times at once",
}


def chapter(runs: dict[str, Run]) -> Chapter:
    """The same encoder and decoder without attention, with one head, with three."""
    error = {attention: run.evaluate()["test"]["loss"] for attention, run in runs.items()}
    times = error["none"] / error["single"]
    blind = dict(runs["none"].system.pictures(runs["none"]))
    drawn = dict(runs["single"].system.pictures(runs["single"]))
    return Chapter(
        name="squares",
        asks="a decoder asks what was read",
        title="Two numbers are too few to remember a square by",
        result=f"test error {error['single']:.3f} with attention, {error['none']:.3f} without",
        text=(
            "Given the first two corners of a noisy square, say the other two. An encoder reads, a decoder goes on "
            "from where the encoder ended: with a state of two numbers, into which all that was read must fit.",
            "Attention lets the decoder look back. Its state becomes a query, the encoder's states are the keys and "
            "the values, and the mean squared error on new squares falls from "
            f"{error['none']:.3f} to {error['single']:.3f}. The noise alone, which nobody can foretell, costs 0.010.",
        ),
        facts=(
            Fact(f"{times:.0f} ×", "smaller error on new squares, with attention than without"),
            Fact(f"{error['multihead']:.3f}", "mean squared error with three heads"),
        ),
        look=Look(
            view=view(runs["multihead"]),
            caption="Three heads, two steps, two given points: each line is as strong as its weight. The keys are what "
            "the encoder had read up to each point.",
            opens={"view": "tokens"},
            height="low",
        ),
        pictures=(
            picture(
                blind["predictions"],
                "Ten squares; without attention the red predictions lie far from the hollow corners.",
                "Without attention: ten new squares, given corners filled, the true ones hollow, predictions red.",
            ),
            picture(
                drawn["predictions"],
                "The same ten squares; with attention the red predictions lie on or beside the hollow corners.",
                "With attention: the same ten squares.",
            ),
            picture(
                drawn["attention"],
                "Ten 2 by 2 maps of percents: predicted points against given points.",
                "Where each predicted point looks among the given ones, in percent, for the ten squares above.",
                "half",
            ),
            picture(
                drawn["vectors"],
                "Arrows in the plane: a query among two keys, and the context as the weighted sum of two values.",
                "With two numbers to a state it can be drawn: the query among its keys, and the context as the sum of "
                "the values, each shortened to its weight.",
                "tall",
            ),
            picture(
                drawn["learning"],
                "The error by epoch on a logarithmic scale, for training, validation and test.",
                "Mean squared error by epoch, with attention.",
                "half",
            ),
        ),
        table=Table(
            caption="Mean squared error on new squares, best epoch",
            head=("decoder", "parameters", "error"),
            rows=[
                (f"`{attention}`: {what}", f"{parameters(runs[attention]):,}", f"{error[attention]:.4f}")
                for attention, what in DECODERS.items()
            ],
        ),
        commands=(
            "mirada train squares --attention multihead",
            "mirada predict runs/squares -1,-1 -1,1",
        ),
    )
