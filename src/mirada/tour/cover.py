"""What the page opens with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mirada.experiment import Run
from mirada.tour.gaze import gaze
from mirada.tour.page import Chapter, Cover, Fact


def cover(chapters: Sequence[Chapter], block: Run, seconds: float) -> Cover:
    """The best of each chapter, and four digits to point at."""
    by_name = {chapter.name: chapter for chapter in chapters}
    images, labels = block.data.test_images[:4], block.data.test_labels[:4]
    model: Any = block.model
    with torch.no_grad():
        (looks,) = model.looks(images)  # (N, heads, P, P)
        right = int((model(images).argmax(-1) == labels).sum())
    return Cover(
        lead=(
            "Five small systems, trained a moment ago on this machine by `mirada tour`. Every number and every picture "
            "below is measured on them."
        ),
        facts=(
            *(by_name[name].facts[0] for name in ("counting", "squares", "patches")),
            Fact(f"{seconds:.0f} s", "for all of it, training and drawing"),
        ),
        gaze=gaze(images / images.max(), looks.mean(1), [block.data.classes[label] for label in labels.tolist()]),
        gaze_caption=(
            "Point at a patch, or tap it: orange is where it looks (the mean of a transformer block's heads). Four "
            f"digits that the model had never seen; it names {right} of the 4 right."
        ),
    )
