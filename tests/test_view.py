"""What the view is made of, before any browser sees it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mirada
from mirada import masks
from mirada.dense import DenseAttention
from mirada.viewer import encode, pyramid
from mirada.viewer.numbers import edges, of_heads
from mirada.viewer.page import in_html
from mirada.viewer.scene import scene


def matrix(heads=2, queries=6, keys=6, width=4, mask=None, seed=0):
    torch.manual_seed(seed)
    return mirada.AttentionMatrix(torch.randn(heads, queries, width), torch.randn(heads, keys, width), mask)


def layer(of, **given):
    (one,) = scene(of, **given).layers
    return one


# --- what can be shown ---


class AttentionRecord:
    name, matrix, value = "decoder.3", matrix(), torch.zeros(2, 6, 3)


def test_a_sighting_brings_its_name_and_its_values():
    records = layer([AttentionRecord()])
    assert (records.name, records.heads, records.size) == ("decoder.3", 2, (6, 6))
    assert records.value is not None
    assert records.value.shape == (2, 6, 3)


@pytest.mark.parametrize("shape", [(6, 6), (2, 6, 6), (3, 2, 6, 6)])
def test_weights_of_any_leading_dimensions_become_heads(shape):
    weights = torch.softmax(torch.randn(shape), -1)
    records = layer(weights)
    wanted = weights if weights.ndim == 3 else weights[None] if weights.ndim == 2 else weights[0]
    assert torch.equal(records.matrix.rows(torch.arange(6)), wanted)


def test_an_item_of_a_batch_is_said_to_be_one():
    batch = mirada.AttentionMatrix(torch.randn(3, 2, 6, 4), torch.randn(3, 2, 6, 4), masks.padding([6, 4, 2], 6))
    shown = scene(batch, item=1)
    assert shown.notes == ("Item 1 of a batch of 3.",)
    torch.testing.assert_close(shown.layers[0].matrix.rows(torch.tensor([0])), batch[1].rows([0]))
    with pytest.raises(ValueError, match=r"item=3 is not in attention's batch of shape \(3,\)"):
        scene(batch, item=3)


@pytest.mark.parametrize(
    "rule", [None, masks.causal(6), masks.sliding_window(1, 0), masks.documents([0, 0, 1, 1, 1, 2])]
)
def test_a_matrix_without_heads_becomes_one_head(rule):
    alone = mirada.AttentionMatrix(torch.randn(6, 4), torch.randn(6, 4), rule)
    torch.testing.assert_close(layer(alone).matrix.rows(torch.arange(6)), alone.to_dense()[None])


def test_grouped_queries_share_their_values():
    grouped = mirada.AttentionMatrix(torch.randn(4, 6, 3), torch.randn(2, 6, 3), enable_gqa=True)

    class Records:
        name, matrix, value = "gqa", grouped, torch.arange(2.0)[:, None, None].expand(2, 6, 1)

    value = layer(Records()).value
    assert value is not None
    assert value[:, 0, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("of", "given", "error"),
    [
        ([], {}, "no records"),
        ({}, {}, "no records"),
        (torch.zeros(2, 0, 3), {}, "0 queries and 3 keys"),
        (torch.zeros(2, 3, 3).long(), {}, "floating tensor"),
        (torch.zeros(2, 3, 3), {"labels": ["a", "b"]}, "labels: got 2, wanted 3, one for each of attention's queries"),
        (torch.zeros(2, 3, 4), {"labels": (["a"] * 3, ["b"] * 3)}, "labels: got 3, wanted 4"),
        (torch.zeros(2, 4, 4), {"image": torch.zeros(7, 7)}, "no patch divides 7×7 pixels into 4 tokens"),
        (torch.zeros(2, 4, 4), {"image": torch.zeros(8, 8), "patch": 3}, "patch=3 divides"),
        (torch.zeros(2, 4, 4), {"image": torch.zeros(8, 8), "patch": 2}, "makes 16 patches of it, there are only 4"),
        (torch.zeros(2, 4, 4), {"image": torch.full((2, 2), torch.nan)}, "NaN or infinite"),
    ],
)
def test_what_cant_be_shown(of, given, error):
    with pytest.raises(ValueError, match=re.escape(error)):
        mirada.view(of, **given)


@pytest.mark.parametrize("of", ["text", 3, [object()]])
def test_what_is_no_attention(of):
    with pytest.raises(TypeError, match="can't be shown, wanted AttentionMatrix"):
        mirada.view(of)


def test_one_string_is_not_taken_apart():
    with pytest.raises(TypeError, match="a list with a string for each token"):
        mirada.view(torch.zeros(1, 3, 3), labels="abc")


def test_sides_of_different_lengths_find_their_labels():
    source, target = list("abc"), list("XYZUV")
    shown = scene([torch.zeros(1, 3, 3), torch.zeros(1, 5, 3), torch.zeros(1, 5, 5)], labels=(target, source))
    sides = [(list(one.queries), list(one.keys)) for one in shown.layers]
    assert sides == [(source, source), (target, source), (target, target)]


@pytest.mark.parametrize(
    ("size", "tokens", "grid", "first"), [(28, 16, (4, 4), 0), (32, 65, (8, 8), 1), (8, 64, (8, 8), 0)]
)
def test_patches_are_found(size, tokens, grid, first):
    picture = scene(torch.zeros(1, tokens, tokens), image=torch.rand(3, size, size)).picture
    assert picture is not None
    assert (picture.grid, picture.first) == (grid, first)


@pytest.mark.parametrize(
    ("size", "tokens", "given", "error"),
    [
        (16, 26, {"patch": 4}, "16 patches and 10 other tokens: first= says which token is the first patch"),
        (16, 22, {}, "16 patches and 6 other tokens: first="),
        (16, 26, {"patch": 4, "first": 11}, "first=11: 16 patches from there don't lie in 26 tokens, wanted 0 to 10"),
        (16, 26, {"patch": 4, "first": -1}, "first=-1"),
    ],
)
def test_patches_are_never_placed_by_guess_among_many_other_tokens(size, tokens, given, error):
    with pytest.raises(ValueError, match=re.escape(error)):
        scene(torch.zeros(1, tokens, tokens), image=torch.rand(3, size, size), **given)


def test_windows_of_an_image_are_refused():
    windows = [torch.zeros(4, 2, 16, 16), torch.zeros(1, 4, 16, 16)]
    with pytest.raises(ValueError, match="image: the layers' batches have different shapes"):
        scene(windows, image=torch.rand(3, 16, 16))


def test_a_few_register_tokens_are_noted():
    shown = scene(torch.zeros(1, 20, 20), image=torch.rand(3, 16, 16))
    assert shown.picture is not None
    assert shown.picture.first == 4
    assert "first= tells where they begin" in shown.notes[0]


@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("model.encoder.layers.0.self_attn", ("s", "s")),
        ("model.decoder.layers.0.self_attn", ("t", "t")),
        ("model.decoder.layers.0.encoder_attn", ("t", "s")),
        ("decoder.block.0.layer.1.EncDecAttention", ("t", "s")),
        ("decoder.layers.0.multihead_attn", ("t", "s")),
        ("attention", ("t", "s")),
    ],
)
def test_labels_of_two_equally_long_sides_follow_the_layers_side(name, sides):
    words = {"s": [f"s{n}" for n in range(6)], "t": [f"t{n}" for n in range(6)]}
    shown = layer({name: matrix()}, labels=(words["t"], words["s"]))
    assert (list(shown.queries), list(shown.keys)) == (words[sides[0]], words[sides[1]])


# --- numbers ---


def test_measures_that_can_be_checked_by_hand():
    even = torch.full((4, 4), 0.25)
    first = torch.eye(4)[torch.zeros(4, dtype=torch.long)]
    previous = torch.eye(4)[torch.tensor([0, 0, 1, 2])]
    found = DenseAttention(torch.stack([even, first, previous]))
    records = of_heads(found, edges(found))
    torch.testing.assert_close(records.entropy, torch.tensor([4.0, 1, 1]).log())
    torch.testing.assert_close(records.sink, torch.tensor([0.25, 1.0, 0.5]))
    torch.testing.assert_close(records.previous, torch.tensor([0.25, 1 / 3, 1.0]))
    torch.testing.assert_close(records.concentration[:2], torch.tensor([0.0, 1.0]))


@given(st.integers(1, 23), st.integers(1, 23), st.sampled_from([1, 2, 4, 8]))
def test_a_level_tells_what_tile_tells(queries, keys, cell):
    of = matrix(queries=queries, keys=keys)
    records = pyramid.level(of, cell)
    dense = of.to_dense()
    for n, m in [(0, 0), (records.shape[-2] - 1, records.shape[-1] - 1)]:
        rows, columns = (n * cell, min((n + 1) * cell, queries)), (m * cell, min((m + 1) * cell, keys))
        wanted = of.tile(rows, columns, (1, 1))[..., 0, 0]
        torch.testing.assert_close(records[..., n, m], wanted, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(
            wanted, dense[:, slice(*rows), slice(*columns)].sum(-1).mean(-1), atol=1e-6, rtol=1e-5
        )
    torch.testing.assert_close(
        pyramid.coarser(records, queries, cell), pyramid.level(of, 2 * cell), atol=1e-6, rtol=1e-5
    )


# --- how a page carries it ---


@given(st.integers(9, 16), st.integers(1, 5), st.integers(1, 3), st.integers(0, 3))
def test_packed_numbers_are_within_half_a_step(bits, count, width, seed):
    torch.manual_seed(seed)
    values = torch.randn(2, count, width)
    packed, read = encode.packed(values, bits)
    span = values.amax(-2, keepdim=True) - values.amin(-2, keepdim=True)
    assert ((read - values).abs() <= 0.51 * span / (2**bits - 1) + 1e-6).all()
    assert len(packed) == 2 * width * 8 + 2 * -(-count * width * bits // 8)


@pytest.mark.parametrize(
    ("budget", "kind", "bits"),
    [
        (1e9, "vectors", 32),
        (17_000, "vectors", 32),
        (9_000, "vectors", 16),
        (8_000, "vectors", 15),
        (3_000, "cells", 8),
    ],
)
def test_the_tighter_the_budget_the_fewer_the_bits(budget, kind, bits):
    records = layer(matrix(heads=2, queries=128, keys=128, width=8))
    assert encode.weight_of(records) == 2 * 256 * 8
    made = encode.carry(records, budget)
    assert (made.about["kind"], made.about["bits"]) == (kind, bits)
    assert made.about["error"] <= 1 / 255


def test_large_scores_are_carried_as_weights():
    """Where few bits would move a weight too far, the weights themselves are carried, and they compress well."""
    torch.manual_seed(0)
    records = layer(mirada.AttentionMatrix(100 * torch.randn(1, 64, 64), torch.randn(1, 64, 64)))
    made = encode.carry(records, 11_000)
    assert made.about["kind"] == "weights"
    assert made.size <= 11_000


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        (None, "none"),
        (masks.causal(6), "ranges"),
        (masks.sliding_window(2, 1), "ranges"),
        (~masks.sliding_window(0, 0), "bits"),
        (masks.dense(torch.randn(6, 6)), "bias"),
    ],
)
def test_masks_are_carried_as_what_they_are(rule, kind):
    made = encode.carry(layer(matrix(mask=rule)), 1e9)
    assert made.about["mask"] == kind


def test_not_a_number_behind_a_mask_does_no_harm():
    of = matrix(mask=masks.padding([4, 4], 6))
    of.key[:, 4:] = torch.nan
    made = encode.carry(
        layer(mirada.AttentionMatrix(of.query, of.key, masks.sliding_window(0, 0) & masks.dense(torch.arange(6) < 4))),
        400,
    )
    assert np.isfinite(made.about["error"])


def test_the_page_keeps_its_budget(tmp_path):
    records = [matrix(heads=4, queries=256, keys=256, width=32, seed=seed) for seed in range(4)]
    for budget in (0.35, 0.8, 3.0):
        path = mirada.view(records).save(tmp_path / "page.html", budget=budget)
        assert path.stat().st_size <= budget * 1e6
    with pytest.raises(ValueError, match=r"budget=0.01 MB is too small, the bare page takes"):
        mirada.view(records).save(tmp_path / "other.html", budget=0.01)
    assert not (tmp_path / "other.html").exists()


def test_a_page_that_cant_be_written_leaves_nothing(cramped):
    with pytest.raises(OSError, match="Not a directory"):
        mirada.view(matrix()).save(cramped / "page.html")


@given(st.lists(st.text()))
def test_strings_stay_data_inside_a_page(words):
    text = in_html({"words": ["</script><script>alert(1)</script>", "<!--", *words]})
    assert "<" not in text
    assert json.loads(text)["words"][2:] == words


def test_the_same_words_are_written_once(tmp_path):
    word = "a word that is not found elsewhere"
    mirada.view([matrix(), matrix()], labels=[word] * 6).save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().count(word) == 6
