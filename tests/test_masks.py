"""What a mask promises: True = may attend; sizes that must agree; rules that combine."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drawn import rules
from mirada import masks
from mirada.masks.views import MaskView, Part, Transposed


def seen(mask: masks.Mask, queries: int, keys: int, leading: tuple[int, ...] = ()) -> list:
    visible, bias = mask.materialise(leading, queries, keys)
    assert bias is None
    return visible.expand(*leading, queries, keys).int().tolist()


def test_causal_aligned_at_the_start_and_at_the_end():
    assert seen(masks.causal(3), 3, 3) == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert seen(masks.causal(2, 3, align="start"), 2, 3) == [[1, 0, 0], [1, 1, 0]]
    assert seen(masks.causal(2, 3, align="end"), 2, 3) == [[1, 1, 0], [1, 1, 1]]
    # More queries than keys: the first ones stand before every key.
    assert seen(masks.causal(3, 2, align="end"), 3, 2) == [[0, 0], [1, 0], [1, 1]]


def test_causal_makes_no_silent_choice():
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


def test_padding_on_the_left_hides_the_first_keys():
    assert seen(masks.padding([1, 2], keys=3, side="left"), 1, 3, (2,)) == [[[0, 0, 1]], [[0, 1, 1]]]
    with pytest.raises(ValueError, match=r"side must be .*'top'"):
        masks.padding([1], 2, side="top")  # type: ignore[arg-type]


def learned() -> masks.Mask:
    return masks.dense(torch.randn(4, 5, requires_grad=True)).fit((2,), 4, 5)


WRAPPERS = {
    "view": (lambda m: MaskView(m), lambda t: t),
    "part": (lambda m: Part(m, 1, 2), lambda t: t[..., 1:, 2:]),
    "transposed": (lambda m: Transposed(m), lambda t: t.mT),
    "and": (lambda m: m & masks.dense(torch.ones(4, 5, dtype=torch.bool)).fit((2,), 4, 5), lambda t: t),
}
BASES = {
    "learned bias": learned,
    "numbers": lambda: masks.dense(torch.randn(2, 1, 5)).fit((2,), 4, 5),
    "padding": lambda: masks.padding([2, 5], 5).fit((2,), 4, 5),
    "left padding": lambda: masks.padding([2, 5], 5, side="left").fit((2,), 4, 5),
    "causal": lambda: masks.causal(4, 5, align="end").fit((2,), 4, 5),
    "documents": lambda: masks.documents([1, 1, 2, 2], [1, 2, 2, 3, 3]).fit((2,), 4, 5),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("base", BASES)
def test_a_wrapped_mask_answers_every_question_of_the_mask(wrapper: str, base: str):
    wrap, part = WRAPPERS[wrapper]
    mask = BASES[base]()
    wrapped, device = wrap(mask), torch.device("cpu")
    assert wrapped.requires_grad == mask.requires_grad
    assert wrapped.additive == mask.additive
    assert wrapped.is_tensor == mask.is_tensor or wrapper == "and"
    visible, bias = (
        None if t is None else part(t.expand(2, 4, 5)) for t in mask.block(slice(0, 4), slice(0, 5), device)
    )
    assert visible is not None
    queries, keys = visible.shape[-2:]
    found, added = wrapped.block(slice(0, queries), slice(0, keys), device)
    i, j = torch.arange(queries)[:, None], torch.arange(keys)
    for some, more in ((found, added), (wrapped.visible(i, j), wrapped.bias(i, j))):
        assert torch.equal(some.expand(visible.shape), visible)
        assert (more is None) == (bias is None)
        if more is not None and bias is not None:
            assert torch.equal(more.expand(bias.shape), bias)
            assert more.requires_grad == bias.requires_grad
    one = wrapped.pick((2,), (1,)).block(slice(0, queries), slice(0, keys), device)[0]
    assert torch.equal(one.expand(visible.shape[1:]), visible[1])
    if wrapped.same_for_all_queries:
        assert torch.equal(visible, visible[:, :1].expand_as(visible))
    for start in range(queries):
        first, last = wrapped.keys_seen(start, start + 1, keys)
        assert not visible[:, start, :first].any()
        assert not visible[:, start, last:].any()
        first, last = wrapped.keys_seen_by_all(start, start + 1, keys)
        assert visible[:, start, first:last].all()
        assert first >= last or bias is None
    for start in range(keys):
        first, last = wrapped.queries_seeing(start, start + 1, queries)
        assert not visible[:, :first, start].any()
        assert not visible[:, last:, start].any()


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
    first, last = mask.keys_seen_by_all(start, stop, keys)
    assert visible[..., start:stop, first:last].all()
    if mask.exact_ranges:
        assert visible[..., start:stop, first:last].any(-2).all()
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
