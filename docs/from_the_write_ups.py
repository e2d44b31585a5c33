"""Writes from-the-write-ups.md: what the five original write-ups do and print, and what mirada shows in its place.

Run it after a change: ``python docs/from_the_write_ups.py``. A test holds the page against a fresh computation. With
``MIRADA_MNIST`` set to the folder of MNIST's files, what depends on them is computed again too.
"""

from __future__ import annotations

import json
import os
import re
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from mirada.data import counts
from mirada.systems import counting, patches, pixels, squares
from mirada.systems._encoder_decoder import walk as encoder_decoder
from mirada.systems._steps import Walk
from mirada.systems.walkthrough import dot_products
from mirada.systems.walkthrough import walk as mechanism

HERE = Path(__file__).parent
PAGE = HERE / "from-the-write-ups.md"
ON_MNIST = HERE / "from_the_write_ups.json"
TITLES = {
    "000": "Write-up 000: bare attention on pixels (Spanish)",
    "001": "Write-up 001: multi-head attention on patches (Spanish)",
    "002": "Write-up 002: padding and no-peek masks by hand (Spanish)",
    "003": "Write-up 003: encoder and decoder with attention (English)",
    "004": "Write-up 004: counting, an exercise (English)",
}
INTRODUCTION = """# From the write-ups

mirada's five systems follow five write-ups, three in Spanish and two in English. This page goes through them, in the
order of their lines: what each does or prints, and what mirada shows in its place, and where.
`docs/from_the_write_ups.py` writes it; a test computes every number again.

- *same*: the printed digits agree.
- *there*: mirada does the same; there is no number to compare.
- *different*: on purpose, or by another draw; the reason stands beside it.

Figures of trained models come from README's table, whose rows are trained by tests, and from
`benchmarks/results/draws.json`, ten draws of each: mean ± standard deviation.
"""
DRAWS = """
## Other draws of squares

`mirada train squares --seed S --out runs/S` for six seeds, then
`mirada plot runs/1 runs/0 runs/2 runs/3 runs/13 runs/42`:

![Six runs of squares: curves, test errors, and the first training square's weights. With seeds 1 and 3 each \
point attends to one corner; with 0, 2, 13 and 42 to a mixture of both.](draws-of-squares.png)

All six predict well. With seeds 1 and 3 each predicted point attends to one corner, with the others to a mixture of
both: a good prediction does not say what a model attends to. Where the model's first weights are drawn anew too
(`--model-seed`), some draws end at a test error of 0.1.
"""
ED, WALK = "`mirada walkthrough encoder-decoder`", "`mirada walkthrough`"
LESSONS = "The lessons of the documentation bring it; this page is about the five systems."


@dataclass(frozen=True)
class Row:
    """One row of the page."""

    write_up: str
    lines: str
    what: str
    where: str
    printed: str = ""
    found: str = ""
    why: str = ""
    """Why it is different; empty where it is not."""

    @property
    def verdict(self) -> str:
        """Same, there, or different."""
        if self.why:
            return "different"
        if not self.printed:
            return "there"
        return "same" if self.printed == self.found else "**not the same**"


@torch.no_grad()
def rows() -> Iterator[Row]:
    """Every row, in the order of the write-ups."""
    for number, make in {"000": _pixels, "001": _patches, "002": _masks, "003": _squares, "004": _counting}.items():
        for lines, what, where, *rest in make():
            yield Row(number, lines, what, where, **(rest[0] if rest else {}))


Rows = Iterator[tuple[Any, ...]]


