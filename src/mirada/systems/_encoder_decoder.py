"""An encoder and a decoder by numbers: every tensor of two steps, small enough to check by hand.

    q · k = ‖q‖ ‖k‖ cos θ        weights = softmax(q · k / √d)        context = Σ weight · value

The layers are drawn from one seed and not trained, as in the original write-up of `squares`, whose tensors these are.
`mirada walkthrough encoder-decoder` prints and draws them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from mirada import masks, plots
from mirada.data.squares import CORNERS
from mirada.systems._steps import Panel, Step, Walk
from mirada.systems.squares import AttentionDecoder, Decoder, EncoderDecoder
from mirada.tracing import Trace, trace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Module = TypeVar("Module", bound=nn.Module)

SEED = 21
QUERY = torch.tensor([[0.55, 0.95]])
KEYS = torch.tensor([[0.65, 0.2], [0.85, -0.4], [-0.95, -0.75]])
_XY, _STATE, _POINTS = ("x", "y"), ("feature 1", "feature 2"), ("point 1", "point 2")


def drawn(make: Callable[[], Module]) -> Module:
    """A module whose first weights come from the write-up's seed."""
    torch.manual_seed(SEED)
    return make()


@dataclass(frozen=True, eq=False)
class Parts:
    """What the encoder and the decoder without attention compute for the perfect square."""

    source: Tensor  # (2, 2): the first two corners
    target: Tensor  # (2, 2): the other two
    states: Tensor  # (2, 2): the encoder's state after each given point
    first: Tensor  # (1, 2): the decoder's first output
    query: Tensor  # (1, 2): the decoder's state after its first step
    free: Tensor  # (1, 2): its second output, fed its first
    forced: Tensor  # (1, 2): its second output, fed the true point
    later: Tensor  # (1, 2): its state after the second step, fed its first output


@torch.no_grad()
def parts() -> Parts:
    """Run both, once each way."""
    with torch.random.fork_rng(devices=[]):
        encoder, decoder = drawn(lambda: EncoderDecoder(Decoder).encoder), drawn(Decoder)
    source, target = CORNERS[:2], CORNERS[2:]
    states, last = encoder(source[None])  # (1, 2, 2), (1, 1, 2)
    first, query, _ = decoder(source[None, 1:], last, None, None)
    free, later, _ = decoder(first, query, None, None)
    forced, _, _ = decoder(target[None, :1], query, None, None)
    return Parts(source, target, states[0], first[0], query[0], free[0], forced[0], later[0])


@torch.no_grad()
def with_attention() -> tuple[Tensor, Tensor]:
    """Two points (2, 2) of a decoder with attention, fed its own output, and the weights of both steps (2, 2)."""
    with torch.random.fork_rng(devices=[]):
        model = drawn(lambda: EncoderDecoder(AttentionDecoder)).eval()
    points, weights = model(CORNERS[None, :2], torch.tensor([2]))
    return points[0], weights[0]


def walk() -> Walk:
    """Take every step.

    >>> walk()["scaled"].panels[2].numbers
    tensor([[ 0.2138, -0.3175]])
    """
    p = parts()
    scaled, plain = trace(p.query, p.states, p.states), trace(p.query, p.states, p.states, scale=1.0)
    three = trace(QUERY, KEYS, KEYS, scale=1.0)
    steps = (
        _source(p), _states(p), _decoder(p), _teacher_forcing(p), _query(p), _uniform(p), _scores(plain),
        _scaled(scaled), _geometry(three), _weighted_sum(three), _mask(p), _attention(),
    )  # fmt: skip
    return Walk(steps, {"none": scaled, "unscaled": plain, "three keys": three})


# --- an encoder and a decoder ---


def _source(p: Parts) -> Step:
    said = "A square is walked round. The first two corners are given; the model must predict the other two."
    panels = (Panel("given", p.source, _POINTS, _XY), Panel("to be predicted", p.target, ("point 3", "point 4"), _XY))

    def draw() -> Figure:
        page = plots.figure(3.0, 3.3)
        plots.corners(CORNERS, ax=page.add_subplot(), title="1 and 2 are given, 3 and 4 are to be predicted")
        return page

    return Step("source", "Two corners in, two corners out", said, panels, draw)


def _states(p: Parts) -> Step:
    said = (
        "The encoder, a GRU, reads one point after the other. After each it has a state: here two numbers. The last "
        "one is all that a decoder without attention receives."
    )
    return Step("states", "An encoder reads", said, (Panel("states", p.states, _POINTS, _STATE),))


def _decoder(p: Parts) -> Step:
    said = (
        "The decoder, another GRU, starts from the encoder's last state and is fed the last given point. A linear "
        "layer makes a point of its state; that point is fed in at the next step. Nothing is trained yet, so the "
        "points are far from the corners."
    )
    rows = ("step 1", "step 2")
    panels = (
        Panel("states", torch.cat([p.query, p.later]), rows, _STATE),
        Panel("outputs", torch.cat([p.first, p.free]), rows, _XY),
    )
    return Step("decoder", "A decoder writes", said, panels)


