"""Asks everything on the CPU and on a second device: python second_device.py. Prints what differs; how many agree."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent.parent))

import far
import mirada
from attending import Layers
from mirada import AttentionMatrix, masks, summaries
from mirada import nn as layers
from mirada.interventions import knock_out_edges
from mirada.training import processes

HALF = (torch.bfloat16, torch.float16)
#: Of few weights, which are formed outright, and of many; with gradients and without.
CASES = [
    (torch.float32, 6, True),
    (torch.float32, 100, False),
    (torch.float32, 100, True),
    (torch.float64, 6, False),
    (torch.bfloat16, 100, False),
    (torch.float16, 6, False),
]
agreed = 0


@cache
def masks_of(length: int, device: str, dtype: torch.dtype) -> dict[str, Any]:
    """One of each kind, its tensors where the others are, and one whose tensors are not."""
    ids = (torch.arange(length, device=device) // 4).expand(2, length)
    bias = torch.linspace(-1, 1, length**2, dtype=dtype).view(length, length).to(device)
    return {
        "no mask": None,
        "no peek": masks.causal(length),
        "window": masks.sliding_window(3, 1),
        "padding": masks.padding(torch.tensor([length, length // 2], device=device), length),
        "padding, from the CPU": masks.padding([length, length // 2], length),
        "documents": masks.documents(ids) & masks.causal(length),
        "bool": (torch.arange(length**2).view(length, length) % 3 > 0).to(device),
        "nothing to see for one": torch.arange(length, device=device)[:, None] != 2,
        "bias": bias,
    }


def questions(matrix: AttentionMatrix, value: Tensor, length: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """All that a matrix can be asked."""
    ids = torch.arange(length, device=matrix.device) % 5
    query, key, mask = matrix.query, matrix.key, matrix.mask
    yield "A @ V", lambda: matrix @ value
    yield "A.T @ x", lambda: matrix.T @ value
    for name in ("entropy", "logsumexp", "received", "to_dense"):
        yield name, getattr(matrix, name)
    yield "topk", lambda: matrix.topk(3)[0]
    yield "group_mass", lambda: matrix.group_mass(ids)
    yield "mass", lambda: matrix.mass(masks.sliding_window(1, 1))
    yield "whole tile", lambda: matrix.tile((0, length), (0, length), (4, 4))
    yield "uneven tile", lambda: matrix.tile((1, 5), (0, length), (2, 3))
    yield "rows", lambda: matrix.rows([1, -1])
    yield "entries", lambda: matrix.entries(torch.tensor([1, 2]), torch.tensor([0, 1]))
    yield "one head", lambda: matrix[0, 1].entropy()
    yield "attention", lambda: mirada.attention(query, key, value, mask)
    yield "attention, weights", lambda: mirada.attention(query, key, value, mask, need_weights=True)[1]
    yield "rollout", lambda: mirada.rollout([matrix, matrix], queries=[0, 2])
    yield "rollout, heads", lambda: mirada.rollout([matrix, matrix], heads=torch.tensor([1.0, 0.0, 0.0, 2.0]))
    for name in ("sink", "previous_token", "distance", "effective_keys"):
        yield name, lambda name=name: getattr(summaries, name)(matrix)
    for name in ("duplicate_token", "induction"):
        yield name, lambda name=name: getattr(summaries, name)(matrix, ids)


def of_matrices(dtype: torch.dtype, length: int, grad: bool) -> Iterator[tuple[str, Callable[[str], Any]]]:
    """Each question under each mask: a name, and what answers on a device."""
    torch.manual_seed(0)
    tensors = torch.randn(3, 2, 4, length, 8, dtype=dtype)

    def asked(device: str, mask: str) -> dict[str, Callable[[], Any]]:
        query, key, value = (tensor.to(device) for tensor in tensors)
        query = query.detach().requires_grad_(grad)
        matrix = AttentionMatrix(query, key, masks_of(length, device, dtype)[mask])
        return {name: lambda ask=ask: with_gradient(ask(), query) for name, ask in questions(matrix, value, length)}

    for mask in masks_of(length, "cpu", dtype):
        for name in asked("cpu", mask):
            yield f"{name}, {mask}", lambda device, name=name, mask=mask: asked(device, mask)[name]()


def with_gradient(answer: Tensor, query: Tensor) -> list[Tensor]:
    """The answer, and the gradient of its sum of squares."""
    if not answer.requires_grad:
        return [answer]
    some = answer.masked_fill(answer == -torch.inf, 0.0).float()  # a normaliser of nothing
    return [answer.detach(), *torch.autograd.grad(some.square().sum(), query)]


def of_layers() -> Iterator[tuple[str, Callable[[str], Any]]]:
    """Each layer under each mask, with its gradients."""
    made = {
        "self": lambda: layers.SelfAttention(8),
        "narrow": lambda: layers.MultiHeadAttention(8, 2),
        "wide": lambda: layers.WideMultiHeadAttention(8, 2),
        "one channel": lambda: layers.SelfAttention(1, bias=False),
    }
    for mask in masks_of(9, "cpu", torch.float32):
        for name, make in made.items():
            for need_weights in (False, True):
                yield (
                    f"{name}, {mask}, {need_weights}",
                    lambda *a, make=make, mask=mask, w=need_weights: run_layer(
                        make, lambda layer, x, masked: layer(x, mask=masked, need_weights=w), mask, *a
                    ),
                )
        for score in ("dot", "general", "additive"):
            yield (
                f"cross, {score}, {mask}",
                lambda *a, score=score, mask=mask: run_layer(
                    lambda: layers.CrossAttention(8, score=score),
                    lambda layer, x, masked: layer(x, layer.remember(x), masked, need_weights=True),
                    mask,
                    *a,
                ),
            )


def run_layer(make: Callable[[], nn.Module], call: Callable[..., Any], mask: str, device: str) -> list[Tensor]:
    torch.manual_seed(0)
    layer, x = make(), torch.randn(2, 9, 8)
    layer = far.moved(layer) if device == "far" else layer
    x = (x[..., :1] if isinstance(layer, layers.SelfAttention) and layer.query.in_features == 1 else x).to(device)
    found = call(layer, x, masks_of(9, device, torch.float32)[mask])
    found = found if isinstance(found, tuple) else (found,)
    sum(tensor.square().sum() for tensor in found).backward()
    grads = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
    return [tensor.detach() for tensor in found] + grads


def of_watching() -> Iterator[tuple[str, Callable[[str], Any]]]:
    """What is seen of a model, kept and asked on the spot."""
    for options in ({}, {"heads": [1]}, {"keep": "statistics"}, {"edit": knock_out_edges(masks.causal(6))}):
        yield f"watch, {options}", lambda device, options=options: run_watched(device, **options)


def run_watched(device: str, **options: Any) -> list[Tensor]:
    torch.manual_seed(0)
    model, x = Layers(2), torch.randn(2, 6, 16)
    model = far.moved(model) if device == "far" else model
    with mirada.watch(model, **options) as records:
        output = model(x.to(device))
    if "keep" in options:
        return [output, *(answer for record in records for answer in record.answers.values())]
    if options:
        return [output, *(record.matrix.to_dense() for record in records)]
    return [output, records.relevance(output[0, -1].sum(), position=-1)]


def of_training() -> Iterator[tuple[str, Callable[[str], Any]]]:
    """An epoch of each system but the one whose recurrence is torch's."""
    for name, settings in (
        ("counting", {}),
        ("pixels", {}),
        *(("patches", {"model": model}) for model in ("mlp", "wide", "features", "block")),
    ):
        yield (
            f"train {name} {settings}",
            lambda device, name=name, settings=settings: run_training(name, device, **settings),
        )


