"""What a mask promises: True = may look; sizes that must agree; rules that combine."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drawn import rules
from mirada import masks


def seen(mask: masks.Mask, queries: int, keys: int, leading: tuple[int, ...] = ()) -> list:
    visible, bias = mask.materialise(leading, queries, keys)
    assert bias is None
    return visible.expand(*leading, queries, keys).int().tolist()


def test_no_peek_aligned_at_the_start_and_at_the_end():
    assert seen(masks.causal(3), 3, 3) == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert seen(masks.causal(2, 3, align="start"), 2, 3) == [[1, 0, 0], [1, 1, 0]]
    assert seen(masks.causal(2, 3, align="end"), 2, 3) == [[1, 1, 0], [1, 1, 1]]
    # More queries than keys: the first ones stand before every key.
    assert seen(masks.causal(3, 2, align="end"), 3, 2) == [[0, 0], [1, 0], [1, 1]]


def test_no_peek_makes_no_silent_choice():
    with pytest.raises(ValueError, match=r"align='start'.*align='end'"):
        masks.causal(2, 3)
    with pytest.raises(ValueError, match="got 'left'"):
        masks.causal(2, 3, align="left")  # type: ignore[arg-type]


def test_window_counts_keys_before_and_after_the_querys_own():
    assert seen(masks.sliding_window(0, 0), 3, 3) == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert seen(masks.sliding_window(1, 0), 3, 3) == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert seen(masks.sliding_window(0, 1, align="end"), 2, 3) == [[0, 1, 1], [0, 0, 1]]
    with pytest.raises(ValueError, match="window over 2 queries and 3 keys needs align"):
        seen(masks.sliding_window(1, 1), 2, 3)


def test_padding_and_documents_take_the_querys_first_dimension_whatever_the_rank():
    lengths, ids = masks.padding([1, 2], keys=2), masks.documents([[0, 0], [0, 1]])
    assert seen(lengths, 1, 2, (2,)) == [[[1, 0]], [[1, 1]]]
    assert seen(lengths, 1, 2, (2, 3)) == [[[[1, 0]]] * 3, [[[1, 1]]] * 3]
    assert seen(ids, 2, 2, (2, 1)) == [[[[1, 1], [1, 1]]], [[[1, 0], [0, 1]]]]


def test_combinations():
    past = masks.causal(3) & ~masks.sliding_window(0, 0)
    assert seen(past, 3, 3) == [[0, 0, 0], [1, 0, 0], [1, 1, 0]]
    assert seen(past | torch.tensor([False, False, True]), 3, 3) == [[0, 0, 1], [1, 0, 1], [1, 1, 1]]
    assert seen(torch.tensor([True, False, True]) & masks.causal(3), 3, 3) == [[1, 0, 0], [1, 0, 0], [1, 0, 1]]


def test_a_floating_mask_is_added_and_minus_infinity_hides():
    visible, bias = masks.as_mask(torch.tensor([0.5, -torch.inf])).materialise((), 1, 2)  # type: ignore[union-attr]
    assert visible.tolist() == [[True, False]]
    assert bias.tolist() == [[0.5, -torch.inf]]  # type: ignore[union-attr]
    visible, bias = (masks.dense(torch.ones(2, 2)) & masks.dense(torch.ones(2)) & masks.causal(2)).materialise((), 2, 2)
    assert bias.tolist() == [[2.0, 2.0], [2.0, 2.0]]  # type: ignore[union-attr]
    assert visible.tolist() == [[True, False], [True, True]]


@pytest.mark.parametrize("combine", [lambda m: ~m, lambda m: m | masks.causal(2), lambda m: masks.causal(2) | m])
def test_a_floating_mask_only_combines_with_and(combine):
    with pytest.raises(TypeError, match="combine it with &"):
        combine(masks.dense(torch.zeros(2, 2)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: masks.dense(torch.ones(2, dtype=torch.long)), "bool .* or floating .*int64.*mask.bool"),
        (lambda: masks.dense([[True]]), "got list"),
        (lambda: masks.padding(torch.ones(2), 3), "lengths must be integers, got torch.float32"),
        (lambda: masks.documents([True, False]), "ids must be integers, got torch.bool"),
    ],
)
def test_wrong_types_are_named(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: masks.causal(-1), "queries must be a whole number from 0 up, got -1"),
        (lambda: masks.sliding_window(1, -2), "after must be"),
        (lambda: masks.padding([4], keys=3), "between 0 and keys = 3, got 4 to 4"),
        (lambda: masks.padding([[1]], keys=3), "one dimension"),
        (lambda: masks.documents([[[1]]]), r"\(length,\) or \(N, length\)"),
        (lambda: masks.causal(2).materialise((), 3, 3), "causal.2, 2. is for 2 queries.*has 3 and 3"),
        (lambda: masks.padding([1], 2).materialise((1,), 1, 3), "for 2 keys, the matrix has 3"),
        (lambda: masks.padding([1, 2], 2).materialise((3,), 1, 2), r"batch of 2.*\(3,\)"),
        (lambda: masks.padding([1, 2], 2).materialise((), 1, 2), r"batch of 2.*\(\)"),
        (lambda: masks.documents([1, 2]).materialise((), 2, 3), "ids for 2 queries and 2 keys"),
        (lambda: masks.dense(torch.ones(2, 3).bool()).materialise((), 3, 3), r"\(2, 3\) does not broadcast.*\(3, 3\)"),
        (lambda: masks.dense(torch.ones(1, 1, 3).bool()).materialise((), 3, 3), "does not broadcast"),
    ],
)
def test_sizes_that_disagree_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@given(st.data())
def test_ranges_never_leave_out_what_is_visible(data):
    leading = data.draw(st.sampled_from([(), (2,), (2, 3)]))
    queries, keys = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    mask = data.draw(rules(leading, queries, keys)).fit(leading, queries, keys)
    visible = mask.block(slice(0, queries), slice(0, keys), torch.device("cpu"))[0].expand(*leading, queries, keys)
    start = data.draw(st.integers(0, queries - 1))
    stop = data.draw(st.integers(start + 1, queries))
    first, last = mask.keys_seen(start, stop, keys)
    outside = visible[..., start:stop, :].clone()
    outside[..., first:last] = False
    assert not outside.any()
    start = data.draw(st.integers(0, keys - 1))
    stop = data.draw(st.integers(start + 1, keys))
    first, last = mask.queries_seeing(start, stop, queries)
    outside = visible[..., start:stop].clone()
    outside[..., first:last, :] = False
    assert not outside.any()


@given(st.data())
def test_a_picked_mask_is_the_picked_part(data):
    leading, queries, keys = (2, 3), data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    mask = data.draw(rules(leading, queries, keys)).fit(leading, queries, keys)
    index = data.draw(st.sampled_from([(0,), (1, 2), (slice(None), 1), (slice(1, 2),), (torch.tensor([1, 0]), 0)]))
    whole, part = slice(0, queries), slice(0, keys)
    expected = mask.block(whole, part, torch.device("cpu"))[0].expand(*leading, queries, keys)[index]
    found = mask.pick(leading, index).block(whole, part, torch.device("cpu"))[0]
    assert torch.equal(found.expand(expected.shape), expected)
