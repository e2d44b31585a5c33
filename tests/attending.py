"""Small models that attend in one way each, for the tests that watch them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Direct(nn.Module):
    """Self-attention by one call of torch's own function, with whatever arguments it is given."""

    def __init__(self, width: int = 16, heads: int = 4, value_width: int | None = None, **arguments: Any) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value = nn.Linear(width, value_width or width)
        self.heads, self.arguments = heads, arguments

    def split(self, x: Tensor, keys: Tensor | None = None) -> list[Tensor]:
        """Query, key and value: (N, heads, length, E)."""
        keys = x if keys is None else keys
        projected = (self.query(x), self.key(keys), self.value(keys))
        return [part.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for part in projected]

    def forward(self, x: Tensor, keys: Tensor | None = None, **arguments: Any) -> Tensor:
        query, key, value = self.split(x, keys)
        context = functional.scaled_dot_product_attention(query, key, value, **self.arguments, **arguments)
        return merged(context)


class Layers(nn.Module):
    """Some of these in a row, as a model's numbered layers."""

    def __init__(self, count: int = 3, **arguments: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"attn": Direct(**arguments)}) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + layer["attn"](x)  # type: ignore[index]
        return x


class Cached(nn.Module):
    """A decoder that keeps its keys: it is called with the new tokens only."""

    def __init__(self, kind: str, size: int = 16, window: int = 4) -> None:
        super().__init__()
        self.attn = Direct()
        self.kind, self.size, self.window = kind, size, window
        self.clear()

    def clear(self) -> None:
        """Forgets all keys."""
        self.keys: Tensor | None = None
        self.values: Tensor | None = None
        self.filled = 0

    def forward(self, x: Tensor) -> Tensor:  # (N, new tokens, width)
        query, key, value = self.attn.split(x)
        new = x.shape[1]
        if self.kind == "fixed":
            if self.keys is None:
                self.keys = self.values = None
                self.keys, self.values = (key.new_zeros(*key.shape[:2], self.size, key.shape[-1]) for _ in range(2))
            self.keys[..., self.filled : self.filled + new, :] = key
            self.values[..., self.filled : self.filled + new, :] = value  # type: ignore[index]
            at, own = torch.arange(self.size), self.filled + torch.arange(new)[:, None]
        else:
            self.keys = key if self.keys is None else torch.cat([self.keys, key], -2)
            self.values = value if self.values is None else torch.cat([self.values, value], -2)
            if self.kind == "sliding":
                self.keys, self.values = (t[..., -(self.window - 1 + new) :, :] for t in (self.keys, self.values))
            at, own = (
                torch.arange(self.keys.shape[-2]),
                torch.arange(self.keys.shape[-2] - new, self.keys.shape[-2])[:, None],
            )
        self.filled += new
        visible = at <= own
        if self.kind == "sliding":
            visible &= at > own - self.window
        return merged(functional.scaled_dot_product_attention(query, self.keys, self.values, visible))  # type: ignore[arg-type]


class Written(nn.Module):
    """Attention written out by hand, in one of the ways that people do it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.attn = Direct()
        self.way = way
        self.weights: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.attn.split(x)
        causal = torch.ones(x.shape[1], x.shape[1]).tril().bool()
        self.weights, context = getattr(self, f"_{self.way}")(query, key, value, causal)
        return merged(context)

    def _masked_fill(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        scores = (query @ key.transpose(-2, -1)) * (1.0 / math.sqrt(key.shape[-1]))
        weights = functional.softmax(scores.masked_fill(~causal, float("-inf")), dim=-1)
        return weights, functional.dropout(weights, 0.1, self.training) @ value

    def _added(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.matmul(query, key.mT)
        scores /= math.sqrt(key.shape[-1])
        scores = scores + torch.where(causal, 0.0, torch.finfo(scores.dtype).min)
        weights = nn.Softmax(dim=-1)(scores.float()).to(value.dtype)
        return weights, torch.matmul(weights, value)

    def _einsum(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        query, key, value = (tensor.transpose(1, 2) for tensor in (query, key, value))  # (N, length, heads, E)
        scores = torch.einsum("bqhd, bkhd -> bhqk", query, key) / math.sqrt(key.shape[-1])
        weights = torch.where(causal, scores, torch.tensor(-1e9)).softmax(-1)
        return weights, torch.einsum("bhqk, bkhd -> bqhd", weights, value).transpose(1, 2)

    def _folded(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        shape = query.shape
        query, key, value = (tensor.flatten(0, 1) for tensor in (query, key, value))  # (N · heads, length, E)
        bias = torch.where(causal, torch.linspace(-1, 0, shape[-2]), -torch.inf).expand(len(query), -1, -1)
        scores = bias.baddbmm(batch1=query, batch2=key.mT, beta=1.0, alpha=shape[-1] ** -0.5)
        weights = scores.view(*shape[:2], *scores.shape[-2:]).softmax(-1)
        return weights, torch.bmm(weights.view(scores.shape), value).view(shape)

    def _biased_then_scaled(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        scores = query @ key.mT + torch.linspace(-1, 1, key.shape[-2])
        scores = torch.div(scores - 1e9 * (~causal).float(), math.sqrt(key.shape[-1]))
        weights = (scores - scores.amax(-1, keepdim=True)).softmax(-1)
        return weights, weights @ value

    def _cosine(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        query, key = (functional.normalize(tensor, dim=-1) for tensor in (query, key))
        scores = torch.einsum("bhqd, bhkd -> bhqk", query, key) * torch.linspace(2, 8, 4).view(4, 1, 1)
        weights = scores.masked_fill(~causal, -torch.inf).softmax(-1)
        return weights, weights @ value

    def _ellipsis(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.einsum("...qd,...kd->...qk", query, key)
        weights = torch.special.softmax(torch.where(~causal, -torch.inf, scores), -1)
        return weights, torch.einsum("...qk,...kd->...qd", weights, value)

    def _sink(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        scores = (query @ key.mT + torch.where(causal, 0.0, -torch.inf)).masked_fill(~causal, -1e9)
        sink = torch.linspace(-1, 2, 4).view(1, 4, 1, 1).expand(*scores.shape[:-1], 1)
        scores = torch.cat([scores, sink], dim=-1)
        weights = (scores - scores.max(-1, keepdim=True).values).softmax(-1)
        return weights, functional.dropout(weights[..., :-1], 0.1, self.training) @ value

    def _turned_over(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.div(1.0, query @ key.mT).softmax(-1)
        return weights, weights @ value

    def _negated(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        weights = ((query @ key.mT).masked_fill(causal, -1e9) * -1.0).softmax(-1)
        return weights, weights @ value

    def _capped(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        weights = (5 * torch.tanh(query @ key.mT / 5)).softmax(-1)
        return weights, weights @ value

    def _overwritten(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        scores = query @ key.mT
        scores[..., 0] = -1e9
        weights = scores.softmax(-1)
        return weights, weights @ value

    def _reweighted(self, query: Tensor, key: Tensor, value: Tensor, causal: Tensor) -> tuple[Tensor, Tensor]:
        weights = (query @ key.mT).softmax(-1) * torch.rand(4, 1, 1)
        return weights, weights @ value


def merged(context: Tensor) -> Tensor:
    """(N, heads, L, Ev) as (N, L, heads · Ev)."""
    return context.transpose(-2, -3).flatten(-2)


def seed(number: int = 0) -> None:
    """The same model and inputs each time."""
    torch.manual_seed(number)