def run_training(name: str, device: str, **settings: Any) -> list[Tensor]:
    as_it_is, choose = nn.Module.to, processes.device
    nn.Module.to = lambda model, place: far.moved(model) if torch.device(place).type == "far" else back(model)
    processes.device = lambda _: torch.device(device)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run = mirada.train(name, out=f"{folder}/run", epochs=1, progress=False, **settings)
            return [torch.tensor([entry["loss"] for entry in run.metrics]).to(device)]
    finally:
        nn.Module.to, processes.device = as_it_is, choose


def back(model: nn.Module) -> nn.Module:
    for module in model.modules():
        for kept, kind in ((module._parameters, nn.Parameter), (module._buffers, Tensor.detach)):
            kept.update({name: kind(tensor.detach().cpu()) for name, tensor in kept.items() if tensor is not None})
    return model


def compare(name: str, answer: Callable[[str], Any], tolerance: float) -> None:
    """Says where the devices disagree."""
    global agreed
    wanted = answer("cpu")
    try:
        found = answer("far")
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return
    for one, other in zip(wanted, found, strict=True):
        if other.device.type != "far" or other.dtype != one.dtype:
            print(f"{name}: {one.dtype} on cpu is {other.dtype} on {other.device.type}")
        elif not torch.allclose(one.double(), other.cpu().double(), atol=tolerance, rtol=tolerance):
            print(f"{name}: differs by {(one.double() - other.cpu().double()).abs().max():.2g}")
        else:
            agreed += 1


def main() -> None:
    for dtype, length, grad in CASES:
        for name, answer in of_matrices(dtype, length, grad):
            compare(f"{name}, {dtype}, {length}, grad {grad}", answer, 5e-2 if dtype in HALF else 1e-4)
    for some in (of_layers, of_watching, of_training):
        for name, answer in some():
            compare(name, answer, 1e-4)
    print(f"{agreed} agree")


if __name__ == "__main__":
    main()
