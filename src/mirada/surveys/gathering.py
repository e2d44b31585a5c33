"""Sums over all processes: each reduction takes memory as for one process, however many there are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from mirada.surveys.examples import KEPT, Examples
from mirada.surveys.measuring import Measured
from mirada.surveys.questions import Questions, curve_bins, edges
from mirada.surveys.tally import Tally
from mirada.training import processes


def together(part: Measured | None, asked: Questions, classes: int) -> Measured | None:
    """What all processes have counted, in each of them; None where none has counted anything.

    Raises:
        ValueError: their models attend in different layers or heads.
    """
    if processes.count() == 1:
        return part
    shape = _agreed(None if part is None else {"layers": part.layers, "heads": part.blind.shape[1]})
    if shape is None:
        return None
    part = _nothing(tuple(shape["layers"]), int(shape["heads"]), asked, classes) if part is None else part
    counts = _summed(torch.tensor([part.texts, part.tokens, part.padding], dtype=torch.float64))
    return Measured(
        part.layers,
        {name: _tally(tally) for name, tally in part.tallies.items()},
        {name: _examples(found) for name, found in part.examples.items()},
        _summed(part.blind),
        *(int(count) for count in counts),
    )


def must_be_same(values: Mapping[str, str]) -> None:
    """Raises a ValueError in every process if one of them begins with something else than the first."""
    if processes.count() == 1:
        return
    for name, value in values.items():
        digests = gathered(torch.tensor(list(sha256(value.encode()).digest()), dtype=torch.float64))
        other = (digests != digests[0]).any(-1).nonzero()
        if len(other):
            raise ValueError(
                f"process {int(other[0])} differs from process 0 in {name}: start all with the same model, texts and "
                "options, and the same mirada"
            )


def gathered(mine: Tensor) -> Tensor:
    """The tensor of each process, (processes, ...): each adds its own row to a buffer of zeros, exactly."""
    if processes.count() == 1:
        return mine[None]
    rows = mine.new_zeros(processes.count(), *mine.shape)
    rows[dist.get_rank()] = mine
    return _summed(rows)


def _tally(tally: Tally) -> Tally:
    """Two sums: weights and weighted means, then squares about the means of all (Chan et al. 1979, eq. 1.5)."""
    queries, clusters = tally.queries, tally.clusters
    parts = [queries.weight, queries.weight * queries.mean, clusters.weight, clusters.weight * clusters.mean]
    weight, total, weight_of_texts, total_of_texts, texts, histogram = _summed_all(
        [*parts, tally.texts, tally.histogram]
    )
    mean = total / weight.where(weight > 0, 1.0)
    mean_of_texts = total_of_texts / weight_of_texts.where(weight_of_texts > 0, 1.0)
    squares, squares_of_texts = _summed_all(
        [
            queries.squares + queries.weight * (queries.mean - mean).square(),
            clusters.squares + clusters.weight * (clusters.mean - mean_of_texts).square(),
        ]
    )
    least, most = -_reduced(-tally.least, dist.ReduceOp.MAX), _reduced(tally.most, dist.ReduceOp.MAX)
    return Tally(
        weight, mean, squares, texts, weight_of_texts, mean_of_texts, squares_of_texts, least, most, histogram
    )  # fmt: skip


def _examples(found: Examples) -> Examples:
    """Numbers of texts and queries are exact in float64."""
    value, text, query = (gathered(tensor.double()) for tensor in (found.value, found.text, found.query))
    whole = Examples(value[0], text[0].long(), query[0].long())
    for rank in range(1, len(value)):
        whole = whole.merge(Examples(value[rank], text[rank].long(), query[rank].long()))
    return whole


def texts_of_all(mine: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The pairs of strings of all processes, in the order of the processes."""
    told = _told(json.dumps(mine).encode())
    return [(str(name), str(why)) for text in told for name, why in json.loads(text)]


def of_first(mine: bytes) -> bytes:
    """The bytes of the first process, in all of them."""
    return mine if processes.count() == 1 else _told(mine if processes.is_first() else b"")[0]


def _agreed(shape: dict[str, Any] | None) -> dict[str, Any] | None:
    """The layers and heads that were seen; ValueError where processes have seen different ones."""
    told = [json.loads(text) for text in _told(json.dumps(shape).encode())]
    seen = {rank: one for rank, one in enumerate(told) if one is not None}
    if not seen:
        return None
    first = min(seen)
    other = [rank for rank, one in seen.items() if one != seen[first]]
    if other:
        raise ValueError(f"the model of process {other[0]} attends in other layers or heads than that of {first}")
    return seen[first]


def _told(mine: bytes) -> list[bytes]:
    """The bytes of each process. No object is sent: to receive one is to unpickle it."""
    lengths = gathered(torch.tensor([float(len(mine))], dtype=torch.float64))[:, 0].int().tolist()
    if not any(lengths):
        return [b""] * len(lengths)
    padded = torch.tensor(list(mine.ljust(max(lengths), b"\0")), dtype=torch.uint8)
    rows = gathered(padded)
    return [bytes(row[:length].tolist()) for row, length in zip(rows, lengths, strict=True)]


def _nothing(layers: tuple[str, ...], heads: int, asked: Questions, classes: int) -> Measured:
    tallies, examples = {}, {}
    for name in asked.all:
        bins = edges(name)
        tallies[name] = Tally.nothing(
            len(layers), heads, curve_bins(name, classes), 0 if bins is None else len(bins) - 1
        )
        if bins is not None:
            value = torch.full((len(layers), heads, KEPT), -torch.inf, dtype=torch.float64)
            examples[name] = Examples(value, torch.full(value.shape, -1), torch.zeros(value.shape, dtype=torch.long))
    return Measured(layers, tallies, examples, torch.zeros(len(layers), heads, dtype=torch.float64))


def _summed_all(tensors: list[Tensor]) -> list[Tensor]:
    flat = _summed(torch.cat([tensor.flatten() for tensor in tensors]))
    parts = flat.split([tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]


def _summed(tensor: Tensor) -> Tensor:
    return _reduced(tensor, dist.ReduceOp.SUM)


def _reduced(tensor: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
    """Over all processes; on the CPU before and after, on the GPU where only NCCL speaks."""
    if processes.count() == 1:
        return tensor
    place = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else tensor.device
    moved = tensor.to(place, copy=True).contiguous()
    dist.all_reduce(moved, op=how)
    return moved.to(tensor.device)
