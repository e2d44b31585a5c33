"""Fast ways of computing a product give what the plain way gives."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import mirada
import mirada.matrix as matrices
import reference
from mirada import AttentionMatrix, kernels, masks
from mirada.kernels import Scores, banded, chebyshev, chunked, flash_cpu, formed, moments, rowwise
from mirada.nn import SelfAttention


@pytest.fixture(autouse=True, scope="module")
def without_the_matrix() -> Iterator[None]:
    """Small matrices would be formed outright: here they stand for large ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "FEW", 0)
        yield


MASKS = {
    "none": None,
    "causal": masks.causal(300),
    "past": masks.causal(300) & ~masks.sliding_window(0, 0),
    "window": masks.sliding_window(17, 3),
    "padding": masks.padding([300, 120], 300),
    "documents": masks.documents(torch.arange(300) // 70),
    "all at once": masks.causal(300) & masks.padding([0, 299], 300) & masks.dense(torch.randn(300, 300)),
}


def problem(mask: masks.Mask | None, dtype: torch.dtype) -> tuple[Scores, Tensor, Tensor]:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 300, width).to(dtype) for width in (16, 16, 24))
    fitted = None if mask is None else mask.fit((2, 3), 300, 300)
    scores = Scores(query, key, fitted, 0.25)
    visible, bias = (torch.tensor(True), None) if mask is None else mask.materialise((2, 3), 300, 300)
    return scores, value, reference.weights(query, key, visible.expand(2, 3, 300, 300), bias, 0.25)


