"""The summaries of a head, against the built matrix and against heads made to have them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mirada import AttentionMatrix, masks, summaries


def head(visible: Tensor) -> AttentionMatrix:
    """A head that looks evenly at what it may see."""
    length = visible.shape[-1]
    return AttentionMatrix(torch.zeros(length, 1), torch.zeros(length, 1), visible)


def some(dtype: torch.dtype = torch.float32, mask: masks.Mask | None = None) -> AttentionMatrix:
    torch.manual_seed(0)
    return AttentionMatrix(torch.randn(2, 3, 9, 4).to(dtype), torch.randn(2, 3, 9, 4).to(dtype), mask)


def test_heads_made_to_have_a_pattern_have_it():
    ids = torch.tensor([5, 6, 7, 5, 6, 7])
    previous = head(masks.sliding_window(1, 0).materialise((), 6, 6)[0] & ~torch.eye(6, dtype=torch.bool))
    assert summaries.previous_token(previous).item() == 1.0
    first = head(torch.tensor([[True] + [False] * 5]))
    assert summaries.sink(first).item() == 1.0
    assert summaries.effective_keys(first).item() == pytest.approx(1.0)
    # Position 3 (token 5) looks back at position 0 (token 5): duplicate; at position 1, what followed it: induction.
    duplicate = head(torch.eye(6, dtype=torch.bool)[[0, 1, 2, 0, 1, 2]])
    assert summaries.duplicate_token(duplicate, ids).item() == 0.5
    induction = head(torch.eye(6, dtype=torch.bool)[[0, 0, 0, 1, 2, 3]])
    assert summaries.induction(induction, ids).item() == 0.5
    assert summaries.distance(head(torch.eye(6, dtype=torch.bool))).item() == 0.0
    assert summaries.distance(head(torch.eye(6, dtype=torch.bool).flip(0))).item() == pytest.approx(3.0)


@pytest.mark.parametrize("mask", [None, masks.causal(9), masks.padding([9, 4], 9)], ids=["none", "causal", "padding"])
def test_summaries_agree_with_the_built_matrix(mask):
    matrix = some(mask=mask)
    weights = matrix.to_dense()
    i, j = torch.arange(9)[:, None], torch.arange(9)
    ids = torch.tensor([[1, 2, 1, 1, 3, 2, 1, 2, 1], [1, 1, 1, 1, 1, 1, 1, 1, 1]])
    same = (ids[:, :, None] == ids[:, None, :])[:, None]
    before = torch.cat([torch.full((2, 1), -1), ids[:, :-1]], 1)
    followed = (ids[:, :, None] == before[:, None, :])[:, None]
    expected = {
        "sink": weights[..., :2].sum(-1),
        "previous_token": None,
        "duplicate_token": (weights * (same & (j < i))).sum(-1),
        "induction": (weights * (followed & (j <= i))).sum(-1),
        "distance": (weights * (i - j).abs()).sum(-1),
        "effective_keys": (-torch.special.xlogy(weights, weights).sum(-1)).exp(),
    }
    close = torch.testing.assert_close
    close(summaries.sink(matrix, tokens=2), expected["sink"].mean(-1))
    close(summaries.previous_token(matrix), weights.diagonal(-1, -2, -1).mean(-1))
    close(summaries.diagonal(matrix, 2), weights.diagonal(2, -2, -1))
    close(summaries.duplicate_token(matrix, ids), expected["duplicate_token"].mean(-1))
    close(summaries.induction(matrix, ids), expected["induction"].mean(-1))
    close(summaries.distance(matrix), expected["distance"].mean(-1))
    close(summaries.effective_keys(matrix), expected["effective_keys"].mean(-1))


def test_padding_gets_nothing_where_the_mask_works_and_its_share_where_it_is_missing():
    lengths = [9, 4]
    masked, unmasked = some(mask=masks.padding(lengths, 9)), some()
    assert summaries.padding_share(masked, lengths).abs().max().item() == 0.0
    expected = unmasked.to_dense()[1, ..., 4:].sum(-1).mean(-1)
    torch.testing.assert_close(summaries.padding_share(unmasked, lengths)[1], expected)


def test_one_head_of_a_padded_batch_can_be_asked_too():
    matrix = some(mask=masks.padding([9, 4], 9))
    torch.testing.assert_close(summaries.distance(matrix[1, 2]), summaries.distance(matrix)[1, 2])
    torch.testing.assert_close(summaries.sink(matrix[1]), summaries.sink(matrix)[1])


def test_half_precision_does_not_spoil_positions():
    length = 400  # bfloat16 can't tell 399 from 400
    query = torch.zeros(length, 2, dtype=torch.bfloat16)
    assert summaries.distance(AttentionMatrix(query, query)).item() == pytest.approx(
        (length**2 - 1) / (3 * length), rel=1e-3
    )


def test_a_share_is_differentiable():
    query, key = (torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    ask = lambda query, key: AttentionMatrix(query, key).mass(masks.causal(5))  # noqa: E731
    assert torch.autograd.gradcheck(ask, (query, key))


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: summaries.sink(m, 0), "tokens must lie between 1 and the number of keys, 9, got 0"),
        (lambda m: summaries.diagonal(m, 9), "offset must reach a key"),
        (lambda m: summaries.induction(m, [1, 2]), r"ids must name the 9 tokens .* got shape \(2,\)"),
        (lambda m: summaries.duplicate_token(m, 3), "ids must name the 9 tokens"),
        (lambda m: summaries.distance(AttentionMatrix(m.query[..., :3, :], m.key)), "as many queries as keys"),
    ],
)
def test_bad_input_is_named(ask, message: str):
    with pytest.raises(ValueError, match=message):
        ask(some())


def test_a_share_needs_a_boolean_mask():
    with pytest.raises(TypeError, match="mask must be boolean"):
        some().mass(torch.zeros(9, 9))
    with pytest.raises(TypeError, match="mask must be"):
        some().restrict(None)  # type: ignore[arg-type]


def test_a_query_that_attends_to_nothing_counts_in_no_mean():
    """Left padding: the first two of five queries have no key. The mean is that of the three real ones."""
    query, key = torch.randn(5, 4), torch.randn(5, 4)
    mask = masks.causal(5) & (torch.arange(5) >= 2)
    whole = AttentionMatrix(query, key, mask)
    real = AttentionMatrix(query[2:], key[2:], masks.causal(3))
    torch.testing.assert_close(summaries.effective_keys(whole), summaries.effective_keys(real))
    torch.testing.assert_close(summaries.distance(whole), summaries.distance(real))
    ids = torch.tensor([0, 0, 7, 8, 7])
    torch.testing.assert_close(summaries.duplicate_token(whole, ids), summaries.duplicate_token(real, ids[2:]))
    weights = whole.to_dense()
    torch.testing.assert_close(summaries.previous_token(whole), weights.diagonal(-1)[1:].mean())
    assert summaries.sink(AttentionMatrix(query, key, torch.zeros(5, 5, dtype=torch.bool))).isnan()


def test_a_mean_over_more_queries_than_half_precision_can_add():
    matrix = AttentionMatrix(torch.zeros(70_000, 1).half(), torch.zeros(1, 1).half())
    assert summaries.sink(matrix).item() == 1.0
