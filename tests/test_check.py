"""Exercises that check themselves: a right answer is told so, a wrong one gets its hint, nothing raises."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from mirada import check
from mirada.systems.counting import Counter


def said(capsys, ask, *arguments) -> str:
    ask(*arguments)
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.count("\n") == 1
    return captured.out.strip()


def broken(*_):
    raise ValueError("two\nlines")


def leaves(*_):
    sys.exit(3)


ALL = [
    check.generator,
    check.embedding,
    check.keys_values,
    check.attention,
    check.module,
    check.causal_mask,
    check.softmax,
    check.bits,
    check.macro_accuracy,
    check.patches,
    check.split_heads,
    *(lambda fixed, n=number: check.bug(n, fixed) for number in (1, 2, 3)),
]


@pytest.mark.parametrize("exercise", ALL)
@pytest.mark.parametrize(
    "answer",
    [
        broken,
        leaves,
        lambda: None,
        lambda *_: None,
        lambda *_: ...,
        lambda *_: "text",
        lambda *_: (1, 2),
        lambda *_: torch.zeros(()),
        lambda *_: torch.zeros(0),
        lambda *_: (torch.zeros(()), torch.zeros(0)),
        lambda *_: torch.full((5, 5), torch.nan),
        lambda *_: torch.zeros(2, 3, 4, dtype=torch.complex64),
        lambda *_: torch.zeros(4, 6).to_sparse(),
        7,
        "text",
        int,
        nn.Identity(),
    ],
)
def test_what_is_no_answer_gets_one_line_and_no_traceback(capsys, exercise, answer):
    assert said(capsys, exercise, answer).startswith("not yet: ")


def test_an_answer_that_raises_is_told_how(capsys):
    assert said(capsys, check.causal_mask, broken) == "not yet: called with 5, it raised ValueError: two lines"


def test_an_answer_cannot_change_what_it_is_compared_with(capsys):
    def in_place(scores, visible):
        visible.fill_(True)
        return torch.softmax(scores.zero_(), -1)

    assert said(capsys, check.bug, 1, in_place).startswith("not yet")


# --- the generator ---


def draws(count: int, *, high=10, length=10, more=torch.gt):
    digits = torch.randint(high, (count, length))
    return digits, more((digits == 2).sum(1, keepdim=True), (digits == 4).sum(1, keepdim=True)).float()


def always_the_same(count: int):
    digits = torch.randint(10, (count, 10), generator=torch.Generator().manual_seed(0))
    return digits, draws_of(digits)


def draws_of(digits):
    return ((digits == 2).sum(1, keepdim=True) > (digits == 4).sum(1, keepdim=True)).float()


def test_a_right_generator(capsys):
    assert said(capsys, check.generator, draws).startswith("right: digits (500, 10) and answers (500, 1)")


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda n: draws(n)[0], "two tensors"),
        (lambda n: draws(n, length=9), "digits must be of shape (500, 10)"),
        (lambda n: (draws(n)[0].float(), draws(n)[1]), "integers"),
        (lambda n: draws(n, high=9), "each digit from 0 to 9"),
        (lambda n: (lambda d, a: (d, a.squeeze()))(*draws(n)), "answers must be of shape (500, 1)"),
        (lambda n: (lambda d, a: (d, a.bool()))(*draws(n)), ".float()"),
        (lambda n: draws(n, more=torch.ge), "a tie"),
        (lambda n: draws(n, more=torch.lt), "changed places"),
        (lambda n: draws(n, more=torch.le), "yes and no"),
        (lambda n: (draws(n)[0], draws(n)[1]), "a number is not"),
        (always_the_same, "the same sequences"),
    ],
)
def test_a_wrong_generator(capsys, answer, hint):
    assert hint in said(capsys, check.generator, answer)


# --- embedding, keys and values ---


def test_a_right_embedding(capsys):
    assert said(capsys, check.embedding, nn.Embedding(10, 3)).startswith("right: (3, 10) digits become (3, 10, 3)")


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (nn.Embedding(9, 5), "raised IndexError"),
        (nn.Linear(10, 5), "raised RuntimeError"),
        (lambda digits: digits.float(), "must become (3, 10, d)"),
        (lambda digits: torch.randn(3, 10, 5), "another vector at another position"),
        (lambda digits: torch.zeros(3, 10, 5), "share one vector"),
    ],
)
def test_a_wrong_embedding(capsys, answer, hint):
    assert hint in said(capsys, check.embedding, answer)


KEY, VALUE = nn.Linear(5, 5), nn.Linear(5, 1)


def test_right_keys_and_values(capsys):
    assert said(capsys, check.keys_values, lambda x: (KEY(x), VALUE(x))) == "right: keys (3, 10, 5), values (3, 10, 1)"


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda x: (VALUE(x), KEY(x)), "changed places"),
        (lambda x: (KEY(x), KEY(x)), "values must be of shape (3, 10, 1)"),
        (lambda x: (KEY(x).mean(1), VALUE(x)), "keys must be of shape (3, 10, K)"),
        (lambda x: (KEY(x).relu(), VALUE(x)), "keys are no linear function"),
        (lambda x: (KEY(x), VALUE(x).sigmoid()), "values are no linear function"),
        (lambda x: (KEY(x) + torch.arange(10.0)[:, None], VALUE(x)), "position"),
    ],
)
def test_wrong_keys_and_values(capsys, answer, hint):
    assert hint in said(capsys, check.keys_values, answer)


# --- attention ---


def weights(query, key, *, factor=5**-0.5, dim=-1):
    return torch.softmax(torch.einsum("bik,bjk->bij", query, key) * factor, dim=dim)


@pytest.mark.parametrize("ask", [check.attention, lambda answer: check.bug(2, answer)])
@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (weights, "right: query (2, 3, 5)"),
        (lambda q, k: weights(q.double(), k.double()), "right: "),
        (lambda q, k: weights(q, k, factor=1), "the scale is missing"),
        (lambda q, k: weights(q, k, factor=1 / 5), "divided by E"),
        (lambda q, k: weights(q, k, factor=5**0.5), "multiplied by √E"),
        (lambda q, k: weights(q, k, factor=q.shape[1] ** -0.5), "divided by √3: E is the last dimension"),
        (lambda q, k: weights(q, k, factor=k.shape[1] ** -0.5), "divided by √4: E is the last dimension"),
        (lambda q, k: weights(q, k, dim=1), "over the queries"),
        (lambda q, k: weights(q, k, dim=0), "over the batch"),
        (lambda q, k: weights(q, k, factor=1, dim=1), "over the queries"),
        (lambda q, k: q @ k.mT, "the scale and the softmax"),
        (lambda q, k: q @ k.mT / 5**0.5, "the softmax over the keys is missing"),
        (lambda q, k: weights(k, q), "changed places"),
        (lambda q, k: weights(q, k)[0], "must be of shape (2, 3, 4)"),
        (lambda q, k: weights(q, k) + 0.1, "a number is not: at [0, 0, 0]"),
        (lambda q, k: q @ k, "raised RuntimeError"),
    ],
)
def test_attention(capsys, ask, answer, hint):
    assert hint in said(capsys, ask, answer)


# --- the module ---


class Model(nn.Module):
    """The exercise as a newcomer solves it."""

    def __init__(self):
        super().__init__()
        self.embed, self.key, self.value = nn.Embedding(10, 5), nn.Linear(5, 5), nn.Linear(5, 1)
        self.query = nn.Parameter(torch.randn(1, 5))
        self.judge = nn.Sequential(nn.Linear(1, 200), nn.ReLU(), nn.Linear(200, 1), nn.Sigmoid())

    def attention(self, x):
        return torch.softmax(self.query @ self.key(self.embed(x)).mT / 5**0.5, dim=-1)  # (N, 1, 10)

    def values(self, x):
        return self.value(self.embed(x))  # (N, 10, 1)

    def forward(self, x):
        return self.judge((self.attention(x) @ self.values(x)).squeeze(1))


class OverTheWrongDimension(Model):
    def attention(self, x):
        return torch.softmax(self.query @ self.key(self.embed(x)).mT, dim=0)


class WithoutItsQuery(Model):
    def attention(self, x):
        return torch.full((len(x), 1, 10), 0.1)


class WithPositions(Model):
    def forward(self, x):
        return self.judge(self.values(x)[:, 0])


class WithPositionsInTheValues(Model):
    def values(self, x):
        return self.value(self.embed(x)) * torch.arange(10.0)[:, None]


class Detached(Model):
    def forward(self, x):
        return super().forward(x).detach()


class ForOneSequence(Model):
    def forward(self, x):
        return super().forward(x).squeeze()


@pytest.mark.parametrize("answer", [Model, Model()])
def test_a_right_module(capsys, answer):
    line = said(capsys, check.module, answer)
    assert line == "right: weights (7, 1, 10), values (7, 10, 1), output (7, 1), 692 learned numbers"
    assert sum(parameter.numel() for parameter in Counter().parameters()) == 692


def test_a_check_leaves_the_module_as_it_was(capsys):
    model = Model()
    said(capsys, check.module, model)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (nn.Linear, "called with no argument, it raised TypeError"),
        (nn.Flatten, "needs a method attention(x)"),
        (OverTheWrongDimension, "sum to 1"),
        (WithoutItsQuery, "does not depend on query"),
        (WithPositions, "does not depend on query"),
        (WithPositionsInTheValues, "order of the digits"),
        (Detached, "nothing in the output can be learned"),
        (ForOneSequence, "the output must be of shape (7, 1)"),
    ],
)
def test_a_wrong_module(capsys, answer, hint):
    assert hint in said(capsys, check.module, answer)


# --- masks and snippets ---


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda n: torch.arange(n) <= torch.arange(n)[:, None], "right: "),
        (lambda n: torch.ones(n, n).tril().bool(), "right: "),
        (lambda n: torch.ones(n, n).triu(1).bool(), "the polarity"),
        (lambda n: torch.ones(n, n).triu().bool(), "rows and columns"),
        (lambda n: torch.ones(n, n).tril(-1).bool(), "diagonal"),
        (lambda n: torch.ones(n, n).bool(), "nothing is hidden"),
        (lambda n: torch.ones(n, n).tril(), ".bool()"),
        (lambda n: torch.ones(n).bool(), "shape (5, 5)"),
        (lambda n: torch.ones(5, 5).tril().bool(), "shape (1, 1)"),
        (lambda n: torch.eye(n).bool(), "at [1, 0]"),
    ],
)
def test_a_causal_mask(capsys, answer, hint):
    assert hint in said(capsys, check.causal_mask, answer)


def masked(scores, visible, fill=-torch.inf, dim=-1):
    return torch.softmax(scores.masked_fill(~visible, fill), dim=dim)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (masked, "right: "),
        (lambda s, v: masked(s, v, -1e9), "right: "),
        (lambda s, v: masked(s, v, 1e9), "a number is not"),
        (lambda s, v: torch.softmax(s * v, -1), "a score of 0 or −1e-9 hides nothing"),
        (lambda s, v: masked(s, ~v), "polarity"),
        (lambda s, v: masked(s, v) * 0 + torch.softmax(s, -1), "nothing is hidden"),
        (lambda s, v: torch.softmax(s, -1) * v, "before the softmax"),
        (lambda s, v: masked(s, v, dim=0), "over the queries"),
    ],
)
def test_the_first_snippet(capsys, answer, hint):
    assert hint in said(capsys, check.bug, 1, answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda s: masked(s, torch.ones_like(s).tril().bool()), "right: "),
        (lambda s: masked(s, torch.ones_like(s).triu().bool()), "polarity"),
        (lambda s: torch.softmax(s, -1), "nothing is hidden"),
        (lambda s: masked(s, torch.ones_like(s).tril(1).bool()), "the key just after it"),
        (lambda s: torch.softmax(s.tril(), -1), "a score of 0 hides nothing"),
        (lambda s: torch.softmax(s, -1).tril(), "before the softmax"),
        (lambda s: masked(s, torch.ones_like(s).tril().bool(), dim=0), "over the queries"),
        (lambda s: masked(s, torch.ones_like(s).tril(-2).bool()), "hold NaN: a row in which all is hidden"),
    ],
)
def test_the_third_snippet(capsys, answer, hint):
    assert hint in said(capsys, check.bug, 3, answer)


@pytest.mark.parametrize(("number", "hint"), [(1, "e⁰ is 1"), (2, "over the queries"), (3, "the diagonal is hidden")])
def test_each_snippet_is_wrong_as_it_stands_and_its_hint_says_how(capsys, number, hint):
    check.bug(number)
    names = {"torch": torch}
    exec(capsys.readouterr().out, names)
    assert hint in said(capsys, check.bug, number, names["weights"])


def test_there_are_three_snippets(capsys):
    assert said(capsys, check.bug, 4, masked) == "not yet: there are snippets 1, 2 and 3, not 4"


# --- before attention ---


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda s: torch.softmax(s, -1), "right: "),
        (lambda s: s.exp(), "divide each by the sum"),
        (lambda s: s.exp() / s.exp().sum(), "over all rows"),
        (lambda s: torch.softmax(s, 0), "over the queries"),
        (lambda s: s / s.sum(-1, keepdim=True), "e to the power"),
        (lambda s: s.log_softmax(-1), "logarithms"),
        (lambda s: s.exp() / s.exp().sum(-1, keepdim=True), "subtract the largest"),
        (lambda s: s.softmax(-1)[0], "must be of shape (3, 4)"),
        (lambda s: s, "a number is not: at [0, 0]"),
    ],
)
def test_softmax_by_hand(capsys, answer, hint):
    assert hint in said(capsys, check.softmax, answer)


LN_2 = math.log(2)


def surprise(logits, classes, *, one_bit=LN_2):
    return functional.cross_entropy(logits, classes) / one_bit


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (surprise, "right: "),
        (lambda x, c: surprise(x.double(), c), "right: "),
        (functional.cross_entropy, "nats"),
        (lambda x, c: surprise(x, c, one_bit=1 / math.log(2)), "multiplied"),
        (lambda x, c: functional.cross_entropy(x, c, reduction="sum") / math.log(2), "the mean is wanted"),
        (lambda x, c: -surprise(x, c), "sign"),
        (lambda x, c: surprise(x.softmax(-1), c), "a softmax too many"),
        (lambda x, c: functional.cross_entropy(x, c, reduction="none") / math.log(2), "one for each"),
        (lambda x, c: surprise(x, c).item(), "must be a tensor, got float"),
        (lambda x, c: surprise(x, c) + 1, "a number is not"),
    ],
)
def test_surprise_in_bits(capsys, answer, hint):
    assert hint in said(capsys, check.bits, answer)


# --- every pixel ---


def by_class(predictions, labels, classes):
    return torch.stack([(predictions[labels == c] == c).float().mean() for c in classes])


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda p, y: by_class(p, y, y.unique()).mean(), "right: 83.3%"),
        (lambda p, y: (p == y).float().mean(), "over all examples"),
        (lambda p, y: by_class(p, y, range(4)).mean(), "0/0"),
        (lambda p, y: by_class(p, y, range(4)).nan_to_num().mean(), "must not count as 0"),
        (lambda p, y: by_class(p, y, range(10)).nan_to_num().mean(), "not over ten"),
        (lambda p, y: by_class(p, y, y.unique()).sum(), "the mean is wanted"),
        (lambda p, y: by_class(y, p, y.unique()).mean(), "precision"),
        (lambda p, y: by_class(p, y, y.unique()), "one number"),
        (lambda p, y: torch.tensor(0.5), "a number is not"),
    ],
)
def test_macro_accuracy(capsys, answer, hint):
    assert hint in said(capsys, check.macro_accuracy, answer)


# --- many heads ---


def tiles(images, side):
    return images.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (N, H/side, side, W/side, side)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda x, s: tiles(x, s).transpose(2, 3).flatten(3).flatten(1, 2), "right: "),
        (lambda x, s: x.reshape(len(x), -1, s * s), "pieces of rows"),
        (lambda x, s: tiles(x, s).permute(0, 3, 1, 2, 4).flatten(3).flatten(1, 2), "the patches run down"),
        (lambda x, s: tiles(x, s).permute(0, 1, 3, 4, 2).flatten(3).flatten(1, 2), "the pixels within a patch"),
        (lambda x, s: tiles(x, s).permute(0, 3, 1, 4, 2).flatten(3).flatten(1, 2), "patches and pixels run down"),
        (lambda x, s: tiles(x, s).transpose(2, 3).flatten(3).flatten(1, 2) / 255, "divided by 255"),
        (lambda x, s: tiles(x, s), "must be of shape (2, 6, 4)"),
        (lambda x, s: tiles(x, s).transpose(2, 3).flatten(3).flatten(1, 2).flip(1), "a number is not"),
    ],
)
def test_an_image_is_cut(capsys, answer, hint):
    assert hint in said(capsys, check.patches, answer)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda x, h: x.unflatten(-1, (h, -1)).transpose(1, 2), "right: "),
        (lambda x, h: x.unflatten(-1, (-1, h)).transpose(1, 3), "two axes are swapped"),
        (lambda x, h: x.unflatten(-1, (h, -1)), "stand behind the patches"),
        (lambda x, h: x.view(len(x), h, x.shape[1], -1), "patches were mixed"),
        (lambda x, h: x.unflatten(-1, (-1, h)).permute(0, 3, 1, 2), "every third feature"),
        (lambda x, h: x, "must be of shape (2, 3, 4, 2)"),
        (lambda x, h: x.unflatten(-1, (h, -1)).transpose(1, 2).flip(1), "a number is not"),
    ],
)
def test_features_are_divided_among_heads(capsys, answer, hint):
    assert hint in said(capsys, check.split_heads, answer)