def _pixels() -> Rows:
    bits, test = "`mirada train pixels --data mnist --epochs 12`", on_mnist()
    settings = pixels.Settings(data="mnist")
    recipe = f"{settings.learning_rate} {settings.batch_size} {test['steps']}"
    law = torch.stack([_drawn(lambda: pixels.SelfAttention(1, bias=False), seed) for seed in range(200)])
    yield "3, 82, 118", "explains and comments in Spanish", "the tour, `docs/glossary.md` (EN and ES)", why(LESSONS)
    yield "7–26", "installs torchmetrics", "`pip install .`: the metrics are a few lines of each system"
    yield (
        "36–61",
        "downloads MNIST with progress bars",
        "`--data mnist`: bars, and a SHA-256 for each file; `--data-dir`",
    )
    yield "36", "data and model on a chosen device", "`--device cpu`, `cuda`, `mps`, `auto`"
    yield (
        "63–76",
        "5/6 to train, 1/6 to validate, seed 42",
        "`--split-seed 42`; `train` prints the sizes",
        same("50000 10000", f"{test['train']} {test['validation']}"),
    )
    yield (
        "78–87",
        "divides by the deviation of the variances",
        "`--scaling writeup`; the title of `learning.png`; the tour",
        same("4978.2358", test["scale"]),
    )
    yield (
        "96–110",
        "query, key, value uniform in ±1/√C",
        "`train pixels`: 3 learned numbers in `attend`",
        has(f"200 draws lie in ±{float(law.abs().max()):.3f}"),
    )
    yield (
        "112–141",
        "a loop over the images of a batch",
        "Steps in `mirada view RUN`: q · k, softmax and sum, number by number",
        why("One call for the batch: 25 to 45 times as fast, to the same numbers within 1e-6 (a test)."),
    )
    yield (
        "148, 185",
        "softmax of the logits; what a logit is",
        "the tour, pixels, *Words*: logit; `predict` gives probabilities",
    )
    yield "150", "cross-entropy takes logits", "the tour, pixels, *Words*: cross-entropy"
    yield (
        "151, 192",
        "training accuracy: mean of the batches' macro accuracies",
        "`train pixels` prints both: accuracy (of the epoch) and batch accuracy (this rule)",
    )
    yield (
        "153–163",
        "Adam 0.01, batches of 16, steps an epoch",
        "`train pixels --data mnist` prints them",
        same("0.01 16 3125", recipe),
    )
    yield (
        "169–206",
        "keeps the best epoch by reference, so the last",
        "the tour, pixels: *the best epoch that was not kept*",
        why("A slip. mirada keeps a copy of the best epoch."),
    )
    yield "176", "epochs", "`mirada train pixels --data mnist --help`", same("128", str(settings.epochs))
    yield (
        "210–217",
        "a line an epoch: bits, percent",
        "`train pixels`, `learning.png`",
        why("Divides by ln 2, not by 0.693: up to 0.02 % apart."),
    )
    yield "219–231", "tests with the best weights", "the last line of `train pixels`; `mirada evaluate RUN`"
    yield (
        "241–253",
        "validation reaches, bits",
        bits,
        differ(
            "0.4477 bits, 91.7 %",
            "test: " + readme("mirada train pixels --data mnist --epochs 12"),
            "A split is a draw: with the same recipe, split 42 gives 0.47 to 0.49 bits on validation, `--split-seed "
            "46525`, which the method's first author used, 0.4525 to 0.4553. Where key times query starts negative, "
            "the loss rests near 2.98 bits for some epochs, as the write-up's first line does.",
        ),
    )


