"""What is put off until it is asked about is told as it was at the call."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import mirada
from attending import Direct


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 6, 16)


def test_first_and_later_calls_keep_their_order(x):
    model = nn.Sequential(Direct(), Direct())
    with mirada.watch(model) as records:
        model(x)
        model(x)
    assert [(s.index, s.name, s.nth) for s in records] == [(0, "0", 0), (1, "1", 0), (2, "0", 1), (3, "1", 1)]
    torch.testing.assert_close(records[0].matrix.to_dense(), records[2].matrix.to_dense())
    assert records[0] is records[0]


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_the_kernel_is_the_one_of_the_call(x, backend):
    with mirada.watch(model := Direct()) as records, torch.no_grad(), sdpa_kernel(backend):
        model(x)
    assert records[0].kernel == backend.name.lower().removesuffix("_attention")


def test_a_failing_call_is_no_sighting(x):
    model = Direct()
    with mirada.watch(model) as records:
        with pytest.raises(RuntimeError):
            model(x, attn_mask=torch.zeros(5, 6))
        model(x)
    assert [(record.index, record.nth) for record in records] == [(0, 0)]


@pytest.mark.parametrize("arguments", [{"is_causal": True, "scale": 0.3}, {"attn_mask": torch.eye(6).bool()}])
def test_arguments_by_name_and_context_under_grad(x, arguments):
    model = Direct(**arguments)
    with mirada.watch(model) as records:
        found = model(x)
    record = records[0]
    assert record.context is not None
    torch.testing.assert_close(record.matrix @ record.value, record.context)
    torch.testing.assert_close(found, model(x), rtol=0, atol=0)
    with torch.no_grad(), mirada.watch(model) as records:
        model(x)
    assert records[0].context is None


def test_a_learned_bias_is_kept_without_its_graph(x):
    bias = torch.zeros(6, 6, requires_grad=True)
    with mirada.watch(model := Direct()) as records:
        model(x, attn_mask=bias * 2)
    assert not records[0].call.masks[0].requires_grad
