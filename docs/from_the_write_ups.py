"""Writes from-the-write-ups.md: what the five original write-ups print, and what mirada computes in its place.

Run it after a change: ``python docs/from_the_write_ups.py``. A test holds the page against a fresh computation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn

import mirada
from mirada import masks
from mirada.data import counts
from mirada.systems import counting, patches, squares
from mirada.systems.squares import AttentionDecoder, Decoder, EncoderDecoder

PAGE = Path(__file__).with_suffix("").with_name("from-the-write-ups.md")
SQUARE = torch.tensor([[[-1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [1.0, -1.0]]])
INTRODUCTION = """# From the write-ups

mirada's five systems follow five write-ups, three in Spanish and two in English. This page holds what each of them
prints beside what mirada computes. `docs/from_the_write_ups.py` writes it; a test computes every row again. A row is
*same* where the printed digits agree.

What depends on a trained model or on MNIST stands in README's table, whose rows are trained by tests.
"""


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A module drawn from seed 21, as the write-up draws its parts."""
    torch.manual_seed(21)
    return make()


@cache
def parts() -> SimpleNamespace:
    """The encoder and decoder of the write-up by numbers, fed the perfect square's first two corners."""
    encoder, decoder = seeded(lambda: EncoderDecoder(Decoder).encoder), seeded(Decoder)
    states, last = encoder(SQUARE[:, :2])  # (1, 2, 2), (1, 1, 2)
    first, after, _ = decoder(SQUARE[:, 1:2], last, None, None)
    return SimpleNamespace(encoder=encoder, decoder=decoder, states=states, last=last, first=first, after=after)


def with_attention() -> Tensor:
    """Two steps of the decoder with attention, fed its own output; encoder and decoder are drawn from one seed."""
    model = seeded(lambda: EncoderDecoder(AttentionDecoder))
    decoder, (states, last) = model.decoder, model.encoder(SQUARE[:, :2])
    memory = decoder.remember(states)
    one, state, _ = decoder(SQUARE[:, 1:2], last, memory, None)
    two, _, _ = decoder(one, state, memory, None)
    return torch.cat([one, two], 1)[0]


def numbers(tensor: Tensor, digits: int = 4) -> str:
    """A tensor's numbers as they are printed."""
    if tensor.ndim > 1:
        return "; ".join(numbers(row, digits) for row in tensor)
    return " ".join(f"{0.0 if abs(x) < 0.5 * 10**-digits else x:.{digits}f}" for x in tensor.tolist())


