"""What the page opens with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mirada.experiment import Run
from mirada.tour.gaze import gaze
from mirada.tour.page import Chapter, Cover, Fact

QUESTIONS = (
    ("What is a query, a key, a value?", "query"),
    ("Why three different vectors?", "projections"),
    ("What is softmax, and why e^{x}?", "softmax"),
    ("What does a mask do?", "mask"),
    ("Why are the scores divided by √d?", "scale"),
    ("What is a loss, a nat, a bit?", "loss"),
    ("Why several heads?", "heads"),
    ("What are positional embeddings?", "positions"),
    ("What are residual, norm and feed-forward for?", "block"),
    ("What is teacher forcing?", "teacher-forcing"),
)


def cover(chapters: Sequence[Chapter], block: Run, seconds: float) -> Cover:
    """The best of each chapter, and four digits to point at."""
    by_name = {chapter.name: chapter for chapter in chapters}
    images, labels = block.data.test_images[:4], block.data.test_labels[:4]
    model: Any = block.model
    with torch.no_grad():
        (weights,) = model.weights(images)  # (N, heads, P, P)
        right = int((model(images).argmax(-1) == labels).sum())
    return Cover(
        lead=(
            "Attention lets each part of an input decide how much to take from every other part. It is what "
            "transformers, and with them today's language models, are made of. Here it is explained from the "
            "beginning, for readers who know some Python: with five small systems, trained a moment ago on this "
            "machine by `mirada tour`. Every number and every picture below is measured on them, and each of them "
            "can be tried in the page."
        ),
        facts=(
            *(by_name[name].facts[0] for name in ("counting", "patches", "squares")),
            Fact(f"{seconds:.0f} s", "for all of it, training and drawing"),
        ),
        gaze=gaze(images / images.max(), weights.mean(1), [block.data.classes[label] for label in labels.tolist()]),
        gaze_caption=(
            "Point at a patch, or tap it: it is the {query:query}, framed blue; orange are the {key:keys} that it "
            "attends to (the mean of a transformer block's heads). Four digits that the model was not trained on; it "
            f"names {right} of the 4 right."
        ),
        questions=QUESTIONS,
    )
