"""Problems of every kind, and whether what is explained of them is what runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

import mirada
from mirada import AttentionMatrix, kernels, masks

LENGTH = 200


class Given(NamedTuple):
    """An attention, and a right side for each product."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Any = None
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def matrix(self) -> AttentionMatrix:
        """A fresh matrix, which knows no log-normalisers yet."""
        return AttentionMatrix(self.query, self.key, self.mask, **dict(self.options))


def tensors(*shape: int, key: tuple[int, ...] | None = None, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Query, key and value."""
    shapes = (shape, key or shape, key or shape)
    return tuple(torch.randn(shape, dtype=dtype) for shape in shapes)


def one_of_heads() -> Given:
    query = torch.randn(2, LENGTH, 3, 16).transpose(1, 2)
    return Given(query, torch.randn(2, 1, LENGTH, 16), torch.randn(2, 1, LENGTH, 16))


def with_gradients() -> Given:
    return Given(*(tensor.requires_grad_() for tensor in tensors(2, 3, LENGTH, 16)))


def spoiled() -> Given:
    query, key, value = tensors(2, 3, LENGTH, 16)
    return Given(query, key.index_fill(2, torch.tensor([LENGTH - 1]), torch.nan), value, masks.causal(LENGTH))


PROBLEMS: dict[str, Callable[[], Given]] = {
    "many weights": lambda: Given(*tensors(2, 3, LENGTH, 16)),
    "few weights": lambda: Given(*tensors(2, 3, 7, 4)),
    "gradients": with_gradients,
    "causal": lambda: Given(*tensors(2, 3, LENGTH, 16), masks.causal(LENGTH)),
    "window": lambda: Given(*tensors(2, 3, LENGTH, 16), masks.sliding_window(3, 1)),
    "a bias": lambda: Given(*tensors(2, 3, LENGTH, 16), torch.randn(LENGTH, LENGTH)),
    "a learned bias": lambda: Given(*tensors(2, 3, LENGTH, 16), torch.randn(LENGTH, LENGTH, requires_grad=True)),
    "NaN behind the mask": spoiled,
    "one channel": lambda: Given(*tensors(2, 400, 1)),
    "heads with one key": one_of_heads,
    "softcap": lambda: Given(*tensors(2, 3, LENGTH, 16), masks.causal(LENGTH), (("softcap", 5.0),)),
    "three leading dimensions, float64": lambda: Given(*tensors(2, 1, 3, LENGTH, 16, dtype=torch.float64)),
    "few keys": lambda: Given(*tensors(2, 3, 5000, 16, key=(2, 3, 7, 16))),
    "nothing": lambda: Given(*tensors(2, 0, 16, key=(2, 3, 16))),
}

QUESTIONS: dict[str, Callable[[Given], Any]] = {
    "context": lambda given: given.matrix @ given.value,
    "attention": lambda given: mirada.attention(*given[:4], **dict(given.options)),
    "weights": lambda given: mirada.attention(*given[:4], **dict(given.options), need_weights=True),
    "transpose": lambda given: given.matrix.T @ given.query,
    "logsumexp": lambda given: given.matrix.logsumexp(),
    "entropy": lambda given: given.matrix.entropy(),
    "received": lambda given: given.matrix.received(),
    "statistics": lambda given: given.matrix.statistics(),
    "tile": lambda given: given.matrix.tile(*whole(given), picture(given)),
    "topk": lambda given: given.matrix.topk(3),
}


def whole(given: Given) -> tuple[tuple[int, int], tuple[int, int]]:
    return (0, given.query.shape[-2]), (0, given.key.shape[-2])


def picture(given: Given) -> tuple[int, int]:
    """As many bins as `explain` takes where none are named, or as many as there are."""
    (_, queries), (_, keys) = whole(given)
    return min(64, queries), min(64, keys)


def on(device: str, given: Given) -> Given:
    """The same elsewhere, leaves that want gradients as before."""

    def moved(tensor: Tensor) -> Tensor:
        return tensor.detach().to(device).requires_grad_(tensor.requires_grad)

    mask = moved(given.mask) if isinstance(given.mask, Tensor) else given.mask
    return given._replace(query=moved(given.query), key=moved(given.key), value=moved(given.value), mask=mask)


def explained_and_ran(question: str, name: str, device: str) -> str | None:
    """None where what is explained is what ran, else a line that says both."""
    torch.manual_seed(0)
    given = on(device, PROBLEMS[name]())
    value = given.query if question == "transpose" else given.value
    said = given.matrix.explain(question, value, k=3).split(":")[0]
    with kernels.recorded() as ran:
        QUESTIONS[question](given)
    names = [kernel for asked, kernel in ran if asked == question]
    # The innermost comes first: folded heads are asked of another kernel, and the last answers the question itself.
    return None if names and names[-1] == said else f"{question}, {name}, {device}: said {said}, ran {names}"