def _patches() -> Rows:
    images = torch.zeros(64, 28, 28, dtype=torch.uint8)
    mlp = build_patches("mlp")
    yield (
        "13–33",
        "why several heads; the two formulas",
        "the tour, patches: *Why several heads?*, with the comparison with a convolution's filters",
    )
    yield (
        "21",
        "one head against many",
        "`mirada plot` of runs with `--heads 1` … `16`; the tour's table",
        differ(
            "single-head attention is limited",
            "; ".join(f"{n}: {draws(f'patches --heads {n}', 'accuracy')}" for n in (1, 2, 4, 8))
            + f"; 16: {draws('patches', 'accuracy')}",
            "It holds, on digits, within the spread of the draws; with few heads some draws never learn.",
        ),
    )
    yield "44–73", "data sets and loaders as classes", "`load_images`, `shuffled`, `in_order`: functions on tensors"
    yield (
        "74–78",
        "shapes of a batch",
        "`train patches --data mnist` prints them before it trains",
        differ(
            "64 784; 64",
            f"{shape(images)}; 64",
            "Images stay images, (64, 28, 28), until a model cuts or flattens them.",
        ),
    )
    yield (
        "79–92",
        "an 8×8 grid of training images",
        "`plots/training.png`, and of held-out ones `plots/images.png`",
        why("Ink on paper, not grey on black: it prints, and overlays can be seen on it."),
    )
    yield (
        "94–132",
        "an MLP, 784–784–10, Adam 0.003",
        "`train patches --model mlp` prints its parts",
        same("623290 0.003", f"{size(mlp)} {patches.Settings(data='mnist').learning_rate}"),
    )
    yield (
        "134–136",
        "tries it with random input",
        "the table that `train` prints: what each part gives",
        same("64 10", shape(mlp(images))),
    )
    yield (
        "140–147, 300–308",
        "a table of the parts; which accelerator",
        "`train` prints device, parts, shapes and learned numbers",
        same("156065 7850", " ".join(str(size(part)) for part in build_patches("wide").children())),
    )
    yield (
        "153–183",
        "sanity check, training and validation bars",
        "one bar, then a line an epoch",
        why("The shapes are checked before training, by the table."),
    )
    yield (
        "189",
        "the MLP reaches",
        "`--data mnist --model mlp --schedule onecycle --epochs 5`",
        differ(
            "97 %",
            readme("mirada train patches --data mnist --model mlp --schedule onecycle --epochs 5"),
            "With a constant rate, as there, it ends at 97.0 to 97.7 %.",
        ),
    )
    yield "191–207", "a grid of label/prediction, green or red", "`plots/predictions.png`"
    yield (
        "209–230",
        "images as sequences of patches, square or not",
        "`plots/patches.png` has the shape in its title; `--patch`, `--patch-width`",
        same("64 16 49", shape(patches.cut(images, (7, 7)))),
    )
    yield "235–244", "the patches of one image", "`plots/patches.png`, numbered from 1"
    yield (
        "246",
        "in practice the width is divided by the heads",
        "`--model narrow`; the tour: *Why several heads?*",
        has(f"49 = {build_patches('narrow').attend.heads} heads of 7"),
    )
    yield (
        "251–279",
        "multi-head attention with two axes swapped",
        "the tour: *two swapped axes*; `--model wide` and `--model features`",
        differ(
            "a slip",
            f"wide {draws('patches', 'accuracy')}, features {draws('patches --model features', 'accuracy')}",
            "mirada has what was meant and what was run. On digits the slip does better, on MNIST not reliably.",
        ),
    )
    yield (
        "283–296",
        "the whole model, ReLU, a linear layer",
        "`train patches`",
        same("163915", str(size(build_patches("wide")))),
    )
    yield "298", "one GPU", "`--device cuda`; several processes by `torchrun`"
    yield (
        "344",
        "better than the MLP",
        "README's table",
        differ(
            "better",
            "; ".join(
                f"{m}: " + readme(f"mirada train patches --data mnist --model {m} --schedule onecycle --epochs 5")
                for m in ("wide", "mlp", "block")
            ),
            "The bare layer stays behind the MLP. The whole block draws level, with a thirteenth of the parameters.",
        ),
    )
    yield (
        "348–362",
        "a random image as patches, titled label / prediction",
        "`mirada predict RUN random`: green when right, red when wrong",
    )
    yield (
        "366",
        "announces what the layer lacks",
        "`--model block`, the tour: *What else is in the block?*",
        has(f"{size(build_patches('block')):,} learned numbers"),
    )


