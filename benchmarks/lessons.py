"""The four trainable systems, as mirada trains them and as one would first write them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from floors import Rates
from mirada import systems
from mirada.training import loop as training
from mirada.training.run import Folder
from peers import counting, patches, pixels, squares
from speed import Work


def works(options: argparse.Namespace, rates: Rates) -> Iterator[Work]:
    """Each with its epochs as the aim counts them."""
    if options.data_dir:
        yield pixels_epoch(Path(options.data_dir), rates)
        yield from patches_epoch(Path(options.data_dir))
    yield squares_training()
    yield counting_from_nothing(options.quick)


def trained(name: str, recipe: training.Recipe, data: Any) -> Callable[[], None]:
    """The real training, its folder and all, without the terminal."""
    system = systems.get(name)

    def train() -> None:
        torch.manual_seed(recipe.seed)
        model = system.build(recipe, data)
        with tempfile.TemporaryDirectory() as folder:
            training.fit(
                model,
                recipe=recipe,
                batches=system.batches(recipe, data),
                steps=system.steps(recipe, data),
                held_out=system.held_out(recipe, data),
                measure=system.measure,
                report=system.report,
                metrics=system.METRICS,
                folder=Folder(Path(folder) / "run"),
                progress=False,
            )

    return train


def pixels_epoch(data_dir: Path, rates: Rates) -> Work:
    """An epoch: 3,125 steps of 16, then 10,000 images to validate with. The others do a part of it."""
    system = systems.get("pixels")
    data = system.load(system.Settings(data="mnist", data_dir=data_dir))
    mean, scale = system.statistics(data.train[0], "writeup")
    steps, images = 30, 96

    def part(model: torch.nn.Module) -> Callable[[], None]:
        x, labels = data.train[0][:2000], data.train[1][:2000]
        x = ((x - mean) / scale).flatten(1)[..., None]

        def work() -> None:
            pixels.train(model, x, labels, steps)
            pixels.validate(model, x[:images], labels[:images])

        return work

    # Steps and validation take the same share of the part as of the whole: 3,125 : 10,000 is 30 : 96.
    nodes, length, epoch = 12, 784, 3125 * 16
    return Work(
        "pixels: an MNIST epoch",
        trained("pixels", system.Settings(data="mnist", data_dir=data_dir, epochs=1), data),
        {"image by image": part(pixels.Plain()), "one fused call": part(pixels.Fused())},
        "≥ 30 x, ≥ 5 x",
        times={"image by image": 3125 / steps, "one fused call": 3125 / steps},
        floor=rates.seconds(
            products=epoch * length * (2 * nodes * 9 + 6 * 10) + 10_000 * length * (2 * nodes * 2 + 2 * 10),
            exponentials=(epoch + 10_000) * nodes * length,
            bytes=epoch * 4 * nodes * length * 10,
        ),
        rounds=5,
    )


def patches_epoch(data_dir: Path) -> Iterator[Work]:
    """A quarter of an epoch: 15,000 images to train with, 2,500 to measure by."""
    system = systems.get("patches")
    data = system.load(system.Settings(data="mnist", data_dir=data_dir))
    part = replace(
        data,
        train_images=data.train_images[:15_000],
        train_labels=data.train_labels[:15_000],
        test_images=data.test_images[:2_500],
        test_labels=data.test_labels[:2_500],
    )
    train = patches.Items(part.train_images, part.train_labels)
    held_out = patches.Items(part.test_images, part.test_labels)
    yield Work(
        "patches --model wide: an epoch",
        trained("patches", system.Settings(data="mnist", data_dir=data_dir, model="wide", epochs=1), part),
        {"plain products, per item": lambda: patches.epoch(train, held_out)},
        "≥ 3 x; ≤ 1.5 floors",
        times=dict.fromkeys(("mirada", "plain products, per item", "floor"), 4.0),
        floor=lambda: patches.products(15_000),
        rounds=5,
    )


def squares_training() -> Work:
    """100 epochs with attention, start-up apart."""
    system = systems.get("squares")
    data = system.load(system.Settings())
    pairs = [(some.source, some.target) for some in (data.train, data.test)]
    return Work(
        "squares: 100 epochs",
        trained("squares", system.Settings(), data),
        {"step by step, DataLoader": one_thread(lambda: squares.train(pairs[0], pairs[1], 100))},
        "≥ 2 x",
        floor=one_thread(lambda: squares.recurrence(1600)),
        rounds=5,
    )


def counting_from_nothing(quick: bool) -> Work:
    """The command and a script, each in a process of its own, start-up included."""
    script = Path(counting.__file__)
    steps = 2_000 if quick else 10_000

    def mirada() -> None:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "mirada", "train", "counting", "--out", f"{folder}/run"]
            run([*command, "--epochs", str(steps // 500)])

    return Work(
        f"counting: {steps:,} steps, from nothing",
        mirada,
        {"plain loop": lambda: run([sys.executable, str(script), str(steps)])},
        "≥ 2 x",
        rounds=3,
    )


def run(command: list[str]) -> None:
    """A process, one thread, nothing printed."""
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def one_thread(work: Callable[[], None]) -> Callable[[], None]:
    """The baselines of small models get the thread that serves them best, too."""

    def inner() -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        work()
        torch.set_num_threads(before)

    return inner
