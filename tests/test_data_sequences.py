"""Squares and counts: what the generators promise about every sequence they draw."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import RandomState
from torch import Generator

from mirada.data import batches, counts, squares


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


# --- squares ---


def whole_walks(data: squares.Squares) -> list[torch.Tensor]:
    """Source and target of each sequence laid end to end, without the padding."""
    return [
        torch.cat([source[:length], target])
        for source, length, target in zip(data.source, data.lengths, data.target, strict=True)
    ]


def test_squares_of_fixed_length():
    data = squares.generate(256, RandomState(13))
    assert data.source.shape == (256, 2, 2)
    assert data.target.shape == (256, 2, 2)
    assert data.lengths.unique().tolist() == [2]
    assert data.source.dtype == torch.float32


def test_squares_of_variable_length():
    data = squares.generate(300, RandomState(13), variable_length=True)
    assert data.source.shape == (300, 4, 2)
    assert data.lengths.unique().tolist() == [2, 3, 4]
    for source, length in zip(data.source, data.lengths, strict=True):
        assert torch.all(source[:length] != 0)
        assert torch.all(source[length:] == 0)


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_a_walk_goes_on_round_the_square(seed, variable_length):
    for walk in whole_walks(squares.generate(20, RandomState(seed), variable_length=variable_length, noise=0.0)):
        assert torch.all(walk.abs() == 1)
        steps = (walk[1:] - walk[:-1]).abs().sum(-1)
        assert torch.all(steps == 2)  # along one side each time, never across
        assert torch.equal(walk[2:], -walk[:-2])  # and never back


def test_all_corners_and_both_directions_are_drawn():
    walks = whole_walks(squares.generate(200, RandomState(0), noise=0.0))
    assert len({tuple(walk[:2].flatten().tolist()) for walk in walks}) == 8


def test_the_noise_has_the_deviation_asked_for_and_is_drawn_anew_for_a_corner_passed_again():
    data = squares.generate(20_000, RandomState(0), variable_length=True)
    noise = torch.cat([walk - walk.sign() for walk in whole_walks(data)])
    assert noise.mean().item() == pytest.approx(0, abs=1e-3)
    assert noise.std().item() == pytest.approx(0.1, abs=1e-3)
    full_round = data.lengths == 4
    assert torch.all(data.source[full_round, :2] != data.target[full_round])


def test_squares_are_seeded():
    assert torch.equal(squares.generate(9, RandomState(13)).source, squares.generate(9, RandomState(13)).source)
    assert not torch.equal(squares.generate(9, RandomState(13)).source, squares.generate(9, RandomState(19)).source)


# --- counts ---


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_the_answer_is_the_count(seed, length):
    digits, answer = counts.generate(50, seeded(seed), length=length)
    assert digits.shape == (50, length)
    for sequence, label in zip(digits.tolist(), answer.tolist(), strict=True):
        assert label == [float(sequence.count(2) > sequence.count(4))]


def test_digits_are_uniform():
    digits, answer = counts.generate(20_000, seeded(0))
    assert (
        digits.bincount if False else digits.flatten().bincount(minlength=10).div(200_000).sub(0.1).abs().max() < 0.003
    )
    assert answer.mean().item() == pytest.approx(0.3636, abs=0.01)  # (1 - P(as many 2s as 4s)) / 2


# --- batches ---


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 99))
def test_shuffled_gives_every_item_once(count, size, seed):
    items = torch.arange(count)
    drawn = list(batches.shuffled((items, -items), size, seeded(seed)))
    assert len(drawn) == -(-count // size)
    assert torch.cat([first for first, _ in drawn]).sort().values.equal(items)
    assert all(torch.equal(first, -second) for first, second in drawn)


def test_with_replacement_draws_so_many_steps_and_repeats_items():
    drawn = list(batches.with_replacement((torch.arange(5),), 4, 100, seeded(0)))
    assert len(drawn) == 100
    assert all(batch.shape == (4,) for (batch,) in drawn)
    assert any(len(batch.unique()) < 4 for (batch,) in drawn)
    assert torch.cat([batch for (batch,) in drawn]).unique().tolist() == [0, 1, 2, 3, 4]


def test_a_generator_goes_on_from_epoch_to_epoch():
    generator = seeded(0)
    first, second = (list(batches.shuffled((torch.arange(50),), 50, generator)) for _ in range(2))
    assert not torch.equal(first[0][0], second[0][0])
