"""Every pixel of an image attends to every other."""

from __future__ import annotations

from mirada.experiment import Run
from mirada.tour import diagrams, trials
from mirada.tour.draw import learning, picture
from mirada.tour.page import Chapter, Diagrams, Fact, Look, Next, Pictures, Terms, Text, Trial
from mirada.tour.words import parameters, percent
from mirada.viewer import view


def chapter(run: Run) -> Chapter:
    """The smallest self-attention there is, and the rule that its pixels follow."""
    test = run.evaluate()["test"]
    drawn = dict(run.system.pictures(run))
    images = run.data.images
    pixels = images.test_images[0].numel()
    epochs = [line for line in run.metrics if line["split"] == "validation"]
    best, last = min(epochs, key=lambda line: line["loss"]), epochs[-1]
    return Chapter(
        name="pixels",
        subject=f"{pixels} pixels attend to each other",
        title="Self-attention with one number per pixel",
        result=f"{percent(test['accuracy'])} of new digits right, {test['bits']:.2f} bits",
        text=(
            f"An image becomes the sequence of its {pixels} pixels. Each is a vector of a single number: its ink, "
            "less what is usual at its place. Now all three vectors come from the same sequence: this is "
            "**self-attention**. {query:Query}, {key:key} and {value:value} are that number times one learned number "
            "each, so the attention has three learned numbers in all.",
            f"The model names {percent(test['accuracy'])} of new digits right. Yet its attention cannot say much: "
            "pixels with the same number have the same query, and get the same context, wherever they are. For each "
            "image there is one curve, and all of its pixels lie on it. Only the linear layer behind knows places.",
        ),
        facts=(
            Fact(percent(test["accuracy"]), "of new digits right, averaged over classes"),
            Fact(f"{test['bits']:.2f} bits", "of surprise at the right class"),
            Fact(f"{parameters(run):,}", "learned numbers, 3 of them in the attention"),
        ),
        parts=(
            Diagrams(diagrams=((diagrams.pixels(run), "The model. On the arrows: the shapes for one image."),)),
            Text(
                anchor="bits",
                heading="What does a bit measure?",
                paragraphs=(
                    "One bit is the surprise at the result of a fair coin. Ten equally likely classes hold log₂ 10 = "
                    f"3.32 bits. The model's mean surprise at the right class is {test['bits']:.2f} bits: as if it "
                    f"had to choose between {2 ** test['bits']:.2f} equally likely classes. Torch's cross-entropy "
                    f"gives the same number in nats, {test['loss']:.2f} here; divide by ln 2 = 0.693 to get bits. "
                    "Accuracy counts only right and wrong; the loss also sees how certain the model was.",
                ),
            ),
            Text(
                anchor="best-epoch",
                heading="A slip: the best epoch that was not kept",
                paragraphs=(
                    "An **epoch** is one pass over the training images. After each, the model is measured on "
                    "validation images, and the best epoch is kept for the test. The original write-up of this "
                    "lesson kept it by `best = model.state_dict()`. That is no copy: it holds references to the "
                    "model's own tensors, and training goes on changing them. What is tested in the end is the last "
                    f"epoch, whatever `best` says. Nothing fails. Here the best epoch is number {best['epoch']} with "
                    f"{best['bits']:.3f} bits on the validation images; the last, number {last['epoch']}, has "
                    f"{last['bits']:.3f}. The cure is a copy: `copy.deepcopy(model.state_dict())`.",
                    "A second slip of the write-up: it divided the pixels by the standard deviation of their "
                    "*variances*. The inputs become so small that attention starts out nearly uniform, and learns "
                    "slowly. "
                    "`--scaling std`, used here, divides by the standard deviation of the pixels.".replace("*", ""),
                ),
            ),
            Trial(
                heading="Try it: draw a digit",
                caption="The model runs in this page. Point at a pixel to see what it attends to. Question to try: "
                "do two pixels with the same ink, far apart, attend to the same pixels?",
                data=trials.drawing(run),
            ),
            Look(
                view=view(run),
                caption="Point at a pixel: what it attends to. Pixels with the same ink attend alike, wherever they "
                "are.",
                opens={"view": "image", "query": 19},
            ),
            Pictures(
                pictures=(
                    picture(
                        drawn["rule"],
                        "For four images, the context of each pixel against its ink: smooth curves.",
                        "The context of each pixel against its own ink: four images, four curves.",
                        "half",
                    ),
                    learning(run, "bits", "The loss in bits by epoch."),
                )
            ),
            Terms(
                terms=(
                    ("epoch", "one pass over the training data"),
                    ("validation data", "held-out examples that choose the best epoch; the test comes after"),
                    ("logit", "a class's score before the softmax that makes probabilities of them"),
                    ("cross-entropy", "the loss of a classification: the surprise at the right class"),
                    ("accuracy", "the share of examples that are named right"),
                )
            ),
            Next(
                steps=(
                    (
                        "mirada train pixels",
                        "This run. Look at the bits by epoch: when does validation stop getting better?",
                    ),
                    (
                        "mirada predict runs/pixels 0 1 2",
                        "Three images. Look for the pixel with as much ink as usual: its query is near 0, so all its "
                        "scores are, and its weights are uniform.",
                    ),
                )
            ),
        ),
    )
