"""Weights that are there already answer as the matrix does that they were computed from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mirada import AttentionMatrix, DenseAttention, masks, rollout, summaries

MASKS = {"none": None, "causal": masks.causal(6), "left padding": masks.padding([6, 2], 6, side="left")}
QUESTIONS = {
    "context": lambda m: m @ torch.ones(2, 3, 6, 2, dtype=torch.float64).cumsum(-2),
    "transpose": lambda m: m.T @ torch.ones(2, 3, 6, 2, dtype=torch.float64).cumsum(-2),
    "dense": lambda m: m.to_dense(),
    "rows": lambda m: m.rows([4, -1]),
    "entries": lambda m: m.entries([4, -1], [2, 0]),
    "topk": lambda m: m.topk(2)[0],
    "tile": lambda m: m.tile((1, 6), (0, 5), (2, 3)),
    "entropy": lambda m: m.entropy(),
    "received": lambda m: m.received(),
    "mass": lambda m: m.mass(masks.sliding_window(1, 1)),
    "group mass": lambda m: m.group_mass(torch.tensor([0, 0, 1, 1, 2, 2])),
    "restrict": lambda m: m.restrict(masks.sliding_window(1, 1)).to_dense(),
    "restrict by numbers": lambda m: m.restrict(torch.linspace(-3, 3, 6, dtype=torch.float64)).to_dense(),
    "merge": lambda m: m.merge(torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([0, 0, 1, 1, 2, 2])).to_dense(),
    "one head": lambda m: m[1, 2].entropy(),
    "sink": lambda m: summaries.sink(m),
    "distance": lambda m: summaries.distance(m),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("question", QUESTIONS)
def test_weights_answer_as_their_matrix(question: str, mask):
    torch.manual_seed(0)
    matrix = AttentionMatrix(*torch.randn(2, 2, 3, 6, 4, dtype=torch.float64), mask)
    ask = QUESTIONS[question]
    torch.testing.assert_close(ask(DenseAttention(matrix.to_dense())), ask(matrix))


def test_merged_rows_sum_over_keys_and_average_over_queries():
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    merged = DenseAttention(weights).merge(torch.tensor([0, 0]), torch.tensor([0, 1, 1]))
    assert merged.to_dense().tolist() == [[0.5, 0.5]]


def test_what_people_have_is_taken():
    torch.manual_seed(0)
    matrices = [AttentionMatrix(*torch.randn(2, 1, 4, 5, 3)) for _ in range(2)]
    attentions = tuple(matrix.to_dense() for matrix in matrices)
    torch.testing.assert_close(rollout(attentions), rollout(matrices))
    torch.testing.assert_close(rollout([np.asarray(one) for one in attentions]), rollout(matrices))
    torch.testing.assert_close(summaries.sink(attentions[0]), summaries.sink(matrices[0]))
    torch.testing.assert_close(summaries.effective_keys(attentions[0].numpy()), summaries.effective_keys(matrices[0]))
    with pytest.raises(TypeError, match="got str"):
        summaries.sink("weights")


def test_rollout_rows_of_left_padded_queries_sum_to_one():
    torch.manual_seed(0)
    mask = masks.causal(6) & masks.padding([3], 6, side="left")
    matrices = [AttentionMatrix(*torch.randn(2, 1, 4, 6, 3), mask) for _ in range(2)]
    found = rollout(matrices)
    torch.testing.assert_close(found.sum(-1), torch.ones(1, 6))
    torch.testing.assert_close(found[0, :3], torch.eye(6)[:3])  # they keep what they have


@pytest.mark.parametrize("weights", [torch.ones(3), torch.ones(2, 2, dtype=torch.long)])
def test_what_are_no_weights_is_named(weights: torch.Tensor):
    with pytest.raises(ValueError, match=r"weights must be a floating tensor \(\.\.\., L, S\)"):
        DenseAttention(weights)
