"""How cost grows: training with steps and images, questions with length, watching with depth.

    python benchmarks/growth.py

Draws benchmarks/results/growth.png and writes growth.json beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

import mirada
import timing
from lessons import trained
from mirada import AttentionMatrix, systems
from mirada.plots.style import CYCLE, quiet

RESULTS = Path(__file__).parent / "results"
Curve = list[tuple[float, float]]


def seconds(work: Callable[[], Any], rounds: int = 3) -> float:
    """The median of a few rounds, after one that doesn't count."""
    work()
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def training() -> dict[str, Curve]:
    """An epoch on the embedded digits, of more and more steps; the counting one, of more and more sequences a step."""
    pixels, counting = systems.get("pixels"), systems.get("counting")
    digits = pixels.load(pixels.Settings())
    steps: Curve = []
    for batch in (128, 64, 32, 16, 8):
        recipe = pixels.Settings(epochs=1, batch_size=batch)
        steps.append((pixels.steps(recipe, digits), seconds(trained("pixels", recipe, digits))))
    sequences: Curve = []
    for batch in (125, 500, 2_000, 8_000):
        recipe = counting.Settings(epochs=1, steps_per_epoch=100, batch_size=batch)
        sequences.append((100 * batch, seconds(trained("counting", recipe, counting.load(recipe)))))
    return {"pixels: steps of an epoch": steps, "counting: sequences in 100 steps": sequences}


def questions() -> dict[str, Curve]:
    """Two heads, 64 wide."""
    curves: dict[str, Curve] = {"attention itself": [], "entropy": [], "received": [], "64 × 64 map": []}
    for length in (512, 1024, 2048, 4096, 8192, 16384):
        query, key, value = (torch.randn(1, 2, length, 64) for _ in range(3))
        whole = (0, length)
        asked: dict[str, Callable[[], Any]] = {
            "attention itself": lambda q=query, k=key, v=value: scaled_dot_product_attention(q, k, v),
            "entropy": lambda q=query, k=key: AttentionMatrix(q, k).entropy(),
            "received": lambda q=query, k=key: AttentionMatrix(q, k).received(),
            "64 × 64 map": lambda q=query, k=key, w=whole: AttentionMatrix(q, k).tile(w, w, (64, 64)),
        }
        for name, work in asked.items():
            curves[name].append((length, seconds(work)))
    return curves


def watching() -> dict[str, Curve]:
    """An encoder of torch, 256 wide, 512 tokens, of more and more layers."""
    curves: dict[str, Curve] = {"not watched": [], 'keep="inputs"': [], 'keep="statistics"': []}
    x = torch.randn(1, 512, 256)
    for depth in (1, 2, 4, 8, 16):
        layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True)
        model = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False).train().requires_grad_(False)

        def watched(keep: Any, model: nn.Module = model) -> None:
            with mirada.watch(model, keep=keep):
                model(x)

        works: dict[str, Callable[[], Any]] = {
            "not watched": lambda model=model: model(x),
            'keep="inputs"': lambda: watched("inputs"),
            'keep="statistics"': lambda: watched("statistics"),
        }
        for name, work in works.items():
            curves[name].append((depth, seconds(work, rounds=5)))
    return curves


def draw(ax: Axes, curves: dict[str, Curve], xlabel: str, title: str) -> None:
    """Curves on two logarithmic scales."""
    for colour, (name, curve) in zip(CYCLE, curves.items(), strict=False):
        ax.plot(*zip(*curve, strict=True), marker="o", markersize=4, color=colour, label=name)
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="seconds")
    ax.set_title(title, fontsize=10, loc="left")
    ax.legend(fontsize=8, frameon=False)
    quiet(ax)


def main() -> None:
    """Measure and draw."""
    found = {"training": training(), "questions": questions(), "watching": watching()}
    page = Figure((13, 4.2), layout="constrained")
    axes = page.subplots(1, 3)
    draw(axes[0], found["training"], "steps, or sequences", "Training grows with the steps and their size")
    draw(axes[1], found["questions"], "queries and keys", "Questions grow as attention does, with length squared")
    draw(axes[2], found["watching"], "layers", "Watching grows with depth")
    known = timing.machine()
    page.supxlabel(f"{known['processor']}, {known['threads']} threads, torch {known['torch']}", fontsize=8)
    RESULTS.mkdir(exist_ok=True)
    page.savefig(RESULTS / "growth.png", dpi=110)
    timing.write(RESULTS / "growth.json", found)


if __name__ == "__main__":
    main()