def _teacher_forcing(p: Parts) -> Step:
    said = (
        "In training, the second step can be fed the true third corner in place of the model's own first output: "
        "teacher forcing. Then an early mistake does not spoil the later steps, and a bad point is the fault of its "
        "own step. But in use there is no true point, so a model that was always forced has never met its own errors "
        "(exposure bias). `mirada train squares --teacher-forcing P` forces a step with probability P."
    )
    both = torch.cat([p.free, p.forced])
    panels = (Panel("second output", both, ("fed its own first", "fed the true corner"), _XY),)

    def draw() -> Figure:
        page = plots.figure(6.4, 3.6, "The same decoder, fed two ways")
        for ax, second, title in zip(
            page.subplots(1, 2), (p.free, p.forced), ("fed its own output", "teacher forcing"), strict=True
        ):
            plots.corners(CORNERS, torch.cat([p.first, second]), ax=ax, title=title)
        return page

    return Step("teacher-forcing", "Fed its own output, or the true point", said, panels, draw)


# --- attention between them ---


def _query(p: Parts) -> Step:
    said = (
        "Attention gives the decoder all states of the encoder: they are the keys, and here the values too. The query "
        "is the decoder's state."
    )
    panels = (Panel("query", p.query, ("query",), _STATE), Panel("keys = values", p.states, ("key 1", "key 2"), _STATE))
    return Step("query", "Query, keys and values", said, panels)


def _uniform(p: Parts) -> Step:
    weights = torch.full((1, 2), 0.5)
    said = (
        "Before any score: give every key the same weight. The context is then the mean of the values. Context and "
        "query, side by side, are what the next point is computed from."
    )
    context = weights @ p.states
    panels = (
        Panel("weights", weights, ("query",)),
        Panel("context", context, ("query",), _STATE),
        Panel("context and query", torch.cat([context, p.query], -1), ("query",), ""),
    )
    return Step("uniform", "Uniform attention is a mean", said, panels)


def _scores(plain: Trace) -> Step:
    said = "A better weight follows from the inputs: the dot product of query and key, then the softmax."
    panels = (Panel("q · k", plain.scores, ("query",)), Panel("softmax(q · k)", plain.weights, ("query",)))
    return Step("scores", "Scores from dot products", said, panels)


def _scaled(scaled: Trace) -> Step:
    said = (
        "Dot products grow with the number of features d, so they are divided by √d, here √2. With these weights, the "
        "context is no longer the mean: key 2 counts for more."
    )
    panels = (
        Panel("q · k / √2", scaled.scaled, ("query",)),
        Panel("weights", scaled.weights, ("query",)),
        Panel("context", scaled.context, ("query",), _STATE),
    )
    return Step("scaled", "Scaled scores, weights, context", said, panels, lambda: _plane(scaled))


def _geometry(three: Trace) -> Step:
    query, keys = three.query, three.key
    lengths, cosines = keys.norm(dim=-1), torch.cosine_similarity(query, keys)
    columns = (query.norm().expand(3), lengths, cosines, query.norm() * lengths * cosines, three.scores[0])
    said = (
        "What does a dot product measure? q · k = ‖q‖ ‖k‖ cos θ: it is large where the key is long, and where it "
        "points the way the query points. Key 2, nearly at a right angle, has a score near 0; key 3 points away and "
        "has a negative one."
    )
    table = Panel(
        "one query, three keys", torch.stack(columns, -1), ("key 1", "key 2", "key 3"),
        ("‖q‖", "‖k‖", "cos θ", "‖q‖ ‖k‖ cos θ", "q · k"),
    )  # fmt: skip

    def draw() -> Figure:
        page = plots.figure(5.4, 6.0)
        plots.vectors(query[0], keys, ax=page.add_subplot(), title="score = ‖q‖ ‖k‖ cos θ")
        return page

    return Step("geometry", "A score is length times length times cosine", said, (table,), draw)


def _weighted_sum(three: Trace) -> Step:
    said = (
        "The softmax of the three scores, and the context: each value shortened to its weight, laid head to tail. The "
        f"key that points away still gets {100 * three.weights[0, 2]:.0f} %."
    )
    panels = (Panel("weights", three.weights, ("query",)), Panel("context", three.context, ("query",), _XY))

    def draw() -> Figure:
        page = plots.figure(5.4, 6.0)
        title = "context = Σ weight · value"
        plots.weighted_sum(three.value, three.weights[0], ax=page.add_subplot(), title=title)
        return page

    return Step("weighted-sum", "The context is a weighted sum", said, panels, draw)


def _mask(p: Parts) -> Step:
    said = (
        "A source of one point, filled up to two: the mask follows from the length, so the filling gets no weight. The "
        "original write-up draws it from “≠ 0”, which also hides a real point that lies on an axis."
    )
    mask = masks.padding([1], 2)
    seen = trace(p.query[None], p.states[None], p.states[None], mask)[0]
    panels = (
        Panel("the mask: 1 = may attend", (~seen.hidden).float(), ("query",), values="whole"),
        Panel("weights", seen.weights, ("query",), hidden=seen.hidden),
    )
    return Step("mask", "A source mask", said, panels)


def _attention() -> Step:
    said = (
        "The whole decoder with attention, not trained: learned layers project query and keys, and each step has "
        "weights of its own. `mirada train squares` trains it."
    )
    points, weights = with_attention()
    rows = ("step 1", "step 2")
    panels = (Panel("outputs", points, rows, _XY), Panel("weights", weights, rows))
    return Step("attention", "A decoder with attention", said, panels)


def _plane(scaled: Trace) -> Figure:
    page = plots.figure(8.6, 5.6, "The query among the encoder's states, and the context that follows")
    left, right = page.subplots(1, 2)
    plots.vectors(scaled.query[0], scaled.key, scale=scaled.scale, ax=left, title="score = q · k / √2")
    plots.weighted_sum(scaled.value, scaled.weights[0], ax=right, title="context = Σ weight · value")
    return page
