"""The diagram of each model, drawn from the model: an example goes through, and its shapes stand on the arrows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mirada.experiment import Run
from mirada.plots.diagrams import Arrow, Box, diagram
from mirada.systems import patches
from mirada.tracing import Trace


def size(tensor: Tensor, heads: int = 1) -> str:
    """The shape of one example, (1, ...) without the batch; with `heads`, how many there are of it.

    >>> size(torch.zeros(1, 16, 4)), size(torch.zeros(1, 4, 16, 16)), size(torch.zeros(1, 16, 4), heads=2)
    ('16 × 4', '4 × 16 × 16', '2 × 16 × 4')
    """
    shape = ([heads] if heads > 1 else []) + list(tensor.shape[1:])
    return " × ".join(map(str, shape))


def numbers(*modules: nn.Module | Tensor) -> str:
    """How many numbers are learned there.

    >>> numbers(nn.Linear(2, 3))
    '9 learned numbers'
    """
    count = sum(
        part.numel() if isinstance(part, Tensor) else sum(p.numel() for p in part.parameters()) for part in modules
    )
    return f"{count:,} learned {'number' if count == 1 else 'numbers'}"


def mechanism(trace: Trace) -> str:
    """The mechanism itself, of a trace of one sequence."""
    query, key, value = (size(part[None]) for part in (trace.query, trace.key, trace.value))
    weights, context = size(trace.weights[None]), size(trace.context[None])
    return diagram(
        [
            [
                Box(name="q", text="query", kind="query"),
                Box(name="k", text="key", kind="key"),
                Box(name="v", text="value", kind="value"),
            ],
            [Box(name="s", text="scores", detail="query · key")],
            [Box(name="m", text="mask", detail="hidden keys: −∞")],
            [Box(name="w", text="softmax", detail="each row adds up to 1", kind="weights")],
            [Box(name="c", text="weights · value", detail="a weighted mean")],
            [Box(name="out", text="context", kind="data")],
        ],
        [
            Arrow("q", "s", query),
            Arrow("k", "s", key),
            Arrow("v", "c", value, around=True),
            Arrow("s", "m", weights),
            Arrow("m", "w", weights),
            Arrow("w", "c", f"weights {weights}"),
            Arrow("c", "out", context),
        ],
        label="Query and key make scores; a mask and softmax make weights of them; weights and value make the context.",
    )


def attention(source: str, shapes: dict[str, str], details: dict[str, str]) -> tuple[list[list[Box]], list[Arrow]]:
    """The rows in the middle of every diagram: from a source to query, key, value, weights, context."""
    rows = [
        [
            Box(name="q", text="query", detail=details.get("query", ""), kind="query"),
            Box(name="k", text="key", detail=details.get("key", ""), kind="key"),
            Box(name="v", text="value", detail=details.get("value", ""), kind="value"),
        ],
        [Box(name="w", text="softmax(q · k / √d)", detail="weights", kind="weights")],
        [Box(name="c", text="weights · value", detail="context")],
    ]
    arrows = [Arrow(source, name, shapes["source"] if name == "k" else "") for name in "qkv"] if source else []
    return rows, [
        *arrows,
        Arrow("q", "w", shapes["query"]),
        Arrow("k", "w", shapes["key"]),
        Arrow("v", "c", shapes["value"], around=True),
        Arrow("w", "c", shapes["weights"]),
    ]


@torch.no_grad()
def counting(run: Run) -> str:
    """The learned query, and what judges its context."""
    model: Any = run.model
    digits = run.data.test[0][:1]  # (1, 10)
    embedded = model.embed(digits)  # (1, 10, 5)
    key, value = model.attention.remember(embedded)
    context, weights = model.attention(embedded, need_weights=True)
    rows, arrows = attention(
        "",
        {"query": size(model.attention.query[None]), "key": size(key), "value": size(value), "weights": size(weights)},
        {"query": "learned", "key": "projection", "value": "projection"},
    )
    return diagram(
        [
            [Box(name="x", text="ten digits", kind="data")],
            [Box(name="e", text="embedding", detail=numbers(model.embed))],
            *rows,
            [Box(name="j", text="two linear layers, ReLU", detail=numbers(model.judge))],
            [Box(name="out", text="more 2s than 4s?", kind="data")],
        ],
        [
            Arrow("x", "e", size(digits)),
            Arrow("e", "k", size(embedded)),
            Arrow("e", "v"),
            *arrows,
            Arrow("c", "j", size(context)),
            Arrow("j", "out", size(model.judge(context[:, 0]))),
        ],
        label="Digits are embedded; a learned query attends to them; its context is judged by two linear layers.",
    )


@torch.no_grad()
def pixels(run: Run) -> str:
    """Self-attention with one channel, and a linear layer."""
    model: Any = run.model
    image = run.data.images.test_images[:1]
    sequence = model.sequence(image)  # (1, L, 1)
    query, key, value = (layer(sequence) for layer in (model.attend.query, model.attend.key, model.attend.value))
    context, weights = model.attend(sequence, need_weights=True)
    rows, arrows = attention(
        "s",
        {
            "source": size(sequence),
            "query": size(query),
            "key": size(key),
            "value": size(value),
            "weights": size(weights),
        },
        dict.fromkeys(("query", "key", "value"), "× 1 number"),
    )
    return diagram(
        [
            [Box(name="x", text="image", kind="data")],
            [Box(name="s", text="a sequence of pixels", detail="centred and divided")],
            *rows,
            [Box(name="l", text="linear layer", detail=numbers(model.classify))],
            [Box(name="out", text="a logit for each class", kind="data")],
        ],
        [
            Arrow("x", "s", size(image)),
            *arrows,
            Arrow("c", "l", size(context)),
            Arrow("l", "out", size(model.classify(context.flatten(1)))),
        ],
        label="The pixels are query, key and value of self-attention; a linear layer names the class.",
    )


@torch.no_grad()
def bare(run: Run) -> str:
    """One layer of wide heads among the patches, nothing around it."""
    model: Any = run.model
    image = run.data.test_images[:1]
    tokens = patches.cut(image, model.patch)
    heads, each = model.attend.heads, size(tokens, model.attend.heads)
    context, weights = model.attend(tokens, need_weights=True)
    rows, arrows = attention(
        "p",
        {"source": size(tokens), "query": each, "key": each, "value": each, "weights": size(weights)},
        dict.fromkeys(("query", "key", "value"), f"{heads} heads"),
    )
    return diagram(
        [
            [Box(name="x", text="image", kind="data")],
            [Box(name="p", text="cut into patches")],
            *rows,
            [Box(name="o", text="heads side by side, linear", detail=numbers(model.attend.out))],
            [Box(name="l", text="ReLU, linear layer", detail=numbers(model.classify))],
            [Box(name="out", text="a logit for each class", kind="data")],
        ],
        [
            Arrow("x", "p", size(image)),
            *arrows,
            Arrow("c", "o", size(tokens, heads)),
            Arrow("o", "l", size(context)),
            Arrow("l", "out", size(model(image))),
        ],
        label="Patches are query, key and value of sixteen heads; their contexts are joined and classified.",
    )


@torch.no_grad()
def block(run: Run) -> str:
    """A transformer block: attention and feed-forward, each with a norm before and a residual around."""
    model: Any = run.model
    image = run.data.test_images[:1]
    tokens = patches.cut(image, model.patch)
    first, x = model.blocks[0], model.embed(tokens)
    _, weights = first.attend(first.norm_tokens(x), need_weights=True)
    hidden = first.feed_forward[0](x)
    return diagram(
        [
            [Box(name="x", text="image", kind="data")],
            [Box(name="e", text="patches, linear embedding", detail=numbers(model.embed))],
            [Box(name="p", text="+ positional embedding", detail=numbers(_positions(model)))],
            [Box(name="n", text="layer norm", detail=numbers(first.norm_tokens))],
            [
                Box(
                    name="a",
                    text=f"attention, {first.attend.heads} heads",
                    detail=f"weights {size(weights)}",
                    kind="weights",
                )
            ],
            [Box(name="r", text="+ residual")],
            [Box(name="m", text="layer norm", detail=numbers(first.norm_features))],
            [Box(name="f", text=f"feed-forward, {hidden.shape[-1]} wide", detail=numbers(first.feed_forward))],
            [Box(name="s", text="+ residual")],
            [Box(name="l", text="flatten, linear layer", detail=numbers(model.classify))],
            [Box(name="out", text="a logit for each class", kind="data")],
        ],
        [
            Arrow("x", "e", size(image)),
            Arrow("e", "p", size(x)),
            Arrow("p", "n", size(x)),
            Arrow("n", "a", size(x)),
            Arrow("a", "r", size(x)),
            Arrow("p", "r", "residual", around=True),
            Arrow("r", "m", size(x)),
            Arrow("m", "f", size(x)),
            Arrow("f", "s", size(x)),
            Arrow("r", "s", "residual", around=True),
            Arrow("s", "l", size(x)),
            Arrow("l", "out", size(model(image))),
        ],
        label="Patches are embedded, get positions, and go through attention and feed-forward with residuals.",
    )


@torch.no_grad()
def mlp(run: Run) -> str:
    """The network without attention."""
    model: Any = run.model
    image = run.data.test_images[:1]
    return diagram(
        [
            [Box(name="x", text="image", kind="data")],
            [Box(name="h", text="linear layer, ReLU", detail=numbers(model.hidden))],
            [Box(name="l", text="linear layer", detail=numbers(model.classify))],
            [Box(name="out", text="a logit for each class", kind="data")],
        ],
        [
            Arrow("x", "h", size(image.flatten(1))),
            Arrow("h", "l", size(model.hidden(image.flatten(1).float()))),
            Arrow("l", "out", size(model(image))),
        ],
        label="All pixels go through a linear layer with ReLU and a second one.",
    )


@torch.no_grad()
def squares(run: Run) -> str:
    """Encoder and decoder, without attention between them or with one head."""
    model: Any = run.model
    source, lengths = run.data.test.source[:1], run.data.test.lengths[:1]
    states, last, point, _ = model.encode(source, lengths)
    query, _ = model.decoder.gru(point, last)
    encoder = Box(name="e", text="encoder: GRU", detail=numbers(model.encoder))
    decoder = Box(name="d", text="decoder: GRU", detail=numbers(model.decoder.gru))
    out = Box(name="o", text="linear layer", detail=numbers(model.decoder.out))
    ends = [Box(name="x", text="given points", kind="data")], [Box(name="out", text="next point", kind="data")]
    if run.settings.attention == "none":
        return diagram(
            [ends[0], [encoder], [decoder], [out], ends[1]],
            [
                Arrow("x", "e", size(source)),
                Arrow("e", "d", f"last state {size(last)}"),
                Arrow("d", "o", size(query)),
                Arrow("o", "out", size(point)),
            ],
            label="The encoder reads the points; the decoder starts from its last state alone.",
        )
    memory = model.decoder.remember(states)
    _, _, weights = model.decoder(point, last, memory, None)
    rows, arrows = attention(
        "",
        {"query": size(query), "key": size(memory.key), "value": size(memory.value), "weights": size(weights)},
        {"query": "projected state", "key": "projected states", "value": "the states"},
    )
    joined = torch.cat([query, query], -1)
    return diagram(
        [
            ends[0],
            [decoder, encoder],
            *rows,
            [Box(name="j", text="context and state", detail="side by side")],
            [out],
            ends[1],
        ],
        [
            Arrow("x", "e", size(source)),
            Arrow("x", "d", "last point"),
            Arrow("e", "k", size(states)),
            Arrow("e", "v"),
            Arrow("d", "q", size(query)),
            *arrows,
            Arrow("c", "j", size(memory.value[:, :1])),
            Arrow("j", "o", size(joined)),
            Arrow("o", "out", size(point)),
        ],
        label="The decoder's state is the query; the encoder's states are keys and values; both make the next point.",
    )


def _positions(model: Any) -> Tensor:
    return model.places
