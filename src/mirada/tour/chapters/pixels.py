"""Every pixel of an image asks every other."""

from __future__ import annotations

from mirada.experiment import Run
from mirada.tour.draw import picture
from mirada.tour.page import Chapter, Fact, Look
from mirada.tour.words import parameters, percent
from mirada.viewer import view


def chapter(run: Run) -> Chapter:
    """The barest attention there is, and the rule that its pixels follow."""
    test = run.evaluate()["test"]
    drawn = dict(run.system.pictures(run))
    verdict, answer = run.predict(["0"])
    pixels = run.data.images.test_images[0].numel()
    return Chapter(
        name="pixels",
        asks=f"{pixels} pixels ask each other",
        title="With one number to ask with, who looks where follows from ink alone",
        result=f"{percent(test['accuracy'])} of new digits right, {test['bits']:.2f} bits",
        text=(
            f"An image as the sequence of its {pixels} pixels, each a vector of one number: its ink, less what is "
            "usual at its place. Query, key and value are that number times one learned number each.",
            f"It names {percent(test['accuracy'])} of new digits right, at {test['bits']:.2f} bits, and yet there is "
            "not much to see: pixels with the same number ask the same and are told the same, wherever they are. For "
            "each image there is one curve, and all of its pixels lie on it.",
        ),
        facts=(
            Fact(percent(test["accuracy"]), "of new digits right, averaged over classes"),
            Fact(f"{test['bits']:.2f} bits", "of surprise at the right answer (ten even classes: 3.32)"),
            Fact(f"{parameters(run):,}", "numbers learnt, 3 of them in the attention"),
        ),
        look=Look(
            view=view(run),
            caption="Point at a pixel: where it looks. Those of the same ink look alike, wherever they are.",
            opens={"view": "image", "query": 19},
        ),
        pictures=(
            picture(
                answer,
                f"A digit, where three of its pixels look, and the probability of each class. {verdict}",
                "A new digit, where its pixel with the least, the most usual and the most ink look (in multiples of an "
                "even share), and what the model makes of it.",
            ),
            picture(
                drawn["rule"],
                "For four images, the context of each pixel against its ink: smooth curves.",
                "What each pixel is told, against its own ink: four images, four curves.",
                "half",
            ),
            picture(
                drawn["learning"],
                "Bits and accuracy by epoch, for training, validation and test.",
                "Bits and accuracy by epoch.",
                "half",
            ),
        ),
        commands=("mirada train pixels --data mnist --epochs 12", "mirada predict runs/pixels 0 1 2"),
    )