@pytest.mark.parametrize("kernel", [flash_cpu, chunked])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_flash_and_chunked_agree_with_float64(kernel, name: str, dtype: torch.dtype, monkeypatch):
    # Small bands, so that there are several.
    monkeypatch.setattr(flash_cpu, "_ELEMENTS", 1 << 14)
    monkeypatch.setattr(chunked, "ELEMENTS", 1 << 14)
    scores, value, weights = problem(MASKS[name], dtype)
    context, logsumexp = kernel.forward(scores, value)
    tolerance = {torch.bfloat16: 2e-2, torch.float32: 2e-6, torch.float64: 1e-14}[dtype]
    torch.testing.assert_close(context.double(), weights @ value.double(), atol=tolerance, rtol=0)
    precise = scores.upcast().block(slice(0, 300), slice(0, 300)).double()
    torch.testing.assert_close(logsumexp.double(), torch.logsumexp(precise, -1), atol=5 * tolerance, rtol=0)
    known = kernels.known_normalisers(scores)
    x = torch.ones(2, 3, 300, 1).to(dtype)
    received = kernels.transposed(scores, x, known)
    torch.testing.assert_close(received[..., 0].double(), weights.sum(-2), atol=20 * tolerance, rtol=1e-2)


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("shape", [(2, 3, 300, 300), (1, 300, 7), (7, 300), (5, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_asked_block_by_block_agree_with_float64(
    size: float, shape: tuple[int, ...], dtype: torch.dtype, monkeypatch
):
    # Blocks that end within rows, heads and columns.
    monkeypatch.setattr(rowwise, "_SIDE", 32)
    monkeypatch.setattr(rowwise, "capacity", lambda device: 5 * 32 * 32)
    torch.manual_seed(0)
    *leading, queries, keys = shape
    query, key = (torch.randn(*leading, length, 16, dtype=dtype) for length in (queries, keys))
    scores = Scores(size * query, key, None, -0.25)
    whole = (scores.query * scores.scale @ scores.key.mT).double()
    weights = torch.softmax(whole, -1)
    entropy, known = rowwise.entropy(scores)
    assert entropy.shape == known.shape == shape[:-1]
    # A score of 1,000 is known to within 0.0001 only.
    loose = (2e-6 if dtype == torch.float32 else 1e-13) * max(1.0, size / 5)
    torch.testing.assert_close(entropy.double(), torch.special.entr(weights).sum(-1), atol=loose, rtol=0)
    torch.testing.assert_close(known.double(), torch.logsumexp(whole, -1), atol=loose, rtol=0)
    torch.testing.assert_close(rowwise.logsumexp(scores).double(), known.double(), atol=1e-6, rtol=0)
    assert (entropy >= 0).all()


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("ink", ["grey", "black or white"])
def test_one_channel_interpolated_agrees_with_float64(spread: float, ink: str):
    torch.manual_seed(0)
    query, key, value = (torch.randn(4, 784, 1) for _ in range(3))
    if ink == "black or white":
        key = (torch.rand(4, 784, 1) < 0.2).float()
    query, key, value = (t.requires_grad_() for t in (query * spread, key, value))
    context = chebyshev.context(Scores(query, key, None, 1.0), value)
    assert context is not None
    exact_inputs = [t.detach().double().requires_grad_() for t in (query, key, value)]
    exact = torch.softmax(exact_inputs[0] @ exact_inputs[1].mT, -1) @ exact_inputs[2]
    torch.testing.assert_close(context.double(), exact, atol=5e-6, rtol=0)
    direction = torch.randn(4, 784, 1)
    found = torch.autograd.grad(context, (query, key, value), direction)
    wanted = torch.autograd.grad(exact, exact_inputs, direction.double())
    for one, other in zip(found, wanted, strict=True):
        assert float((one - other).abs().max()) < 1e-4 * float(other.abs().max())


def test_one_channel_is_interpolated_only_where_it_pays_and_converges():
    many, few = torch.randn(784, 1), torch.randn(20, 1)
    assert chebyshev.context(Scores(many, many, None, 1.0), many) is not None
    assert chebyshev.context(Scores(few, many, None, 1.0), many) is None
    assert chebyshev.context(Scores(many, many * 1000, None, 1.0), many) is None
    assert chebyshev.context(Scores(many * torch.nan, many, None, 1.0), many) is None
    assert chebyshev.context(Scores(many.double(), many.double(), None, 1.0), many.double()) is None
    torch.testing.assert_close(AttentionMatrix(few, few) @ few, torch.softmax(few @ few.T, -1) @ few)


def test_one_channel_has_gradients_of_gradients():
    torch.manual_seed(0)
    given = [torch.randn(200, 1, requires_grad=True) for _ in range(3)]
    exact = [t.detach().double().requires_grad_() for t in given]
    context = chebyshev.context(Scores(given[0], given[1], None, 1.0), given[2])
    assert context is not None
    direction = torch.randn(200, 1)
    found = torch.autograd.grad(context, given, direction, create_graph=True)
    expected = torch.softmax(exact[0] @ exact[1].mT, -1) @ exact[2]
    wanted = torch.autograd.grad(expected, exact, direction.double(), create_graph=True)
    twice = torch.autograd.grad(sum(grad.square().sum() for grad in found), given)
    wanted_twice = torch.autograd.grad(sum(grad.square().sum() for grad in wanted), exact)
    for one, other in zip((*found, *twice), (*wanted, *wanted_twice), strict=True):
        assert (one - other).abs().max() < 1e-4 * other.abs().max()


@pytest.mark.parametrize("steepest", [0.01, 0.5, 2.0, 5.9])
@pytest.mark.parametrize("ink", ["grey", "black or white", "a speck", "far from zero"])
def test_one_channel_that_asks_itself_agrees_with_float64(steepest: float, ink: str):
    torch.manual_seed(0)
    x = {
        "grey": torch.rand(4, 784, 1) - 0.4,
        "black or white": (torch.rand(4, 784, 1) < 0.2).float(),
        "a speck": torch.zeros(4, 784, 1).index_fill(1, torch.tensor([5]), 1.0),
        "far from zero": torch.rand(4, 784, 1) + 1,
    }[ink]
    for sign in (1, -1):
        stretch = torch.tensor([[sign * 2 * steepest / float(x.max() * (x.max() - x.min()))]], requires_grad=True)
        context = moments.context(x, stretch)
        assert context is not None
        exactly = stretch.detach().double().requires_grad_()
        exact = torch.softmax(exactly * x.double() @ x.double().mT, -1) @ x.double()
        torch.testing.assert_close(context.double(), exact, atol=3e-6, rtol=0)
        direction = torch.randn(4, 784, 1)
        (found,) = torch.autograd.grad(context, stretch, direction)
        (wanted,) = torch.autograd.grad(exact, exactly, direction.double())
        noise = 1e-6 * float((direction.abs() * x.abs()).sum()) * float(x.max() - x.min())
        torch.testing.assert_close(found.double(), wanted, atol=noise, rtol=1e-5)


def test_moments_are_taken_only_where_they_pay_and_converge():
    many, one = torch.rand(784, 1), torch.ones(1, 1)
    assert moments.context(many, one) is not None
    assert moments.context(many[:20], one) is None
    assert moments.context(many, one * 1000) is None
    assert moments.context(many * torch.nan, one) is None
    assert moments.context(many / 0, one) is None
    assert moments.context(torch.ones(784, 1), one) is None
    assert moments.context(torch.zeros(3, 0, 1), one) is None
    assert moments.context(many.double(), one.double()) is None
    assert moments.context(many.clone().requires_grad_(), one) is None


@pytest.mark.parametrize("amount", [1.0, 5.0])
@pytest.mark.parametrize("wants_gradient", [False, True])
def test_self_attention_on_one_channel_is_its_formula_by_whichever_kernel(amount: float, wants_gradient: bool):
    torch.manual_seed(0)
    layer = SelfAttention(1, bias=False)
    x = (torch.randn(2, 300, 1) * amount).requires_grad_(wants_gradient)
    inputs = [*layer.parameters(), *([x] if wants_gradient else [])]
    exact = [t.detach().double().requires_grad_() for t in layer.parameters()]
    precise = x.detach().double().requires_grad_()
    context, direction = layer(x), torch.randn(2, 300, 1)
    expected = torch.softmax((precise * exact[0]) @ (precise * exact[1]).mT, -1) @ (precise * exact[2])
    torch.testing.assert_close(context.double(), expected, atol=2e-5 * amount, rtol=0)
    found = torch.autograd.grad(context, inputs, direction, create_graph=True)
    wanted = torch.autograd.grad(expected, [*exact, precise], direction.double(), create_graph=True)
    twice = torch.autograd.grad(found[0].sum(), layer.key.weight) + torch.autograd.grad(wanted[0].sum(), exact[1])
    for one, other in [*zip(found, wanted, strict=False), twice]:
        assert (one - other).abs().max() < 1e-4 * other.abs().max()
    assert layer(x.detach() * torch.nan).isnan().all()


def test_a_kernel_that_is_not_there_is_stood_in_for(monkeypatch):
    query, key, value = (torch.randn(2, 3, 5, 4) for _ in range(3))
    matrix = AttentionMatrix(query, key, masks.causal(5))
    expected = matrix @ value
    assert matrix.explain().startswith("flash_cpu")
    monkeypatch.setattr(flash_cpu, "available", lambda: False)
    again = AttentionMatrix(query, key, masks.causal(5))
    assert again.explain().startswith("chunked")
    torch.testing.assert_close(again @ value, expected)


def test_the_kernel_is_said_with_its_reason():
    query, key = torch.randn(3, 4), torch.randn(5, 4)
    assert AttentionMatrix(query, key).explain() == "flash_cpu: one pass, the matrix never formed"
    learned = torch.zeros(3, 5, requires_grad=True)
    assert AttentionMatrix(query, key, learned).explain().startswith("reference: the mask is learned")
    assert "NaN" in AttentionMatrix(query, key * torch.nan, masks.sliding_window(1, 1, align="end")).explain()
    assert AttentionMatrix(query, key[:0]).explain().startswith("reference: there is nothing")


def test_a_learned_mask_gets_its_gradient():
    query, key, value = torch.randn(3, 4), torch.randn(5, 4), torch.randn(5, 2)
    bias = torch.randn(3, 5, requires_grad=True)
    (AttentionMatrix(query, key, bias) @ value).square().sum().backward()
    again = bias.detach().clone().requires_grad_()
    (torch.softmax(query @ key.T / 2 + again, -1) @ value).square().sum().backward()
    torch.testing.assert_close(bias.grad, again.grad)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("rows", [(0, 300), (13, 290)])
def test_a_map_is_the_same_with_rows_or_columns_binned_first(name: str, rows: tuple[int, int], monkeypatch):
    monkeypatch.setattr(banded, "capacity", lambda device: 1 << 12)  # several bands, that end within bins
    monkeypatch.setattr(matrices, "_MANY", 0)
    scores, _, weights = problem(MASKS[name], torch.float32)
    matrix = AttentionMatrix(scores.query, scores.key, MASKS[name], scale=0.25)
    (a, b), (r, s) = rows, (7, 29)
    assert matrix._rows_first(rows, (0, 300), (r, s))
    whole = torch.zeros(r, 300, dtype=torch.float64)  # which rows a bin averages
    for m in range(r):
        start, stop = a + m * (b - a) // r, a + (m + 1) * (b - a) // r
        whole[m, start:stop] = 1 / (stop - start)
    sums = torch.stack([(whole @ weights)[..., n * 300 // s : (n + 1) * 300 // s].sum(-1) for n in range(s)], -1)
    torch.testing.assert_close(matrix.tile(rows, (0, 300), (r, s)).double(), sums, atol=1e-6, rtol=0)
    with_gradients = AttentionMatrix(scores.query.clone().requires_grad_(), scores.key, MASKS[name], scale=0.25)
    columns_first = with_gradients.tile(rows, (0, 300), (r, s))
    assert columns_first.requires_grad
    torch.testing.assert_close(matrix.tile(rows, (0, 300), (r, s)), columns_first.detach(), atol=2e-6, rtol=0)


LEARNED = {
    "received": (lambda m: m.received(), lambda w: w.sum(-2)),
    "map": (lambda m: m.tile((0, 60), (0, 70), (2, 5)), lambda w: w.view(2, 30, 5, 14).sum(-1).mean(1)),
    "window": (
        lambda m: m.tile((0, 60), (5, 65), (4, 4)),
        lambda w: w[:, 5:65].reshape(4, 15, 4, 15).sum(-1).mean(1),
    ),
    "part of the rows": (
        lambda m: m.tile((10, 50), (0, 70), (4, 5)),
        lambda w: w[10:50].reshape(4, 10, 5, 14).sum(-1).mean(1),
    ),
    "mass": (lambda m: m.mass(masks.sliding_window(3, 3, align="start")), None),
    "entropy": (lambda m: m.entropy(), lambda w: -(w * w.log()).sum(-1)),
    "logsumexp": (lambda m: m.logsumexp(), None),
    "entries": (lambda m: m.entries([3, 4], [5, 69]), lambda w: w[[3, 4], [5, 69]]),
    "rows": (lambda m: m.rows([3]), lambda w: w[[3]]),
}


@pytest.mark.parametrize("question", LEARNED)
@pytest.mark.parametrize("inputs_learned", [False, True])
def test_a_learned_bias_gets_its_gradient_from_every_question(question: str, inputs_learned: bool):
    torch.manual_seed(0)
    query, key = (torch.randn(n, 4, dtype=torch.float64, requires_grad=inputs_learned) for n in (60, 70))
    bias = torch.randn(60, 70, dtype=torch.float64, requires_grad=True)
    ask, exact = LEARNED[question]
    scores = query @ key.mT / 2 + bias
    if question == "logsumexp":
        expected = scores.logsumexp(-1)
    elif question == "mass":
        near = masks.sliding_window(3, 3, align="start").materialise((), 60, 70)[0]
        expected = (torch.softmax(scores, -1) * near).sum(-1)
    else:
        assert exact is not None
        expected = exact(torch.softmax(scores, -1))
    asked = ask(AttentionMatrix(query, key, bias))
    torch.testing.assert_close(asked, expected)
    direction = torch.randn_like(expected)
    (found,) = torch.autograd.grad(asked, bias, direction)
    (wanted,) = torch.autograd.grad(expected, bias, direction)
    torch.testing.assert_close(found, wanted)


ATTENTIONS = {
    "context alone": lambda q, k, v, m: mirada.attention(q, k, v, m),
    "context beside its weights": lambda q, k, v, m: mirada.attention(q, k, v, m, need_weights=True)[0],
    "weights": lambda q, k, v, m: mirada.attention(q, k, v, m, need_weights=True)[1],
}


@pytest.mark.parametrize("ask", ATTENTIONS.values(), ids=ATTENTIONS)
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (2, 1, 3)])
def test_attention_and_its_gradients_agree_with_float64(ask, name: str, leading: tuple[int, ...], monkeypatch):
    # Small pieces, so that there are several: whole examples, heads, and rows of one head.
    for elements in (1 << 12, 1 << 18):
        monkeypatch.setattr(formed, "_ELEMENTS", elements)
        mask = MASKS[name]
        if leading[:1] != (2,) and name in ("padding", "all at once"):
            mask = masks.padding([120], 300) & masks.causal(300)  # of the batch that is there
            leading = leading or (1,)
        torch.manual_seed(0)
        inputs = [torch.randn(*leading, 300, 16, requires_grad=True) for _ in range(3)]
        exact_inputs = [t.detach().double().requires_grad_() for t in inputs]
        visible, bias = (torch.tensor(True), None) if mask is None else mask.materialise(leading, 300, 300)
        weights = reference.weights(*exact_inputs[:2], visible.expand(*leading, 300, 300), bias, 0.25)
        exact = weights if ask is ATTENTIONS["weights"] else weights @ exact_inputs[2]
        found = ask(*inputs, mask)
        torch.testing.assert_close(found.double(), exact, atol=2e-6, rtol=0)
        direction = torch.randn_like(found)
        grads = torch.autograd.grad(found, inputs, direction, allow_unused=True)
        wanted = torch.autograd.grad(exact, exact_inputs, direction.double(), allow_unused=True)
        for one, other in zip(grads, wanted, strict=True):
            if other is not None:
                torch.testing.assert_close(one.double(), other, atol=2e-5, rtol=0)


@pytest.mark.parametrize("ask", ATTENTIONS.values(), ids=ATTENTIONS)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
@pytest.mark.parametrize("kind", ["rule", "tensor", "numbers"])
def test_nothing_comes_through_a_mask(ask, poison: float, kind: str):
    torch.manual_seed(0)
    inputs = [torch.randn(2, 3, length, 4) for length in (7, 8, 8)]
    mask = masks.causal(7, 8, align="start")  # nobody sees the last key
    if kind != "rule":
        visible = torch.ones(7, 8, dtype=torch.bool).tril()
        mask = visible if kind == "tensor" else torch.zeros(7, 8).masked_fill(~visible, -torch.inf)
    poisoned = [inputs[0], *(t.index_fill(2, torch.tensor([7]), poison) for t in inputs[1:])]
    with torch.no_grad():
        torch.testing.assert_close(ask(*poisoned, mask)[..., :7, :], ask(*inputs, mask)[..., :7, :])
    leaves, clean = ([t.clone().requires_grad_() for t in some] for some in (poisoned, inputs))
    for some in (leaves, clean):
        ask(*some, mask).square().sum().backward()
    for one, other in zip(leaves, clean, strict=True):
        if other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad)


def test_weights_have_gradients_of_gradients():
    torch.manual_seed(0)
    inputs = [torch.randn(2, 300, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]

    def slope(*inputs: Tensor) -> Tensor:
        context, weights = mirada.attention(*inputs, masks.causal(300), need_weights=True)
        (grad,) = torch.autograd.grad(context.square().sum() + weights.square().sum(), inputs[1], create_graph=True)
        return grad.square().sum()

    found = torch.autograd.grad(slope(*inputs), inputs)
    nudge = torch.randn_like(inputs[0]) * 1e-5
    moved = slope(inputs[0] + nudge, *inputs[1:]) - slope(inputs[0] - nudge, *inputs[1:])
    torch.testing.assert_close((found[0] * nudge).sum() * 2, moved, rtol=1e-5, atol=0)