def _masks() -> Rows:
    steps = mechanism()
    panel = panels_of(steps)
    yield "1", "opens in Colab", "`docs/lessons`", why(LESSONS)
    yield (
        "9–10",
        "the diagram of the mechanism, its equation",
        "the tour: diagram and *The whole of it in one line*; lesson 1",
    )
    yield "12", "leaves heads and batch out", f"{WALK}, step 1 says so; step 9 is a batch"
    yield "14", "three projections, here the identity", f"{WALK}, step 1; the tour: *Why three different vectors?*"
    yield (
        "16–33",
        "the data, (5, 10)",
        f"{WALK}, step 1",
        same("0 0.01 0.49", f"{panel('input', 0)[0, 0]:g} {panel('input', 0)[0, 1]:g} {panel('input', 0)[4, 9]:.2f}"),
    )
    yield (
        "41–49",
        "QKᵀ, row 1, and its last entry",
        f"{WALK}, step 2",
        same(
            "0.0285 0.0735 0.1185 0.1635 0.2085; 1.9885",
            f"{numbers(panel('scores', 0)[0])}; {numbers(panel('scores', 0)[4, 4:])}",
        ),
    )
    yield (
        "51–56",
        "the padding mask",
        f"{WALK}, step 3: printed as 1 and 0",
        same("1 1 1 1 0", numbers(panel("padding", 0)[0], 0)),
    )
    yield (
        "60–66",
        "the no-peek mask",
        f"{WALK}, step 4: printed as 1 and 0",
        same("1 0 0 0 0; 1 1 0 0 0; 1 1 1 0 0; 1 1 1 1 0; 1 1 1 1 1", numbers(panel("no-peek", 0), 0)),
    )
    yield (
        "68–78",
        "both masks: −1e9, then −1e-9 over it",
        f"{WALK}, step 5 (right) and step 10 (the slip)",
        why("A slip: −1e-9 hides nothing. Step 5 has −∞; step 10 shows what the slip does to the weights."),
    )
    yield "80", "rows are queries, columns are keys", f"every table of {WALK}: query 1 …, key 1 …"
    yield "82", "softmax: how much key j counts for query i", f"{WALK}, step 6"
    yield (
        "84–96",
        "the weights under the slip, row 1",
        f"{WALK}, step 10",
        same("0.2046 0.1989 0.1989 0.1989 0.1989", numbers(panel("slip-fill", 2)[0])),
    )
    yield "87–89", "torch warns of an implicit dimension", f"{WALK}, step 11 quotes the warning"
    yield (
        "98",
        "reads a cell aloud: 35 %",
        f"{WALK}, step 7: “query 3 takes 35 % of its context from key 4”",
        same("35", re.findall(r"takes (\d+) %", steps["percents"].explanation)[0]),
    )
    yield (
        "101–108",
        "the weights in percent",
        f"{WALK}, step 7",
        same(
            "23 24 26 27 0; 20 23 27 31 0; 17 21 27 35 0; 14 20 28 39 0; 11 18 28 43 0",
            numbers(100 * panel("percents", 0), 0),
        ),
    )
    yield (
        "114–125",
        "softmax of a batch of one: all 1",
        f"{WALK}, step 11",
        same("1 1 1 1 1", numbers(panel("slip-dimension", 2)[0], 0)),
    )
    yield "127–145", "the context, (5, 10)", f"{WALK}, step 8", same("5 10", shape(panel("context", 1)))
    yield "147", "same shape as the input; a batch at once", f"{WALK}, steps 8 and 9"


