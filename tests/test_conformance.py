"""The cases that the ONNX project wrote for its Attention operator, put to ``mirada.attention``.

Out of scope: the operator's optional outputs before the softmax (``mirada.trace`` shows those steps). What the operator
calls causal is aligned by what it knows of a cache.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from mirada import attention, masks


@cache
def cases() -> dict[str, Any]:
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the generators of other operators divide by zero on purpose
        found = collect_testcases("Attention")
    return {
        case.name.removeprefix("test_attention_"): case
        for case in found
        if [node.op_type for node in case.model.graph.node] == ["Attention"]
    }


def attributes_of(name: str) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in cases()[name].model.graph.node[0].attribute}


def tensor(array: np.ndarray) -> Tensor:
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.astype(np.float32)).bfloat16()
    return torch.from_numpy(np.array(array))


def split_heads(packed: Tensor, heads: int) -> Tensor:
    """(N, L, heads · E) -> (N, heads, L, E)."""
    return packed.unflatten(-1, (heads, -1)).transpose(1, 2)


def position_masks(attributes: dict[str, Any], batch: int, queries: int, keys: int, first: Tensor) -> masks.Mask | None:
    """Causal and window rules, where query i stands at key first[n] + i."""
    before, after = attributes.get("left_window_size", -1), attributes.get("right_window_size", -1)
    after = 0 if attributes.get("is_causal") else after
    if before < 0 and after < 0:
        return None
    own = first.view(-1, 1, 1, 1) + torch.arange(queries).view(-1, 1)
    j = torch.arange(keys)
    visible = torch.ones(batch, 1, queries, keys, dtype=torch.bool)
    if before >= 0:
        visible &= j >= own - before
    if after >= 0:
        visible &= j <= own + after
    return masks.dense(visible)


def full_width(mask: Tensor, keys: int) -> Tensor:
    """A mask for the first keys only hides the others."""
    missing = keys - mask.shape[-1]
    return torch.nn.functional.pad(mask, (0, missing), value=False if mask.dtype == torch.bool else -torch.inf)


@pytest.mark.parametrize("name", sorted(cases()))
def test_onnx_attention(name: str):
    case = cases()[name]
    node = case.model.graph.node[0]
    attributes = attributes_of(name)
    given, expected = case.data_sets[0]
    inputs = dict(zip([i for i in node.input if i], map(tensor, given), strict=True))
    outputs = dict(zip([o for o in node.output if o], map(tensor, expected), strict=True))
    query, key, value = (inputs[n] for n in "QKV")
    if packed := query.ndim == 3:
        query = split_heads(query, attributes["q_num_heads"])
        key, value = (split_heads(t, attributes["kv_num_heads"]) for t in (key, value))
    batch, queries, past = query.shape[0], query.shape[-2], 0
    if "past_key" in inputs:
        past = inputs["past_key"].shape[-2]
        key, value = torch.cat([inputs["past_key"], key], -2), torch.cat([inputs["past_value"], value], -2)
    keys, first = key.shape[-2], torch.full((batch,), past)
    rules = [masks.dense(full_width(inputs["attn_mask"], keys))] if "attn_mask" in inputs else []
    if "nonpad_kv_seqlen" in inputs:
        rules.append(masks.padding(inputs["nonpad_kv_seqlen"], keys))
        first = inputs["nonpad_kv_seqlen"] - queries
    if (positions := position_masks(attributes, batch, queries, keys, first)) is not None:
        rules.append(positions)
    mask = None
    for rule in rules:
        mask = rule if mask is None else mask & rule
    context, weights = attention(
        query,
        key,
        value,
        mask,
        scale=attributes.get("scale"),
        softcap=attributes.get("softcap") or None,
        enable_gqa=True,
        need_weights=True,
    )
    fused = attention(
        query,
        key,
        value,
        mask,
        scale=attributes.get("scale"),
        softcap=attributes.get("softcap") or None,
        enable_gqa=True,
    )
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(query.dtype, 1e-5)
    for found in (context, fused):
        found = found.transpose(1, 2).flatten(2) if packed else found
        torch.testing.assert_close(found.float(), outputs["Y"].float(), atol=tolerance, rtol=tolerance)
    if attributes.get("qk_matmul_output_mode") == 3:
        torch.testing.assert_close(
            weights, outputs["qk_matmul_output"].to(weights.dtype), atol=tolerance, rtol=tolerance
        )


def test_no_case_is_left_out():
    assert len(cases()) >= 93
    assert sum("softcap" in attributes_of(name) for name in cases()) >= 11
