"""Random attention written by hand: steps, layouts, masks, writes and orders drawn from a grammar.

Each module computes an attention in a way of its own and keeps the weights that it multiplied. Watched, it must give
the same bits, and its weights must be recorded as they were, or be named.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, einsum, nn
from torch.nn import functional as F  # noqa: N812 - as the field has it

HIDING = (float("-inf"), -1e4, -1e9, torch.finfo(torch.float32).min, -1e30)


class Drawn(nn.Module):
    """One module of the grammar, the same for the same number."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number
        draw = random.Random(number)
        self.batch, self.num_heads = draw.randint(1, 3), draw.choice([1, 2, 4])
        self.queries, self.keys = draw.choice([(5, 5), (5, 5), (1, 4), (3, 6), (1, 1), (2, 2)])
        self.width, self.dtype = (
            draw.choice([1, 4, 8]),
            draw.choice([torch.float32] * 4 + [torch.float64, torch.bfloat16]),
        )
        self.kept: list[Tensor] = []
        self.steps: list[str] = []

    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value: (batch, heads, length, width)."""
        generator = torch.Generator().manual_seed(self.number)
        lengths = (self.queries, self.keys, self.keys)
        made = [torch.randn(self.batch, self.num_heads, n, self.width, generator=generator) for n in lengths]
        query, key, value = (tensor.to(self.dtype) for tensor in made)
        return query, key, value

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """The attention, drawn anew in the same way at each call."""
        self.kept, self.steps = [], []
        draw = random.Random(self.number + 1)
        scores = self.product(draw, query, key)
        for _ in range(draw.randint(0, 3)):
            scores = self.step(draw, scores)
        weights = self.softmax(draw, scores)
        for _ in range(draw.choice([0, 0, 0, 1, 2])):
            weights = self.after(draw, weights)
        self.kept.append(weights.detach().clone())
        return self.context(draw, weights, value)

    def note(self, step: str) -> None:
        """Remembers a step, for the message of a test that fails."""
        self.steps.append(step)

    def product(self, draw: random.Random, query: Tensor, key: Tensor) -> Tensor:
        """The scores (batch, heads, L, S)."""
        fold = (self.batch * self.num_heads, -1, self.width)
        ways: dict[str, Callable[[], Tensor]] = {
            "@": lambda: query @ key.mT,
            "matmul by name": lambda: torch.matmul(other=key.transpose(-1, -2), input=query),
            "bmm": lambda: torch.bmm(query.reshape(fold), key.reshape(fold).mT).view(*query.shape[:3], -1),
            "baddbmm": lambda: torch.baddbmm(
                torch.zeros(1, 1, 1, dtype=query.dtype), query.reshape(fold), key.reshape(fold).mT, beta=0, alpha=0.5
            ).view(*query.shape[:3], -1),
            "einsum": lambda: einsum("bhid,bhjd->bhij", query, key),
            "einsum, key first": lambda: einsum("bhjd,bhid->bhij", key, query),
            "einsum, dots": lambda: einsum("...id,...jd->...ij", query, key),
            "key @ query": lambda: (key @ query.mT).mT,
            "heads last": lambda: einsum("bihd,bjhd->bijh", query.transpose(1, 2), key.transpose(1, 2)).permute(
                0, 3, 1, 2
            ),
            "elementwise": lambda: (query[..., :, None, :] * key[..., None, :, :]).sum(-1),
            "float": lambda: query.float() @ key.float().mT,
            "scaled first": lambda: (query / math.sqrt(self.width)) @ key.mT,
        }
        way = draw.choice(list(ways))
        self.note(way)
        return ways[way]()

    def step(self, draw: random.Random, scores: Tensor) -> Tensor:
        """A step between product and softmax."""
        L, S = scores.shape[-2:]
        generator = torch.Generator().manual_seed(self.number)
        hidden = torch.rand(L, S, generator=generator) > draw.choice([0.5, 0.8])
        hidden[:, 0] &= draw.random() < 0.2
        bias = torch.randn(draw.choice([(L, S), (S,), (self.num_heads, 1, S), (self.batch, 1, 1, S), (L, 1)]),
                           generator=generator).to(scores.dtype)  # fmt: skip
        value = draw.choice(HIDING)
        value = value if scores.dtype != torch.bfloat16 or math.isinf(value) else -1e4
        column = draw.randrange(S)
        temperatures = torch.linspace(0.5, 2, self.num_heads).view(-1, 1, 1).to(scores.dtype)
        mixing = torch.eye(self.num_heads, dtype=scores.dtype) + 0.1

        def through(write: Callable[[Tensor], Any]) -> Tensor:
            write(scores)
            return scores

        ways: dict[str, Callable[[], Tensor]] = {
            "scale": lambda: scores * 0.5,
            "scale in place": lambda: scores.mul_(0.7),
            "divide": lambda: scores / math.sqrt(self.width),
            "a temperature a head": lambda: scores * temperatures,
            "bias": lambda: scores + bias,
            "bias in place": lambda: scores.add_(bias),
            "bias taken away": lambda: scores - bias,
            "masked_fill": lambda: scores.masked_fill(hidden, value),
            "masked_fill by name": lambda: torch.masked_fill(input=scores, mask=hidden, value=value),
            "masked_fill in place": lambda: scores.masked_fill_(hidden, value),
            "where": lambda: torch.where(hidden, torch.tensor(value, dtype=scores.dtype), scores),
            "where, full": lambda: torch.where(~hidden, scores, torch.full_like(scores, value)),
            "where, method": lambda: scores.where(~hidden, torch.tensor(value, dtype=scores.dtype)),
            "added mask": lambda: scores + torch.zeros(L, S, dtype=scores.dtype).masked_fill(hidden, value),
            "0/1 mask": lambda: scores * (~hidden).to(scores.dtype) + -1e4 * hidden.to(scores.dtype),
            "set item": lambda: through(lambda s: s.__setitem__((..., column), -2.0)),
            "set item, mask": lambda: through(lambda s: s.__setitem__((slice(None), slice(None), hidden), value)),
            "through data": lambda: through(lambda s: s.data.masked_fill_(hidden, value)),
            "through detach": lambda: through(lambda s: s.detach().masked_fill_(hidden, value)),
            "through a view": lambda: through(lambda s: s[None].masked_fill_(hidden, value)),
            "through a slice": lambda: through(lambda s: s[..., :1].add_(3.0)),
            "through a transpose": lambda: through(lambda s: s.transpose(-1, -2).mul_(2.0)),
            "through a diagonal": lambda: through(lambda s: s.diagonal(dim1=-2, dim2=-1).fill_(1.0)),
            "through numpy": lambda: through(
                lambda s: s.numpy().__imul__(2) if s.dtype != torch.bfloat16 and not s.requires_grad else s
            ),
            "an example": lambda: through(lambda s: s[0].add_(1.5)),
            "softcap": lambda: 5 * torch.tanh(scores / 5),
            "clamp": lambda: scores.clamp(-1.0, 1.0),
            "wide clamp": lambda: scores.clamp(-5e4, 5e4),
            "max": lambda: torch.max(scores, torch.tensor(torch.finfo(scores.dtype).min, dtype=scores.dtype)),
            "minus max": lambda: scores - scores.amax(-1, keepdim=True),
            "minus the whole max": lambda: scores - scores.max(),
            "negated": lambda: -scores,
            "absolute": lambda: scores.abs(),
            "folded": lambda: scores.flatten(0, 1).view(scores.shape),
            "there and back": lambda: scores.transpose(1, 2).contiguous().transpose(1, 2),
            "float": lambda: scores.float(),
            "read": lambda: through(lambda s: (str(s), len(s), (s > 0).any(), s.sum(), 1 - s)),
            "talking heads": lambda: einsum("bhij,hk->bkij", scores, mixing),
            "rolled": lambda: torch.roll(scores, 1, -1),
        }  # fmt: skip
        way = draw.choice(list(ways))
        self.note(way)
        return ways[way]()

    def softmax(self, draw: random.Random, scores: Tensor) -> Tensor:
        """The weights (batch, heads, L, S)."""

        def by_hand(eps: float) -> Tensor:
            e = torch.exp(scores - scores.amax(-1, keepdim=True))
            return e / (e.sum(-1, keepdim=True) + eps)

        ways: dict[str, Callable[[], Tensor]] = {
            "softmax": lambda: scores.softmax(-1),
            "F.softmax": lambda: F.softmax(scores, dim=-1),
            "positive dim": lambda: torch.softmax(scores, scores.ndim - 1),
            "in float": lambda: F.softmax(scores, dim=-1, dtype=torch.float32).to(scores.dtype),
            "of the transpose": lambda: scores.mT.softmax(-2).mT,
            "of the folded": lambda: scores.flatten(0, 1).softmax(-1).view(scores.shape),
            "of all rows": lambda: scores.reshape(-1, scores.shape[-1]).softmax(-1).view(scores.shape),
            "heads last": lambda: scores.permute(0, 2, 3, 1).softmax(2).permute(0, 3, 1, 2),
            "exp / sum": lambda: by_hand(0.0),
            "exp / (sum + eps)": lambda: by_hand(1e-6),
            "log_softmax.exp": lambda: scores.log_softmax(-1).exp(),
            "module": lambda: nn.Softmax(-1)(scores),
        }
        way = draw.choice(list(ways))
        self.note(way)
        return ways[way]()

    def after(self, draw: random.Random, weights: Tensor) -> Tensor:
        """A step between softmax and product."""

        def written(whole: Tensor) -> Tensor:
            whole[..., 0].mul_(0.5)
            return whole

        ways: dict[str, Callable[[], Tensor]] = {
            "dropout, evaluating": lambda: F.dropout(weights, 0.1, training=False),
            "nan_to_num": lambda: weights.nan_to_num(),
            "where nan": lambda: torch.where(torch.isnan(weights), torch.zeros_like(weights), weights),
            "cast": lambda: weights.to(torch.float64).to(weights.dtype),
            "contiguous": lambda: weights.transpose(-1, -2).contiguous().transpose(-1, -2),
            "fold": lambda: weights.flatten(0, 1).view(weights.shape),
            "halved": lambda: weights * 0.5,
            "thresholded": lambda: torch.where(weights > 0.2, weights, torch.zeros_like(weights)),
            "mixed": lambda: weights.mean(1, keepdim=True).expand_as(weights),
            "written to": lambda: weights.index_fill(-1, torch.tensor([0]), 0.0),
            "through a view": lambda: written(weights.contiguous()),
            "renormalised": lambda: weights / weights.sum(-1, keepdim=True),
            "read": lambda: (str(weights), 1 - weights, weights)[2],
        }
        way = draw.choice(list(ways))
        self.note(way)
        return ways[way]()

    def context(self, draw: random.Random, weights: Tensor, value: Tensor) -> Tensor:
        """(batch, heads, L, width)."""
        value = value.to(weights.dtype)
        rows = value[..., None, :, :]
        ways: dict[str, Callable[[], Tensor]] = {
            "@": lambda: weights @ value,
            "value first": lambda: (value.mT @ weights.mT).mT,
            "bmm": lambda: torch.bmm(weights.flatten(0, 1), value.flatten(0, 1)).view(*weights.shape[:3], -1),
            "einsum": lambda: einsum("bhij,bhjd->bhid", weights, value),
            "einsum, value first": lambda: einsum("bhjd,bhij->bihd", value, weights).transpose(1, 2),
            "twice": lambda: weights @ value + weights @ (2 * value),
            "elementwise": lambda: (weights[..., None] * rows).sum(-2),
            "heads apart": lambda: torch.stack([weights[:, n] @ value[:, n] for n in range(value.shape[1])], 1),
            "chunks": lambda: torch.cat(
                [w @ v for w, v in zip(weights.chunk(2, 1), value.chunk(2, 1), strict=True)], 1
            ),
        }
        way = draw.choice(list(ways))
        self.note(way)
        return ways[way]()
