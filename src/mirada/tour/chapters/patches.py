"""Attention among the patches of an image, beside an MLP."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from mirada import plots
from mirada.experiment import Run
from mirada.tour import diagrams, trials
from mirada.tour.draw import learning, picture
from mirada.tour.page import Chapter, Diagrams, Fact, Look, Next, Pictures, Table, Terms, Text, Trial
from mirada.tour.words import parameters, percent
from mirada.viewer import view

MODELS = {
    "mlp": "no attention: two linear layers on all pixels",
    "wide": "one bare layer of attention with 16 heads",
    "features": "the same layer with two axes swapped by mistake",
    "block": "a whole transformer block",
}
HEADS = (1, 2, 4, 8, 16)


def chapter(runs: dict[str, Run], by_heads: dict[int, Run]) -> Chapter:
    """The MLP, the bare layer and the whole block under one recipe, and the bare layer with more and more heads."""
    reached = {model: run.evaluate()["validation"]["accuracy"] for model, run in runs.items()}
    block = runs["block"]
    label = block.data.classes[int(block.data.test_labels[0])]
    heads_reached = {heads: run.evaluate()["validation"]["accuracy"] for heads, run in by_heads.items()}
    told = ("mlp", "wide", "block")
    return Chapter(
        name="patches",
        subject="sixteen patches attend to each other",
        title="Several heads, positions, and what else a transformer block needs",
        result=", ".join(f"{model} {percent(reached[model])}" for model in told) + " of new digits right",
        text=(
            "Cut an image into sixteen patches, in reading order, and it is a sequence that can attend to itself. "
            "Three models get the same images and the same training: an MLP without attention, a bare layer of "
            "attention, and a whole transformer block.",
            f"The bare layer reaches {percent(reached['wide'])} on digits that it was not trained on, less than the "
            f"MLP's {percent(reached['mlp'])}. The block reaches {percent(reached['block'])}. Attention alone is not "
            "a model: it moves information between patches, and something must work on it.",
        ),
        facts=(
            Fact(percent(reached["block"]), "of held-out digits right: the whole block"),
            Fact(percent(reached["wide"]), "the bare layer of wide heads"),
            Fact(percent(reached["mlp"]), "the MLP beside it"),
        ),
        parts=(
            Diagrams(
                diagrams=(
                    (diagrams.mlp(runs["mlp"]), "MLP: every pixel is weighted for every hidden unit. No attention."),
                    (
                        diagrams.bare(runs["wide"]),
                        "The bare layer. Each of 16 heads has its own query, key and value projections.",
                    ),
                    (
                        diagrams.block(block),
                        "The transformer block: what comes in passes around attention and feed-forward (residuals).",
                    ),
                )
            ),
            Trial(
                heading="Try it: draw a digit",
                caption="The block, with all of its numbers, runs in this page. Point at a patch to see what it "
                "attends to, for each head and for their mean. Question to try: which stroke turns a 3 into an 8 for "
                "the model?",
                data=trials.drawing(block),
            ),
            Look(
                view=view(block),
                caption=f"Point at a patch of this {label}: what it attends to, for each of the block's heads and "
                "for their mean. In Heads they are maps; in Steps one patch's weights are computed number by number.",
                opens={"view": "image", "query": 5},
            ),
            Text(
                anchor="heads",
                heading="Why several heads?",
                paragraphs=(
                    "One softmax gives one set of weights. A patch that needs two things, say the stroke above and "
                    "the empty corner, must mix them in one mean. **Several heads** are several attentions side by "
                    "side, each with its own projections, so each can attend to something else; as several filters "
                    "of a convolution each detect something else. Their contexts are laid side by side and mixed by "
                    "one more learned matrix, W_{O}.",
                    "Wide heads, as in the bare layer, each get the full width. In practice heads are narrow: they "
                    "share it, as in the block, so more heads cost nothing. The table is the bare layer, trained "
                    "with 1 to 16 heads by the same recipe, one draw each: a difference of a point or two is noise "
                    "of the draw.",
                ),
                formula="output = concat( head_{1}, …, head_{h} ) W_{O}",
            ),
            Table(
                caption="The bare layer with more and more heads, held-out accuracy of the best epoch",
                head=("heads", "learned numbers", "accuracy"),
                rows=[
                    (str(heads), f"{parameters(by_heads[heads]):,}", percent(share))
                    for heads, share in heads_reached.items()
                ],
            ),
            Text(
                anchor="positions",
                heading="What are positional embeddings?",
                paragraphs=(
                    "Attention has no order: shuffle the patches, and each gets the same context as before. Where a "
                    "patch comes from is part of what it means, so the block adds a learned vector for each position "
                    "to the patch's own vector: a **positional embedding**. (Transformers for text do the same, or "
                    "use sines and cosines, or rotate queries and keys.) The bare layer lacks it. It is not blind to "
                    "places altogether, as the linear layer behind it has weights of its own for each patch; but its "
                    "attention is.",
                ),
            ),
            Text(
                anchor="block",
                heading="What else is in the block?",
                paragraphs=(
                    "A **residual** adds what came in to what comes out. The attention then only has to compute a "
                    "change, and training reaches early layers directly. A **layer norm** brings each patch's "
                    "numbers to mean 0 and variance 1 before each part, so that scores neither vanish nor explode. "
                    "The **feed-forward** is a small MLP for each patch on its own: attention moves information "
                    "between patches, the feed-forward works on it.",
                ),
            ),
            Table(
                caption="The models under one recipe, held-out accuracy of the best epoch",
                head=("model", "learned numbers", "accuracy"),
                rows=[
                    (f"`{model}`: {what}", f"{parameters(runs[model]):,}", percent(reached[model]))
                    for model, what in MODELS.items()
                ],
            ),
            Text(
                anchor="swapped-axes",
                heading="A slip: two swapped axes",
                paragraphs=(
                    "The original write-up of this lesson reshaped (N, patches, features, heads) and swapped the "
                    "wrong two axes. The code ran, and learned: but the features attended to each other, not the "
                    "patches. mirada keeps it as `--model features`. On these small digits it reaches "
                    f"{percent(reached['features'])}, the layer that was meant {percent(reached['wide'])}. A good "
                    "accuracy does not show that a model does what you meant. Print the shape after every reshape. "
                    "Attention across features was later studied on purpose, as cross-covariance attention (El-Nouby "
                    "et al. 2021).",
                ),
            ),
            Pictures(
                pictures=(
                    picture(
                        _predictions(block),
                        "A grid of 32 digits with label and prediction, green when right and red when wrong.",
                        "32 digits that the block was not trained on: label and prediction.",
                        "half",
                    ),
                    learning(block, "accuracy", "The block's accuracy by epoch."),
                )
            ),
            Terms(
                terms=(
                    ("head", "one attention with its own projections; multi-head attention has several"),
                    ("positional embedding", "a learned vector for each position, added to the token's own"),
                    ("MLP", "multi-layer perceptron: linear layers with a non-linear function between them"),
                    ("ReLU", "that function: negative numbers become 0"),
                    ("residual", "input added to output; also skip connection"),
                    ("layer norm", "each token's numbers brought to mean 0 and variance 1, then stretched and shifted"),
                    ("one-cycle", "a schedule: the learning rate rises, then falls to almost 0"),
                )
            ),
            Next(
                steps=(
                    (
                        "mirada train patches --data mnist --model block --schedule onecycle",
                        "The real MNIST, 60,000 images (downloaded once). Look at the accuracy after the first epoch "
                        "already, and at the number of parameters beside the MLP's.",
                    ),
                    (
                        "mirada view runs/patches",
                        "All heads as maps. Look for heads that differ: one that attends to neighbours, one that "
                        "attends to empty corners. (Needs the extra `view`.)",
                    ),
                )
            ),
        ),
    )


def _predictions(run: Run) -> Figure:
    images, names = run.data.test_images[:32], run.data.classes
    with torch.no_grad():
        guesses = run.model(images).argmax(-1)
    labels, predictions = ([names[i] for i in part] for part in (run.data.test_labels[:32].tolist(), guesses.tolist()))
    return plots.grid(images, labels, predictions, rows=4, columns=8)
