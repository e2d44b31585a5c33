"""A torch that lacks one of its private names: less is told, or it is said by name what can't be seen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mirada
from attending import Direct
from mirada.watching import UnseenAttention, flex, functorch, intercept, modules, sdpa


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(2, 6, 16)


def test_this_torch_has_them_all():
    assert None not in (sdpa._choice, sdpa.multi_head_attention_forward, modules._graph_task)
    assert modules._CALL is not None
    assert functorch._can_look
    assert intercept._mode_further_out() is None


def test_without_its_choice_of_kernel_the_table_says_less(x, monkeypatch):
    monkeypatch.setattr(sdpa, "_choice", None)
    with mirada.watch(model := Direct()) as records:
        model(x)
    assert (records[0].kernel, records[0].shape) == ("", (2, 4, 6, 6))


def test_without_a_way_into_its_own_layer_it_is_named(x, monkeypatch):
    monkeypatch.setattr(sdpa, "multi_head_attention_forward", None)
    model = nn.Sequential(Direct(), nn.TransformerEncoderLayer(16, 2, 32, batch_first=True))
    unseen = pytest.warns(UnseenAttention, match=r"1\.self_attn: torch .* has changed its own attention")
    with unseen, mirada.watch(model) as records:
        model(x)
    assert records.names() == ["0"]


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_without_a_look_into_transforms_they_are_refused_and_the_rest_is_seen(x, monkeypatch):
    monkeypatch.setattr(functorch, "_is_stand_in", functorch._refused)
    with mirada.watch(model := Direct()) as records:
        model(x)
    assert len(records) == 1
    with pytest.raises(ValueError, match="watch the model called plainly"), mirada.watch(model):
        torch.vmap(model)(x[None])


def test_a_flex_attention_that_is_handed_over_otherwise_is_named():
    query = torch.randn(1, 2, 4, 8)
    assert flex.read(query, query, query, lambda score, *_: score, object(), 1.0) is None
    assert flex.read(query, query, query, None, (None, lambda *_: True), 1.0) is None