def _squares() -> Rows:
    panel = panels_of(encoder_decoder())

    def found(step: str, number: int) -> str:
        return numbers(panel(step, number))

    data = squares.load(squares.Settings())
    geometry = numbers(panel("geometry", 0)[0, :3], 2)
    ten = dot_products(10).var()
    yield (
        "5, 252–265",
        "draws squares, and their directions",
        "`data/squares.generate`; the maps are titled with them",
        same("256 128", f"{len(data.train.clockwise)} {len(data.test.clockwise)}"),
    )
    yield "7", "the first five squares", "`plots/squares.png`"
    yield (
        "10–21, 46–73",
        "encoder and decoder, sizes chosen",
        "`train squares --hidden 3`",
        has(f"{squares.FEATURES} features, states of {_hidden(3)}"),
    )
    yield "26–40", "the encoder's states", f"{ED}, step 2", same("0.0832 -0.0356; 0.3105 -0.5263", found("states", 0))
    yield (
        "87–103",
        "two steps of the decoder",
        f"{ED}, step 3",
        same("-0.2339 0.4702; -0.0226 0.4628", found("decoder", 1)),
    )
    yield (
        "106–129",
        "teacher forcing: the second output",
        f"{ED}, step 4; the tour: *What is teacher forcing?*",
        same("0.2265 0.4529", numbers(panel("teacher-forcing", 0)[1])),
    )
    forced = "; ".join(
        f"{p}: {draws(name, 'loss')}"
        for p, name in (("0", "squares --teacher-forcing 0"), ("0.5", "squares"), ("1", "squares --teacher-forcing 1"))
    )
    yield (
        "131–158",
        "forces with probability 0.5, a coin a step",
        "`--teacher-forcing 0`, `0.5`, `1`; `mirada plot A B C` compares them",
        differ("0.5", f"test error {forced}", "The write-up has one probability; here three are compared."),
    )
    yield (
        "163–222",
        "encoder–decoder of given lengths",
        "`--source-length`, `--target-length`",
        has(_lengths(3, 1)),
    )
    yield "228–247", "forced in training, free in evaluation", "`train squares`: validation and test are never forced"
    yield "267–276", "tensors and loaders", "`data/batches`: `shuffled`, `in_order`"
    settings = squares.Settings()
    yield (
        "280–293",
        "seed 23, Adam 0.01, 100 epochs",
        "`train squares --help`; `mirada.train`, `Run.evaluate`, `Run.predict`",
        same("23 0.01 100", f"{settings.model_seed} {settings.learning_rate} {settings.epochs}"),
    )
    yield (
        "299–325",
        "values = keys = the encoder's states",
        f"{ED}, step 5",
        same("0.0832 -0.0356; 0.3105 -0.5263", found("query", 1)),
    )
    yield (
        "343–354",
        "pretended weights",
        f"{ED}, step 6: uniform attention",
        same("0.5000 0.5000", numbers(panel("uniform", 0)[0])),
    )
    yield (
        "359–370",
        "their context, and the query beside it",
        f"{ED}, step 6",
        same("0.1968 -0.2809 0.3913 -0.6853", numbers(panel("uniform", 2)[0])),
    )
    yield (
        "374–393",
        "dot products and their softmax",
        f"{ED}, step 7",
        same("0.0569 0.4821; 0.3953 0.6047", f"{numbers(panel('scores', 0)[0])}; {numbers(panel('scores', 1)[0])}"),
    )
    yield (
        "397–412",
        "one query, three keys: norms, cosine (first key)",
        f"{ED}, step 9, with its figure",
        same("1.10 0.68 0.73", geometry),
    )
    yield (
        "416–429",
        "their weights and the context",
        f"{ED}, step 10, with its figure",
        same(
            "0.5557 0.3508 0.0935; 0.5706 -0.0993",
            f"{numbers(panel('weighted-sum', 0)[0])}; {numbers(panel('weighted-sum', 1)[0])}",
        ),
    )
    yield "435–439", "scaled scores", f"{ED}, step 8", same("0.0403 0.3409", numbers(panel("scaled", 0)[0]))
    yield (
        "443–448",
        "variance of 10,000 dot products, n = 10",
        f"{WALK}, step 12",
        differ(
            "9.7670",
            f"{ten:.3f}",
            "Another draw; 10 is expected. Step 12 has n = 1, 10, 100 and 1,000, and divided by √n.",
        ),
    )
    four = torch.softmax(torch.tensor([[4.0, 1.0], [400.0, 100.0]]), -1)
    yield (
        "454–457",
        "softmax of [4, 1], and of 100 times that",
        f"{WALK}, step 12",
        same("0.9526 0.0474; 1.0000 0.0000", numbers(four)),
    )
    yield (
        "461–483",
        "scaled weights and the context",
        f"{ED}, step 8",
        same("0.4254 0.5746; 0.2138 -0.3175", f"{numbers(panel('scaled', 1)[0])}; {numbers(panel('scaled', 2)[0])}"),
    )
    yield (
        "488–527",
        "an attention layer: width, projected values, mask",
        "`--embed-dim`, `--project-values`, `--score`",
        differ(
            "scaled dot product",
            f"scaled {draws('squares', 'loss')}, general {draws('squares --score general', 'loss')}, "
            f"additive {draws('squares --score additive', 'loss')}",
            "Luong's and Bahdanau's scores are trained beside it; hidden scores are −∞, not −1e9.",
        ),
    )
    yield (
        "532–553",
        "a source mask, drawn from “≠ 0”",
        f"{ED}, step 11; the tour: *two slips with sequences*",
        same("1 0", numbers(panel("mask", 1)[0], 0)),
    )
    yield (
        "558–586",
        "a decoder with attention",
        f"{ED}, step 12; `train squares` prints its size",
        has(f"{size(squares.build(settings, data).decoder)} learned numbers"),
    )
    yield (
        "598–628",
        "its two outputs, not trained",
        f"{ED}, step 12",
        same("-0.3555 -0.1220; -0.2641 -0.2521", found("attention", 0)),
    )
    yield (
        "633–652",
        "keeps the weights of each step",
        f"{ED}, step 12; `predict` prints them",
        has(f"targets × sources: {shape(panel('attention', 1))}"),
    )
    yield (
        "657–668",
        "trains it for 100 epochs",
        "`train squares`",
        differ(
            "loss curves",
            f"{readme('mirada train squares --attention single')}; ten draws: {draws('squares', 'loss')}",
            "The write-up prints no figure; README's is the default draw's.",
        ),
    )
    yield (
        "672–679",
        "weights of the first training square: each point attends to one corner",
        "`train squares`, `plots/attention.png`",
        differ(
            "0.9905 0.9999",
            f"ten draws: the smaller of its two largest weights is {draws('squares', 'least largest weight')}",
            "The draw. The default seed, 1, was chosen since there both are above 0.9 (a test); others mix the corners "
            "and predict as well.",
        ),
    )
    yield "683–686", "maps of ten squares with direction and coordinates", "`plots/attention.png`, titled so"
    three = squares.build(squares.Settings(attention="multihead"), data)(data.test.source[:1], data.test.lengths[:1])[1]
    yield (
        "690–721",
        "several heads, weights (heads, N, 1, L)",
        "`--attention multihead --heads 3`",
        differ(
            "3 1 1 2",
            shape(three),
            "All steps together, (heads, N, T, S). Values are always projected, as in Vaswani et al. "
            "2017, and heads are as wide as a state.",
        ),
    )
    yield "figures", "losses on a logarithmic scale", "`plots/learning.png`"
    yield "–", "diagrams of encoder, decoder, attention", "the tour, squares: two diagrams drawn from the models"


