"""Attention among the patches of an image, beside an MLP."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from mirada import plots
from mirada.experiment import Run
from mirada.tour.draw import picture
from mirada.tour.page import Chapter, Fact, Look, Table
from mirada.tour.words import parameters, percent
from mirada.viewer import view

MODELS = {
    "mlp": "no attention: every pixel weighed against every hidden unit",
    "wide": "one bare layer of 16 heads, nothing around it",
    "block": "a whole transformer block: embedding, places, residuals, norms, feed-forward",
}


def chapter(runs: dict[str, Run]) -> Chapter:
    """The MLP, the bare layer and the whole block, under one recipe."""
    reached = {model: run.evaluate()["validation"]["accuracy"] for model, run in runs.items()}
    block = runs["block"]
    drawn = dict(block.system.pictures(block))
    label = block.data.classes[int(block.data.test_labels[0])]
    return Chapter(
        name="patches",
        asks="sixteen patches ask each other",
        title="A layer of attention is not yet a model; a block is",
        result=", ".join(f"{model} {percent(share)}" for model, share in reached.items()) + " of new digits right",
        text=(
            "Cut an image into sixteen patches, in reading order, and it is a sequence that can attend to itself. "
            "Several heads look at once, each in its own way.",
            f"The bare layer reaches {percent(reached['wide'])} on digits that it has not seen, the MLP "
            f"{percent(reached['mlp'])}. Its patches have no places: shuffle them, and each is told the same. Give "
            "them an embedding, places, residuals and a feed-forward, and attention reaches "
            f"{percent(reached['block'])}.",
        ),
        facts=(
            Fact(percent(reached["block"]), "of held-out digits right: the whole block"),
            Fact(percent(reached["wide"]), "the bare layer of wide heads"),
            Fact(percent(reached["mlp"]), "the MLP beside it"),
        ),
        look=Look(
            view=view(block),
            caption=f"Point at a patch of this {label}: where it looks, for each of the block's heads beside, and for "
            "their mean. In Heads they are maps, in Steps one patch's look is reckoned up number by number.",
            opens={"view": "image", "query": 5},
        ),
        pictures=(
            picture(
                _predictions(block),
                "A grid of 32 digits with label and prediction, green when right and red when wrong.",
                "32 digits that the block was not trained on: label and prediction.",
                "half",
            ),
            picture(
                drawn["learning"],
                "Loss and accuracy by epoch, for training and validation.",
                "Loss and accuracy by epoch.",
                "half",
            ),
        ),
        table=Table(
            caption="The three models under one recipe, held-out accuracy of the best epoch",
            head=("model", "parameters", "accuracy"),
            rows=[
                (f"`{model}`: {what}", f"{parameters(runs[model]):,}", percent(reached[model]))
                for model, what in MODELS.items()
            ],
        ),
        commands=("mirada train patches --data mnist --model block --schedule onecycle",),
    )


def _predictions(run: Run) -> Figure:
    images, names = run.data.test_images[:32], run.data.classes
    with torch.no_grad():
        guesses = run.model(images).argmax(-1)
    labels, predictions = ([names[i] for i in part] for part in (run.data.test_labels[:32].tolist(), guesses.tolist()))
    return plots.grid(images, labels, predictions, rows=4, columns=8)
