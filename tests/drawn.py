"""What hypothesis draws: masks of any kind, and whole attention problems."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

import reference
from mirada import AttentionMatrix, masks


@st.composite
def rules(draw: st.DrawFn, leading: tuple[int, ...], queries: int, keys: int, depth: int = 2) -> masks.Mask:
    """Any boolean mask for (*leading, queries, keys)."""
    align = draw(st.sampled_from(["start", "end"]))
    kinds = ["causal", "window", "dense"]
    kinds += ["padding"] if leading else []
    kinds += ["documents"] if queries == keys else []
    kinds += ["and", "or", "not"] if depth else []
    match draw(st.sampled_from(kinds)):
        case "causal":
            return masks.causal(queries, keys, align=align)
        case "window":
            return masks.sliding_window(draw(st.integers(0, 4)), draw(st.integers(0, 4)), align=align)
        case "dense":
            shape = [n if draw(st.booleans()) else 1 for n in (*leading, queries, keys)]
            return masks.dense(torch.rand(shape, generator=_generator(draw)) < draw(st.sampled_from([0.0, 0.5, 0.9])))
        case "padding":
            lengths = draw(st.lists(st.integers(0, keys), min_size=leading[0], max_size=leading[0]))
            return masks.padding(lengths, keys, side=draw(st.sampled_from(["left", "right"])))
        case "documents":
            batch = leading[:1] if leading and draw(st.booleans()) else ()
            return masks.documents(torch.randint(0, 3, (*batch, keys), generator=_generator(draw)))
        case "not":
            return ~draw(rules(leading, queries, keys, depth - 1))
        case kind:
            one, other = (draw(rules(leading, queries, keys, depth - 1)) for _ in range(2))
            return one & other if kind == "and" else one | other


def _generator(draw: st.DrawFn) -> torch.Generator:
    return torch.Generator().manual_seed(draw(st.integers(0, 2**32)))


@dataclass
class Problem:
    """An attention with its exact weights, in float64."""

    query: Tensor
    key: Tensor
    mask: masks.Mask | None
    scale: float
    enable_gqa: bool

    @property
    def matrix(self) -> AttentionMatrix:
        return AttentionMatrix(self.query, self.key, self.mask, scale=self.scale, enable_gqa=self.enable_gqa)

    @property
    def visible_and_bias(self) -> tuple[Tensor, Tensor | None]:
        *leading, queries, keys = self.matrix.shape
        if self.mask is None:
            return torch.ones(queries, keys, dtype=torch.bool), None
        return self.mask.materialise(leading, queries, keys)

    @property
    def largest_score(self) -> float:
        """The largest score, by size, that a query or key can have a part in."""
        sizes = self.query.double().norm(dim=-1).max(), self.key.double().norm(dim=-1).max()
        _, bias = self.visible_and_bias
        largest_bias = 0.0 if bias is None else float(bias.abs().max())
        return abs(self.scale) * float(sizes[0] * sizes[1]) + largest_bias

    def weights(self, query: Tensor | None = None, key: Tensor | None = None) -> Tensor:
        """The exact weights; of other queries and keys in the same place, for gradients."""
        query, key = self.query if query is None else query, self.key if key is None else key
        if self.enable_gqa:
            key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        visible, bias = self.visible_and_bias
        return reference.weights(query, key, visible, bias, self.scale)


@st.composite
def problems(draw: st.DrawFn, dtype: torch.dtype = torch.float32, smallest: int = 1) -> Problem:
    """Any shapes, strides, masks, scales; keys and queries from mild to extreme."""
    heads = draw(st.sampled_from([(), (2,), (2, 4), (1, 2, 2)]))
    queries, keys, width = draw(st.integers(smallest, 9)), draw(st.integers(smallest, 9)), draw(st.integers(1, 9))
    gqa = len(heads) >= 1 and draw(st.booleans())
    key_heads = (*heads[:-1], heads[-1] // 2) if gqa else heads
    generator = _generator(draw)
    spread = draw(st.sampled_from([0.0, 1.0, 4.0]))

    def tensor(*shape: int) -> Tensor:
        values = (spread * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
        return values.mT.contiguous().mT if draw(st.booleans()) else values  # rows side by side, or columns

    mask = draw(rules(heads, queries, keys)) if draw(st.booleans()) and queries and keys else None
    if mask is not None and draw(st.booleans()):
        shape = [n if draw(st.booleans()) else 1 for n in (*heads, queries, keys)]
        mask = mask & masks.dense(torch.randn(shape, generator=generator).to(dtype))
    scale = draw(st.sampled_from([width**-0.5, 1.0, -0.5, 0.0]))
    return Problem(tensor(*heads, queries, width), tensor(*key_heads, keys, width), mask, scale, gqa)