def _counting() -> Rows:
    digits, answer = counts.generate(8, torch.Generator().manual_seed(0))
    settings, model = (
        counting.Settings(),
        _seeded(lambda: counting.build(counting.Settings(), counting.load(counting.Settings()))),
    )
    embedded = model.embed(digits)
    memory = model.attention.remember(embedded)
    yield (
        "1–6",
        "the task as an exercise, with its strategy",
        "`mirada.check`: generator, embedding, keys_values, attention, module",
        why("The system is the solution; the exercises check a learner's own parts."),
    )
    yield "7", "softmax over the keys, the formula", "the tour: *The whole of it in one line*, *Softmax*"
    yield (
        "8–9",
        "a generator of sequences and labels",
        "`check.generator`",
        same("8 10; 8 1", f"{shape(digits)}; {shape(answer)}"),
    )
    yield (
        "10–14",
        "an embedding's output shape",
        "`check.embedding`; the table before `train counting`",
        same("8 10 5", shape(embedded)),
    )
    yield (
        "15–18",
        "keys and values by linear layers",
        "`check.keys_values`",
        same("8 10 5; 8 10 1", f"{shape(memory.key)}; {shape(memory.value)}"),
    )
    yield "19–21", "attention of one query, batched", "`check.attention`", same("8 1 10", shape(model(digits)[1]))
    yield "23–32", "einsum 'bik,bjk->bij'", 'lesson 1, exercise 2: `torch.einsum("bik,bjk->bij", query, key)`'
    yield (
        "33–59",
        "the model: embedding 5, query 5, 200 hidden",
        "`train counting`; `check.module`",
        differ(
            "sigmoid at the end",
            f"{size(model)} learned numbers",
            "The same sizes; the loss takes logits, which is exact "
            "where a sigmoid has saturated, so the sigmoid is in `predict`.",
        ),
    )
    yield (
        "60–61",
        "batch 500, learning rate 5e-5",
        "`train counting --help`",
        same("500 5e-05", f"{settings.batch_size} {settings.learning_rate}"),
    )
    yield "62–82", "three panels: weights, values, loss by step", "`plots/three.png`"
    yield (
        "62",
        "attends mostly to 2 and 4",
        "`train counting`: `plots/ten-digits.png`",
        differ(
            "mostly",
            f"{readme('mirada train counting')}; ten draws: {draws('counting', 'on 2 and 4')} of the weights",
            "How much of it is the draw's: the task fixes the answers, not the weights.",
        ),
    )


def same(printed: str, found: str) -> dict[str, str]:
    """The write-up's digits and mirada's."""
    return {"printed": printed, "found": found}


def has(found: str) -> dict[str, str]:
    """What mirada has, where the write-up prints nothing to compare it with."""
    return {"found": found}


