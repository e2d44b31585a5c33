"""Moments of a stream: the same in parts as in one piece."""

import torch

from mirada.surveys.moments import Moments


def test_parts_agree_with_the_whole():
    generator = torch.Generator().manual_seed(0)
    values = 1e3 + torch.randn(60, 2, 3, generator=generator, dtype=torch.float64)
    parts = Moments.of(values[:7]).merge(Moments.of(values[7:40])).merge(Moments.of(values[40:]))
    torch.testing.assert_close(parts.mean, values.mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(parts.squares / 60, values.var(0, correction=0), rtol=1e-9, atol=0)


def test_a_weight_of_zero_counts_for_nothing():
    values, weights = torch.tensor([1.0, float("nan"), 4.0]), torch.tensor([2.0, 0.0, 1.0])
    found = Moments.of(values, weights)
    assert (found.weight, found.mean, found.squares) == (3, 2, 6)


def test_an_empty_part_changes_nothing():
    some, none = Moments.of(torch.tensor([1.0, 5.0])), Moments.of(torch.zeros(0))
    for found in (some.merge(none), none.merge(some)):
        assert (found.weight, found.mean, found.squares) == (2, 3, 8)


def test_parts_side_by_side_join_to_the_whole():
    values = torch.tensor([[1.0, 5.0, 6.0], [2.0, 9.0, 4.0]])  # two parts of three values
    weights = torch.tensor([[1.0, 2.0, 1.0], [0.0, 1.0, 3.0]])
    joined = Moments.of(values.mT, weights.mT).joined()
    whole = Moments.of(values.flatten(), weights.flatten())
    for name in ("weight", "mean", "squares"):
        torch.testing.assert_close(getattr(joined, name), getattr(whole, name))
