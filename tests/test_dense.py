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
    "statistics": lambda m: m.statistics(bins=3)[1:],  # weights know no log-normaliser but 0
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


@pytest.mark.parametrize("held", ["query and key", "weights"])
@pytest.mark.parametrize(("queries", "keys"), [(0, 0), (0, 3), (3, 0)])
def test_empty_sequences_give_empty_answers(held: str, queries: int, keys: int):
    matrix = AttentionMatrix(torch.zeros(2, queries, 4), torch.zeros(2, keys, 4))
    matrix = matrix if held == "query and key" else DenseAttention(torch.zeros(2, queries, keys))
    everything = torch.ones(queries, keys, dtype=torch.bool)
    of_queries, of_keys = torch.zeros(queries, dtype=torch.long), torch.zeros(keys, dtype=torch.long)
    r, c, groups = min(2, queries), min(2, keys), min(1, keys)
    shapes = {
        "context": ((matrix @ torch.zeros(2, keys, 5)).shape, (2, queries, 5)),
        "transpose": ((matrix.T @ torch.zeros(2, queries, 5)).shape, (2, keys, 5)),
        "dense": (matrix.to_dense().shape, (2, queries, keys)),
        "rows": (matrix.rows([]).shape, (2, 0, keys)),
        "entries": (matrix.entries([], []).shape, (2, 0)),
        "topk": (matrix.topk(groups)[0].shape, (2, queries, groups)),
        "tile": (matrix.tile((0, queries), (0, keys), (r, c)).shape, (2, r, c)),
        "mass": (matrix.mass(everything).shape, (2, queries)),
        "group mass": (matrix.group_mass(of_keys).shape, (2, queries, groups)),
        "restrict": (matrix.restrict(everything).shape, (2, queries, keys)),
        "merge": (matrix.merge(of_queries, of_keys).shape, (2, min(1, queries), groups)),
        "map": (matrix.statistics(bins=2).map.shape, (2, r, c)),
    }
    for question, (found, expected) in shapes.items():
        assert found == expected, question
    statistics = matrix.statistics()
    assert statistics.logsumexp.tolist() == matrix.logsumexp().tolist() == [[-torch.inf] * queries] * 2
    assert statistics.entropy.tolist() == matrix.entropy().tolist() == [[0.0] * queries] * 2
    assert statistics.received.tolist() == matrix.received().tolist() == [[0.0] * keys] * 2
    assert matrix.explain("entropy")


@pytest.mark.parametrize("held", ["query and key", "weights"])
@pytest.mark.parametrize(("queries", "keys"), [(0, 0), (0, 3), (3, 0)])
def test_a_mean_over_no_queries_is_nan(held: str, queries: int, keys: int):
    matrix = AttentionMatrix(torch.zeros(2, queries, 4), torch.zeros(2, keys, 4))
    matrix = matrix if held == "query and key" else DenseAttention(torch.zeros(2, queries, keys))
    ids = torch.zeros(keys, dtype=torch.long)
    means = [
        summaries.sink(matrix),
        summaries.sink(matrix, 2) if keys else summaries.sink(matrix),
        summaries.previous_token(matrix),
        summaries.effective_keys(matrix),
        summaries.padding_share(matrix, [keys, 0]),
    ]
    if queries == keys:
        means += [summaries.distance(matrix), summaries.duplicate_token(matrix, ids), summaries.induction(matrix, ids)]
    for mean in means:
        assert mean.shape == (2,)
        assert mean.isnan().all()
    assert summaries.diagonal(matrix, 0).shape == (2, 0)


def test_a_single_token_has_none_before_it():
    assert summaries.previous_token(torch.ones(1, 1)).isnan()
    with pytest.raises(ValueError, match="offset must reach a key from some query of a 1 × 1 matrix, got -1"):
        summaries.diagonal(torch.ones(1, 1), -1)


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
