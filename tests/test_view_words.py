"""Words in place of tokens, without special ones, a block of segments: in Python, and in the page."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mirada
from mirada import masks
from mirada.dense import DenseAttention
from mirada.viewer.marks import by_marks
from mirada.viewer.queries import Answers
from mirada.viewer.reading import Reading
from mirada.viewer.rows import Grouped, Mixed
from mirada.viewer.scene import scene
from mirada.viewer.side import side_of
from test_view_page import Records, ask, open_page, tab  # noqa: F401

LABELS = ["[CLS]", "un", "##believ", "##able", "he", "said", "[SEP]", "so", "##me", "more", "[SEP]"]
NUMBERS = torch.tensor([0, 1, 1, 1, 2, 3, 4, 5, 5, 6, 7])  # of the words
SHOWN = ~torch.tensor([label[0] == "[" for label in LABELS])
SEGMENTS = {"A": slice(0, 7), "B": slice(7, 11)}


def attention(mask=None, heads=2, width=4):
    torch.manual_seed(3)
    length = len(LABELS)
    return mirada.AttentionMatrix(torch.randn(heads, length, width), torch.randn(heads, length, width), mask)


# --- where words begin ---


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (LABELS, ("[CLS]", "unbelievable", "he", "said", "[SEP]", "some", "more", "[SEP]")),
        (["<s>", "▁der", "▁Hund", "e", "n", "ama", ".", "</s>"], ("<s>", "der", "Hundenama", ".", "</s>")),
        (["The", "Ġem", "bed", "dings", "Ġ(", "see", "Ġpage", "Ġ3", ")", "Ċ"],
         ("The", "embeddings", "(", "see", "page", "3", ")", "\n")),
        (["Ġna", "Ã¯", "ve", "Ġâĺ", "ķ"], ("naïve", "☕")),
        (["▁caf", "<0xC3>", "<0xA9>", "▁au"], ("café", "au")),
    ],
)  # fmt: skip
def test_marks_tell_where_words_begin(labels, names):
    assert side_of(labels).word_labels == names


def test_labels_without_marks_are_left_alone():
    labels = ["the", "_", "#", "#1", "Ga", "aĠ", ""]
    assert by_marks(labels) is None
    assert side_of(labels).labels == tuple(labels)


@given(st.lists(st.text(max_size=5), min_size=1, max_size=8))
def test_no_label_breaks_the_reading_of_marks(labels):
    side = side_of(["Ġa", *labels])
    assert len(side.labels) == len(labels) + 1
    assert len(side.word_labels) == len(side.spans)
    assert [at for first, after in side.spans for at in range(first, after)] == list(range(len(side)))


def test_a_tokenizers_word_ids_are_taken():
    side = side_of(list("abcdefg"), words=[None, 0, 0, 1, None, 0, 0])
    assert side.word_labels == ("a", "bc", "d", "e", "fg")


@pytest.mark.parametrize(
    ("given", "kind", "error"),
    [
        ({"words": [0, 1]}, ValueError, "words: got 2, wanted 3, the word's number for each token"),
        ({"words": [0, 1, "x"]}, TypeError, "words: got 'x', wanted a whole number for each token, or None"),
        ({"words": 3}, TypeError, "words: got int, wanted a list with one entry for each token"),
        ({"special": [True]}, ValueError, "special: got 1, wanted 3, True or False for each token"),
        ({"special": [0, 2, 0]}, ValueError, "special: wanted True or False (1 or 0) for each token"),
        ({"segments": {"A": slice(0, 4)}}, ValueError, "segments: 'A' is range(0, 4), wanted a slice of the 3 tokens"),
        ({"segments": {"A": slice(0, 2), "B": (1, 3)}}, ValueError, "segments: 'A' and 'B' overlap at token 1"),
        ({"segments": [0, 0, 1]}, TypeError, "segments: got list, wanted a dictionary: name → slice of tokens"),
        ({"labels": (list("abc"), list("xyz")), "words": [0, 1, 2]}, ValueError,
         "words: labels are a pair, wanted a pair too: (of the queries, of the keys)"),
        ({"labels": None, "words": [0, 1, 2]}, ValueError, "words: they are of the tokens that labels= names"),
    ],
)  # fmt: skip
def test_words_that_do_not_fit_are_refused_in_one_line(given, kind, error):
    with pytest.raises(kind, match=re.escape(error)):
        mirada.view(torch.eye(3)[None], **({"labels": list("abc")} | given))


# --- the numbers ---


RULES = [None, masks.causal(len(LABELS)), masks.sliding_window(3, 2), masks.dense(torch.randn(11, 11))]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("given", ["weights", "vectors"])
def test_words_are_merged_as_the_matrix_merges_them(rule, given):
    of = attention(rule)
    layer = scene(of if given == "vectors" else of.to_dense(), labels=LABELS).layers[0]
    merged = of.merge(NUMBERS, NUMBERS)
    read = Reading(words=True).layer(layer).matrix
    every = torch.arange(8)
    torch.testing.assert_close(read.rows(every), merged.weights)
    pairs = torch.cartesian_prod(every, every).T
    torch.testing.assert_close(read.entries(*pairs), merged.weights.flatten(1))
    torch.testing.assert_close(read.tile((0, 8), (1, 7), (3, 2)), merged.tile((0, 8), (1, 7), (3, 2)))
    torch.testing.assert_close(read.entropy(), merged.entropy())
    torch.testing.assert_close(read.received(), merged.received())
    torch.testing.assert_close(read[1].rows([2]), merged[1].rows([2]))


@pytest.mark.parametrize("rule", RULES)
def test_without_special_tokens_the_rest_is_restricted(rule):
    of = attention(rule)
    layer = scene(of, labels=LABELS).layers[0]
    wanted = of.restrict(SHOWN).to_dense()[:, SHOWN][..., SHOWN]
    torch.testing.assert_close(Reading(plain=True).layer(layer).matrix.rows(torch.arange(8)), wanted)
    words = torch.tensor([0, 0, 0, 1, 2, 3, 3, 4])
    merged = DenseAttention(wanted).merge(words, words).weights
    torch.testing.assert_close(Reading(words=True, plain=True).layer(layer).matrix.rows(torch.arange(5)), merged)


def test_a_block_of_segments_keeps_its_weights():
    of = attention()
    layer = scene(of, labels=LABELS, segments=SEGMENTS).layers[0]
    block = Reading(asking=1, asked=0).layer(layer).matrix
    torch.testing.assert_close(block.rows(torch.arange(4)), of.to_dense()[:, 7:, :7])


def test_several_heads_are_one_by_mean_or_maximum():
    of = attention(masks.causal(11))
    dense, heads = of.to_dense(), [of[0], of[1]]
    for how, wanted in (("mean", dense.mean(0)), ("max", dense.amax(0))):
        one, wanted = Mixed(heads, how), DenseAttention(wanted)
        torch.testing.assert_close(one.rows(torch.arange(11)), wanted.weights)
        torch.testing.assert_close(one.tile((2, 11), (0, 11), (4, 3)), wanted.tile((2, 11), (0, 11), (4, 3)))
        torch.testing.assert_close(one.received(), wanted.received())


def test_a_weight_that_is_not_finite_stays_in_its_own_word():
    weights = torch.full((1, 4, 4), 0.25)
    weights[0, 3, 0] = torch.nan
    spans = torch.tensor([[0, 1], [1, 3], [3, 4]])
    found = Grouped(DenseAttention(weights), spans, spans).rows(torch.arange(3))[0]
    assert found.isnan().nonzero().tolist() == [[2, 0]]


@pytest.mark.parametrize("text", ["word", "words,plain2", "from", "from-1", "from12345678", "words;plain", "x" * 99])
def test_a_reading_that_is_none(text):
    with pytest.raises(ValueError, match="reading: got"):
        Answers(scene(attention(), labels=LABELS)).answer("row", {"layer": 0, "head": 0, "query": 0, "reading": text})


def test_nothing_left_is_said():
    answers = Answers(scene(torch.eye(2)[None], labels=["[CLS]", "[SEP]"]))
    with pytest.raises(ValueError, match="nothing would be left"):
        answers.answer("row", {"layer": 0, "head": 0, "query": 0, "reading": "plain"})


def test_a_server_answers_every_question_of_words():
    of = attention(masks.causal(11))
    answers = Answers(scene(of, labels=LABELS))
    merged = of.merge(NUMBERS, NUMBERS).weights

    def asked(question, **given):
        body = answers.answer(question, {"layer": 0, "reading": "words"} | given)
        return torch.from_numpy(np.frombuffer(body, "<f4").copy())

    torch.testing.assert_close(asked("row", head=1, query=2), merged[1, 2])
    torch.testing.assert_close(asked("column", head=1, key=2), merged[1, :, 2])
    torch.testing.assert_close(asked("tile", head=0, cell=1, row=0, column=0).view(8, 8), merged[0])
    torch.testing.assert_close(asked("tile", head=0, cell=2, row=0, column=0).view(4, 4).sum(-1), torch.ones(4))
    assert len(asked("edges", head=0)) == 16
    assert len(asked("overview")) == 4 * 2 + 2 * 64
    with pytest.raises(ValueError, match="not known"):
        answers.answer("parts", {"layer": 0, "reading": "words", "head": 0, "query": 0, "first": 0, "after": 2})


# --- the page ---


def words_view(rule=None, live=False, **given):
    of = attention(rule)
    return mirada.view([Records("layers.0", of, torch.randn(2, 11, 3))], labels=LABELS, segments=SEGMENTS, **given), of


ROWS = """async (head) => {
    const layer = eye.layers[0], rows = [...Array(layer.about.queries).keys()];
    return Promise.all(rows.map(async (i) => [...await layer.head(head).row(i)]));
}"""
COLUMNS = ROWS.replace("queries", "keys").replace("row(i)", "column(i)")
TILE = "async (head, cell) => [...(await eye.layers[0].head(head).tile(cell, 0, 0)).values]"


def choose(page, label, option):
    page.locator(".reading label", has_text=label).locator("select").select_option(option)


@pytest.fixture
def serve_page(browser):
    """Serves a view live and opens it."""
    from mirada.viewer.server import Server

    opened = []

    def served(view):
        server = Server(view.answers())
        server.start()
        page = browser.new_page()
        opened.append((server, page))
        page.goto(server.address)
        return page

    yield served
    for server, page in opened:
        page.close()
        server.stop()


@pytest.mark.browser
@pytest.mark.parametrize("host", ["saved", "live"])
@pytest.mark.parametrize("rule", RULES[1:])
def test_the_page_merges_words_as_python_does(open_page, serve_page, host, rule):  # noqa: F811
    view, of = words_view(rule)
    page = open_page(view) if host == "saved" else serve_page(view)
    merged = of.merge(NUMBERS, NUMBERS)
    choose(page, "Read", "words")
    for head in (0, 1):
        np.testing.assert_allclose(ask(page, ROWS, head), merged.weights[head], atol=1e-6)
        np.testing.assert_allclose(np.array(ask(page, COLUMNS, head)).T, merged.weights[head], atol=1e-6)
        tile = merged.tile((0, 8), (0, 8), (4, 4))[head].flatten()
        np.testing.assert_allclose(ask(page, TILE, head, 2), tile, atol=1e-6)
    edges = ask(page, "async () => { const e = await eye.layers[0].head(1).edges(); return [...e.entropy]; }")
    np.testing.assert_allclose(edges, merged.entropy()[1], atol=1e-5)


@pytest.mark.browser
@pytest.mark.parametrize("host", ["saved", "live"])
def test_the_page_hides_special_tokens_and_renormalises(open_page, serve_page, host):  # noqa: F811
    view, of = words_view(masks.sliding_window(4, 3))
    page = open_page(view) if host == "saved" else serve_page(view)
    page.get_by_label("hide special tokens").check()
    page.get_by_text("Special tokens are hidden: the other weights of each row are renormalised").wait_for()
    wanted = of.restrict(SHOWN).to_dense()[:, SHOWN][..., SHOWN]
    np.testing.assert_allclose(ask(page, ROWS, 1), wanted[1], atol=1e-6)
    assert ask(page, "() => eye.words(eye.layers[0].about.key_words)") == [
        "un", "believ", "able", "he", "said", "so", "me", "more"
    ]  # fmt: skip
    overview = ask(page, "async () => (await eye.layers[0].overview()).measures")
    assert [
        overview["sink"][f"{n}"] if isinstance(overview["sink"], dict) else overview["sink"][n] for n in (0, 1)
    ] == (pytest.approx(wanted[:, :, 0].mean(-1).tolist(), abs=1e-6))


@pytest.mark.browser
@pytest.mark.parametrize("host", ["saved", "live"])
def test_a_block_of_segments_is_shown_alone(open_page, serve_page, host):  # noqa: F811
    view, of = words_view()
    page = open_page(view) if host == "saved" else serve_page(view)
    choose(page, "Queries of", "B")
    choose(page, "Keys of", "A")
    np.testing.assert_allclose(ask(page, ROWS, 0), of.to_dense()[0, 7:, :7], atol=1e-6)
    tab(page, "Tokens")
    assert page.locator(".column").first.locator(".token").all_text_contents() == ["so", "me", "more", "[SEP]"]


@pytest.mark.browser
def test_every_view_follows_the_words_and_the_place_is_kept(open_page):  # noqa: F811
    view, of = words_view(masks.causal(11))
    page = open_page(view)
    ask(page, "() => eye.state.set({ query: 8, key: 2 })")  # "me" -> "believ"
    choose(page, "Read", "words")
    assert ask(page, "() => [eye.state.get('query'), eye.state.get('key')]") == [5, 1]
    merged = of.merge(NUMBERS, NUMBERS).weights
    tab(page, "Map")
    page.get_by_text("query 5 “\u2068some\u2069” → key 1 “\u2068unbelievable\u2069”").wait_for()
    weight = page.locator(".map .readout[data-weight]")
    assert float(weight.get_attribute("data-weight")) == pytest.approx(float(merged[0, 5, 1]), abs=1e-6)
    tab(page, "Tokens")
    page.get_by_text("query 5").wait_for()
    assert page.locator(".token").all_text_contents()[:3] == ["[CLS]", "unbelievable", "he"]
    tab(page, "Steps")
    assert page.get_by_label("query").input_value() == "7"  # of the word, its first token
    choose(page, "Read", "tokens")
    assert ask(page, "() => eye.state.get('query')") == 7


@pytest.mark.browser
def test_a_text_that_is_too_long_to_merge_says_so(open_page):  # noqa: F811
    length = 1100
    of = mirada.AttentionMatrix(torch.randn(1, length, 4), torch.randn(1, length, 4))
    page = open_page(mirada.view(of, labels=["Ġa", "b"] * (length // 2)))
    page.get_by_text("this text is too long for a saved page").wait_for()
    assert page.locator(".reading select").count() == 0