@torch.no_grad()
def rows() -> Iterator[tuple[str, str, str, str, str]]:
    """Write-up, what it shows, what it prints, what mirada computes, and where a person sees it."""
    x = torch.arange(50.0).view(5, 10) / 100
    trace = mirada.trace(x, x, x, scale=1.0)
    padding, causal = torch.arange(5) < 4, masks.causal(5)
    padded = mirada.trace(x, x, x, padding, scale=1.0).weights.view(5, 5)
    yield "001", "parameters of the MLP", "623290", str(parameters("mlp")), "`mirada train patches --model mlp`"
    yield "001", "parameters of wide heads", "163915", str(parameters("wide")), "`mirada train patches`"
    images = torch.zeros(64, 28, 28, dtype=torch.uint8)
    yield "001", "a batch as patches", "64 16 49", shape(patches.cut(images, 7)), "`systems/patches.py`"
    seen = "`mirada walkthrough`"
    yield "002", "QKᵀ, row 1", "0.0285 0.0735 0.1185 0.1635 0.2085", numbers(trace.scores[0]), seen
    yield "002", "QKᵀ, last entry", "1.9885", numbers(trace.scores[4, 4:]), seen
    percents = "23 24 26 27 0; 20 23 27 31 0; 17 21 27 35 0; 14 20 28 39 0; 11 18 28 43 0"
    yield (
        "002",
        "padding mask, percents",
        percents,
        numbers(100 * padded, 0),
        f"{seen}: 35 is row 3, column 4",
    )
    hidden = trace.scores.masked_fill(~padding, -1e9)
    slip = hidden.masked_fill(~causal.materialise((), 5, 5)[0], -1e-9).softmax(-1)
    yield "002", "the slip: −1e-9 over −1e9, row 1", "0.2046 0.1989 0.1989 0.1989 0.1989", numbers(slip[0]), seen
    ones = torch.softmax(trace.scores[None], 0)[0, 0]
    yield "002", "the slip: softmax over a batch of one", "1 1 1 1 1", numbers(ones, 0), seen
    p, seen = parts(), "`tests/test_squares.py`, this page"
    yield "003", "encoder states", "0.0832 -0.0356; 0.3105 -0.5263", numbers(p.states[0]), seen
    yield "003", "decoder, first output", "-0.2339 0.4702", numbers(p.first[0, 0]), seen
    free, _, _ = p.decoder(p.first, p.after, None, None)
    taught, _, _ = p.decoder(SQUARE[:, 2:3], p.after, None, None)
    yield "003", "second output, fed its own first", "-0.0226 0.4628", numbers(free[0, 0]), "`--teacher-forcing 0`"
    yield "003", "second output, teacher forcing", "0.2265 0.4529", numbers(taught[0, 0]), "`--teacher-forcing 1`"
    uniform = torch.full((1, 2), 0.5) @ p.states[0]
    yield "003", "uniform attention: the context is the mean", "0.1968 -0.2809", numbers(uniform[0]), seen
    step = mirada.trace(p.after[0], p.states[0], p.states[0])
    plain = mirada.trace(p.after[0], p.states[0], p.states[0], scale=1.0)
    yield "003", "query: the decoder's state", "0.3913 -0.6853", numbers(p.after[0, 0]), seen
    yield "003", "scores", "0.0569 0.4821", numbers(step.scores[0]), seen
    yield "003", "weights, unscaled", "0.3953 0.6047", numbers(plain.weights[0]), seen
    yield "003", "scores divided by √2", "0.0403 0.3409", numbers(step.scaled[0]), seen
    yield "003", "weights, scaled", "0.4254 0.5746", numbers(step.weights[0]), seen
    yield "003", "context", "0.2138 -0.3175", numbers(step.context[0]), seen
    query, keys = torch.tensor([[0.55, 0.95]]), torch.tensor([[0.65, 0.2], [0.85, -0.4], [-0.95, -0.75]])
    three = mirada.trace(query, keys, keys, scale=1.0)
    yield "003", "one query, three keys: its norm", "1.10", numbers(query.norm(dim=1), 2), "`plots.vectors`"
    yield "003", "norm of the first key", "0.68", numbers(keys[:1].norm(dim=1), 2), "`plots.vectors`"
    cosine = torch.cosine_similarity(query, keys[:1])
    yield "003", "their cosine", "0.73", numbers(cosine, 2), "`plots.vectors`"
    yield "003", "scores", "0.5475 0.0875 -1.2350", numbers(three.scores[0]), seen
    yield "003", "weights", "0.5557 0.3508 0.0935", numbers(three.weights[0]), seen
    yield "003", "context", "0.5706 -0.0993", numbers(three.context[0]), seen
    four = torch.softmax(torch.tensor([4.0, 1.0]), 0)
    yield "003", "softmax of [4, 1]", "0.9526 0.0474", numbers(four), "`mirada walkthrough`, last step"
    mask = masks.padding([1], 2).materialise((1,), 1, 2)[0].view(2).float()
    yield "003", "source mask of one real point", "1 0", numbers(mask, 0), "`--variable-length`"
    yield (
        "003",
        "decoder with attention, two outputs",
        "-0.3555 -0.1220; -0.2641 -0.2521",
        numbers(with_attention()),
        seen,
    )
    source, lengths = SQUARE[:, :2], torch.tensor([2])
    heads = squares.build(squares.Settings(attention="multihead"), squares.load(squares.Settings()))
    yield (
        "003",
        "weights of three heads: heads, N, targets, S",
        "3 1 2 2",
        shape(heads(source, lengths)[1]),
        "`--heads 3`",
    )
    drawn = counts.generate(8, torch.Generator().manual_seed(0))
    yield "004", "generator: sequences", "8 10", shape(drawn[0]), "`data/counts.py`"
    yield "004", "generator: labels", "8 1", shape(drawn[1]), "`data/counts.py`"
    yield "004", "parameters", "692", str(size(counting.build(counting.Settings(), None))), "`systems/counting.py`"


def parameters(model: str) -> int:
    """Parameters of a model of `patches` on images of 28×28 and ten classes."""
    data = SimpleNamespace(size=(28, 28), classes=list(range(10)))
    return size(patches.build(patches.Settings(data="mnist", model=model), data))


def size(model: nn.Module) -> int:
    """The number of trained numbers."""
    return sum(parameter.numel() for parameter in model.parameters())


def shape(tensor: Tensor) -> str:
    """A shape's numbers."""
    return " ".join(map(str, tensor.shape))


def page() -> str:
    """The page's text."""
    lines = [INTRODUCTION, "| write-up | what | it prints | mirada | | shown by |", "|---|---|---|---|---|---|"]
    for number, what, printed, found, where in rows():
        verdict = "same" if printed == found else "**different**"
        lines.append(f"| {number} | {what} | {printed} | {found} | {verdict} | {where} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
