"""A decoder that finishes a square, with and without attention to its encoder."""

from __future__ import annotations

from torch import Tensor

from mirada import plots
from mirada.experiment import Run
from mirada.systems._encoder_decoder import walk as by_numbers
from mirada.tour import diagrams, trials
from mirada.tour.draw import finished_squares, learning, picture
from mirada.tour.page import Chapter, Diagrams, Fact, Look, Next, Pictures, Table, Terms, Text, Trial
from mirada.tour.words import parameters
from mirada.viewer import view


def chapter(runs: dict[str, Run]) -> Chapter:
    """The same encoder and decoder without attention, with one head, with three."""
    error = {attention: run.evaluate()["test"]["loss"] for attention, run in runs.items()}
    times = error["none"] / error["single"]
    drawn = dict(runs["single"].system.pictures(runs["single"]))
    return Chapter(
        name="squares",
        subject="a decoder attends to its encoder",
        title="Two numbers are too few to remember a square by",
        result=f"test error {error['single']:.3f} with attention, {error['none']:.3f} without",
        text=(
            "Given the first two corners of a noisy square, predict the other two. An **encoder** reads the given "
            "points, one after the other; after each, it has a state of two numbers. A **decoder** starts from the "
            "encoder's last state and writes point after point. All that was read must fit into two numbers: a "
            "bottleneck.",
            "**Cross-attention** removes it. The decoder's state becomes a {query:query}; the encoder's states, all "
            f"of them, are the {{key:keys}} and the {{value:values}}. The mean squared error on new squares falls "
            f"from {error['none']:.3f} to {error['single']:.3f}. The noise alone, which no model can predict, costs "
            "0.010. This is what attention was invented for: translation, where the decoder attends to the words of "
            "the source (Bahdanau et al. 2015).",
        ),
        facts=(
            Fact(f"{times:.0f} ×", "smaller error on new squares, with attention than without"),
            Fact(f"{error['multihead']:.3f}", "mean squared error with three heads"),
        ),
        parts=(
            Diagrams(
                diagrams=(
                    (
                        diagrams.squares(runs["none"]),
                        "Without attention: one state of two numbers is all that is handed over.",
                    ),
                    (
                        diagrams.squares(runs["single"]),
                        "With attention: at each step, the decoder's state attends to all of the encoder's states.",
                    ),
                )
            ),
            Trial(
                heading="Try it: drag two corners",
                caption="Three models run in this page. Question to try: how far from a square can the corners be "
                "before the models fail? Below the weights you can check every number by hand.",
                data=trials.corners(runs),
            ),
            Look(
                view=view(runs["multihead"]),
                caption="Three heads, two steps, two given points: each line is as strong as its weight. The keys "
                "are the encoder's states after each point.",
                opens={"view": "tokens"},
                height="low",
            ),
            Text(
                anchor="geometry",
                heading="By numbers: from a mean to a weighted mean",
                paragraphs=(
                    "The simplest attention gives every state the same weight: the context is their mean. A better "
                    "weight follows from the inputs. The table below is an encoder and a decoder that are not trained "
                    "yet, fed the first two corners of a perfect square.",
                    "What does a score measure? A dot product is length times length times cosine: it is large where "
                    "the {key:key} is long, and where it points the way the {query:query} points. "
                    "`mirada walkthrough encoder-decoder` takes every step.",
                ),
                formula="{query:q} · {key:k} = ‖{query:q}‖ ‖{key:k}‖ cos θ",
            ),
            _by_numbers(),
            _geometry(),
            Text(
                anchor="teacher-forcing",
                heading="What is teacher forcing?",
                paragraphs=(
                    "The decoder writes the second point from the first. In training there are two ways: give it the "
                    "point that it has just predicted, or the true one, as a teacher would. The second is **teacher "
                    "forcing**. Learning is faster with it, as an early mistake does not spoil all that follows. But "
                    "in use there is no teacher: a model that never met its own mistakes cannot recover from them. "
                    "That is called exposure bias. So here a coin decides: in half of the training steps the decoder "
                    "is given the true point. `--teacher-forcing 0` and `--teacher-forcing 1` train the two extremes.",
                ),
            ),
            Pictures(
                pictures=(
                    finished_squares(runs["none"], "Without attention: six new squares."),
                    finished_squares(runs["single"], "With attention: the same six squares."),
                    picture(
                        drawn["attention"],
                        "Ten 2 by 2 maps of percents: predicted points against given points.",
                        "What each predicted point attends to among the given ones, in percent, for the ten squares "
                        "above.",
                        "half",
                    ),
                    picture(
                        drawn["vectors"],
                        "Arrows in the plane: a query among two keys, and the context as the weighted sum of two "
                        "values.",
                        "With two numbers to a state it can be drawn: the query among its keys, and the context as "
                        "the sum of the values, each shortened to its weight.",
                        "tall",
                    ),
                    learning(runs["single"], "loss", "Mean squared error by epoch, with attention.", log=True),
                )
            ),
            Table(
                caption="Mean squared error on new squares, best epoch",
                head=("decoder", "learned numbers", "error"),
                rows=[
                    (f"`{attention}`: {what}", f"{parameters(runs[attention]):,}", f"{error[attention]:.4f}")
                    for attention, what in trials.DECODERS.items()
                ],
            ),
            Text(
                anchor="lengths",
                heading="Two slips with sequences of different lengths",
                paragraphs=(
                    "Short sequences are filled up with zeros. A mask drawn from “no coordinate is zero” then hides "
                    "every real point that lies on an axis. And the last row of the encoder's states is not the last "
                    "state: the encoder has gone on reading the zeros. Both run without an error. mirada takes the "
                    "lengths themselves: the mask is `masks.padding(lengths, keys)`, and the last state is the one "
                    "at length − 1.",
                ),
            ),
            Terms(
                terms=(
                    ("encoder", "the part that reads the source"),
                    ("decoder", "the part that writes the target, one element after the other"),
                    ("state", "what a recurrent network remembers after each element"),
                    ("GRU", "gated recurrent unit: a network that reads one element at a time and updates its state"),
                    ("mean squared error", "the loss of a regression: the squared distance of each number, averaged"),
                    ("teacher forcing", "in training, the decoder is given the true element before, not its own"),
                    ("exposure bias", "the weakness of a model that has never met its own mistakes"),
                )
            ),
            Next(
                steps=(
                    (
                        "mirada train squares --attention multihead",
                        "Three heads. Look at the maps: do the heads attend to different corners?",
                    ),
                    (
                        "mirada train squares --variable-length",
                        "Two to four given points, padded. Look at the hatched cells of the maps: padding gets no "
                        "weight.",
                    ),
                    (
                        "mirada predict runs/squares -1,-1 -1,1",
                        "Your own corners. Look for the step that attends to only one of them.",
                    ),
                )
            ),
        ),
    )