def differ(printed: str, found: str, reason: str) -> dict[str, str]:
    """Both, and why they are different."""
    return {"printed": printed, "found": found, "why": reason}


def why(reason: str) -> dict[str, str]:
    """Different without a number."""
    return {"why": reason}


def panels_of(walk: Walk) -> Callable[[str, int], Tensor]:
    """The numbers of a walk's panels, by step and place in it."""
    return lambda step, number: walk[step].panels[number].numbers


def numbers(tensor: Tensor, digits: int = 4) -> str:
    """A tensor's numbers as they are printed."""
    if tensor.ndim > 1:
        return "; ".join(numbers(row, digits) for row in tensor)
    return " ".join(f"{0.0 if abs(x) < 0.5 * 10**-digits else x:.{digits}f}" for x in tensor.tolist())


def shape(tensor: Tensor) -> str:
    """A shape's numbers."""
    return " ".join(map(str, tensor.shape))


def size(model: nn.Module) -> int:
    """The number of learned numbers."""
    return sum(parameter.numel() for parameter in model.parameters())


def build_patches(model: Any) -> Any:
    """A model of `patches` for images of 28×28 and ten classes."""
    data: Any = SimpleNamespace(size=(28, 28), classes=list(range(10)))
    return patches.build(patches.Settings(data="mnist", model=model), data)


def _drawn(make: Callable[[], Any], seed: int) -> Tensor:
    torch.manual_seed(seed)
    return make().query.weight.detach().flatten()


def _seeded(make: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return make()


def _hidden(hidden: int) -> int:
    settings = squares.Settings(hidden=hidden)
    return squares.build(settings, squares.load(settings)).encoder.hidden_size


def _lengths(source: int, target: int) -> str:
    settings = squares.Settings(source_length=source, target_length=target)
    data = squares.load(settings).train
    return f"{data.source.shape[1]} given, {data.target.shape[1]} to predict"


@cache
def _readme() -> dict[str, str]:
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `(mirada train [^`]+)` \| ([^|]+?) \|", text, re.MULTILINE))


def readme(command: str) -> str:
    """What README's table says of a command; a test trains it."""
    return _readme()[command]


@cache
def _draws() -> dict[str, list[dict[str, float]]]:
    return json.loads((HERE.parent / "benchmarks" / "results" / "draws.json").read_text())


def draws(command: str, figure: str) -> str:
    """Mean and spread of a figure over the draws."""
    values = [one[figure] for one in _draws()[command]]
    mean, spread = statistics.mean(values), statistics.stdev(values)
    if figure == "accuracy":
        return f"{100 * mean:.1f} ± {100 * spread:.1f} %"
    return f"{mean:.2f} ± {spread:.2f}" if figure != "loss" else f"{mean:.3f} ± {spread:.3f}"


@cache
def on_mnist() -> dict[str, str]:
    """What depends on MNIST's files: computed where they are, else as it was computed last."""
    if "MIRADA_MNIST" not in os.environ:
        return json.loads(ON_MNIST.read_text())
    settings = pixels.Settings(data="mnist", data_dir=Path(os.environ["MIRADA_MNIST"]))
    data = pixels.load(settings)
    scale = float(pixels.statistics(data.train[0], "writeup")[1])
    return {
        "train": str(len(data.train[0])), "validation": str(len(data.validation[0])),
        "steps": str(pixels.steps(settings, data)), "scale": f"{scale:.4f}",
    }  # fmt: skip


def page() -> str:
    """The page's text."""
    parts, last = [INTRODUCTION], ""
    for row in rows():
        if row.write_up != last:
            last = row.write_up
            parts.append(f"\n## {TITLES[last]}\n")
            parts += [
                "| lines | what it does | its figures | mirada | | shown by, or why |",
                "|---|---|---|---|---|---|",
            ]
        where = f"{row.where}. {row.why}" if row.why else row.where
        parts.append(f"| {row.lines} | {row.what} | {row.printed} | {row.found} | {row.verdict} | {where} |")
    return "\n".join([*parts, DRAWS])


if __name__ == "__main__":
    if "MIRADA_MNIST" in os.environ:
        ON_MNIST.write_text(json.dumps(on_mnist(), indent=1) + "\n")
    PAGE.write_text(page(), encoding="utf-8")