def _by_numbers() -> Table:
    """Uniform, unscaled and scaled attention of one query among two keys."""
    steps = by_numbers()

    def words(numbers: Tensor) -> str:
        return ", ".join(plots.signed(number, 4) for number in numbers[0].tolist())

    uniform, plain, scaled = steps["uniform"].panels, steps.traces["unscaled"], steps.traces["none"]
    return Table(
        caption="One query among two keys: how weights and context come about",
        head=("attention", "scores", "weights", "context"),
        rows=(
            ("uniform: no scores", "–", words(uniform[0].numbers), words(uniform[1].numbers)),
            ("dot products", words(plain.scores), words(plain.weights), words(plain.context)),
            ("divided by √2", words(scaled.scaled), words(scaled.weights), words(scaled.context)),
        ),
    )


def _geometry() -> Pictures:
    """One query among three keys, and the context that follows."""
    three = by_numbers().traces["three keys"]
    left, right = plots.figure(4.2, 4.8), plots.figure(4.2, 4.8)
    plots.vectors(three.query[0], three.key, ax=left.add_subplot())
    plots.weighted_sum(three.value, three.weights[0], ax=right.add_subplot())
    return Pictures(
        pictures=(
            picture(
                left,
                "A query and three keys as arrows, with their lengths, cosines and scores.",
                "One query, three keys: lengths, cosines, and the scores that are their product.",
                "half",
            ),
            picture(
                right,
                "Three values, each shortened to its weight, laid head to tail; their sum is the context.",
                "The context: each value shortened to its weight, laid head to tail.",
                "half",
            ),
        )
    )
