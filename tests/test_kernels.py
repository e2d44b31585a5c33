"""Fast ways of computing a product give what the plain way gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import mirada
import reference
from mirada import AttentionMatrix, kernels, masks
from mirada.kernels import Problem, Scores, chebyshev, chunked, flash_cpu, statistics
from mirada.kernels.logsumexp import refined
from mirada.kernels.problem import Declined
from mirada.kernels.tuning import changed
from mirada.nn import SelfAttention


@pytest.fixture(autouse=True, scope="module")
def without_the_matrix() -> Iterator[None]:
    """Small matrices would be formed outright: here they stand for large ones."""
    with changed(few_weights=0):
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


#: Of thresholds: chunks that end within rows, heads and bins; and chunks of several heads.
SIZES = {
    "small": {"chunk": 1 << 12, "cached": 1 << 12, "cached_rows": 7, "block_keys": 32, "returned": 1 << 12},
    "large": {"chunk": 1 << 19, "cached": 1 << 18, "returned": 1 << 18},
}


@pytest.fixture(params=SIZES.values(), ids=SIZES)
def sizes(request):
    with changed(**request.param):
        yield


def entropy(weights: Tensor) -> Tensor:
    """Of each row; its gradient is finite where weights are 0."""
    return -torch.special.xlogy(weights, weights.masked_fill(weights == 0, 1.0)).sum(-1)


#: What each question of the table answers, as tensors, and what that is of the weights.
ANSWERS = {
    "context": (lambda found: [found], lambda w, v, x: [w @ v]),
    "attention": (lambda found: [found], lambda w, v, x: [w @ v]),
    "weights": (list, lambda w, v, x: [w @ v, w]),
    "grouped": (lambda found: [found[0]], lambda w, v, x: [w @ v]),
    "transpose": (lambda found: [found], lambda w, v, x: [w.mT @ x]),
    "entropy": (lambda found: [found.entropy], lambda w, v, x: [entropy(w)]),
    "received": (lambda found: [found.sums], lambda w, v, x: [w.sum(-2, keepdim=True)]),
    "statistics": (
        lambda found: [found.entropy, found.sums],
        lambda w, v, x: [entropy(w), w.unflatten(-2, (5, 60)).sum(-2)],
    ),
    "tile": (
        lambda found: [found],
        lambda w, v, x: [w.unflatten(-1, (30, 10)).sum(-1).unflatten(-2, (5, 60)).mean(-2)],
    ),
    "topk": (lambda found: [found[0]], lambda w, v, x: [w.topk(3).values]),
}


def asked(question: str, scores: Scores, value: Tensor, x: Tensor) -> Problem:
    """The question, with all that its kernels need."""
    known = refined(scores, scores.whole().logsumexp(-1)).detach()
    bins = torch.arange(300) // 60 if question == "statistics" else torch.zeros(300, dtype=torch.long)
    return Problem(
        scores,
        x if question == "transpose" else value,
        known=lambda: known,
        entropy=question in ("entropy", "statistics"),
        bins=bins if question in ("received", "statistics") else None,
        rectangle=(slice(0, 300), slice(0, 300)),
        picture=(5, 30),
        k=3,
    )


@pytest.mark.parametrize("question", ANSWERS)
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_kernel_of_the_table_agrees_with_float64(question: str, name: str, dtype: torch.dtype, sizes):
    scores, value, weights = problem(MASKS[name], dtype)
    scores, value = replace(scores, query=scores.query[:, :2], key=scores.key[:, :2]), value[:, :2]
    scores = replace(scores, mask=None if scores.mask is None else scores.mask.pick((2, 3), (slice(None), slice(0, 2))))
    weights, x = weights[:, :2], value.flip(-2)
    problems = asked(question, scores, value, x)
    as_tensors, of_weights = ANSWERS[question]
    wanted = of_weights(weights, value.double(), x.double())
    ran = 0
    with changed(few_weights=1 << 30, few_returned=1 << 30, small_tile=1 << 30, large_tile=0, tile_bins=1):
        for kernel in kernels.TABLE[question]:
            if kernel.refuses(problems) is None and not isinstance(answer := kernel.run(problems), Declined):
                ran += 1
                for found, expected in zip(as_tensors(answer), wanted, strict=True):
                    atol = (3e-6 if dtype == torch.float32 else 1e-13) * max(1.0, float(expected.abs().max()))
                    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0, msg=kernel.name)
    assert ran >= 2


@pytest.mark.parametrize("name", MASKS)
def test_gradients_of_every_kernel_agree_with_float64(name: str, sizes):
    mask = MASKS[name]
    for question, (as_tensors, of_weights) in ANSWERS.items():
        torch.manual_seed(0)
        leaves = [torch.randn(2, 300, 8, requires_grad=True) for _ in range(3)]
        exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
        fitted = None if mask is None else mask.fit((2,), 300, 300)
        scores, value, x = Scores(leaves[0], leaves[1], fitted, 0.25), leaves[2], leaves[2].flip(-2)
        visible, bias = (torch.tensor(True), None) if mask is None else mask.materialise((2,), 300, 300)
        weights = reference.weights(*exact[:2], visible.expand(2, 300, 300), bias, 0.25)
        wanted = of_weights(weights, exact[2], exact[2].flip(-2))
        directions = [torch.randn(one.shape) for one in wanted]
        truth = torch.autograd.grad(wanted, exact, [d.double() for d in directions], allow_unused=True)
        problems = asked(question, scores, value, x)
        known = statistics.run(replace(problems, known=None, entropy=False, bins=None)).logsumexp
        problems = replace(problems, known=lambda known=known: known)
        for kernel in kernels.TABLE[question]:
            if kernel.refuses(problems) is not None or isinstance(answer := kernel.run(problems), Declined):
                continue
            found = torch.autograd.grad(as_tensors(answer), leaves, directions, allow_unused=True, retain_graph=True)
            for one, other in zip(found, truth, strict=True):
                if other is not None:
                    loose = 2e-5 * max(1.0, float(other.abs().max()))
                    where = f"{question} by {kernel.name}"
                    torch.testing.assert_close(one.double(), other, atol=loose, rtol=0, msg=where)


@pytest.mark.parametrize("kernel", [flash_cpu, chunked])
@pytest.mark.parametrize("name", MASKS)
def test_half_precision_is_as_exact_as_its_numbers(kernel, name: str, sizes):
    scores, value, weights = problem(MASKS[name], torch.bfloat16)
    context, logsumexp = kernel.forward(scores, value)
    torch.testing.assert_close(context.double(), weights @ value.double(), atol=2e-2, rtol=0)
    precise = scores.upcast().whole().double()
    torch.testing.assert_close(logsumexp.double(), torch.logsumexp(precise, -1), atol=0.1, rtol=0)


@pytest.mark.parametrize("size", [0.0, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("shape", [(2, 3, 300, 300), (1, 300, 7), (7, 300), (5, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_entropies_lose_no_digits_however_large_the_scores(
    size: float, shape: tuple[int, ...], dtype: torch.dtype, sizes
):
    torch.manual_seed(0)
    *leading, queries, keys = shape
    query, key = (torch.randn(*leading, length, 16, dtype=dtype) for length in (queries, keys))
    scores = Scores(size * query, key, None, -0.25)
    whole = (scores.query * scores.scale @ scores.key.mT).double()
    weights = torch.softmax(whole, -1)
    known, entropy = statistics.one_pass(scores, True, None)
    assert entropy.shape == known.shape == shape[:-1]
    # A score of 1,000 is known to within 0.0001 only.
    loose = (2e-6 if dtype == torch.float32 else 1e-13) * max(1.0, size / 5)
    torch.testing.assert_close(entropy.double(), torch.special.entr(weights).sum(-1), atol=loose, rtol=0)
    torch.testing.assert_close(known.double(), torch.logsumexp(whole, -1), atol=2 * loose, rtol=0)
    assert (entropy >= 0).all()


def chebyshev_context(query: Tensor, key: Tensor, value: Tensor) -> Tensor | None:
    """The context, or None where the kernel refuses or declines."""
    problems = Problem(Scores(query, key, None, 1.0), value)
    found = chebyshev.refuses(problems) or chebyshev.context(problems)
    return None if isinstance(found, str) else found


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("ink", ["grey", "black or white"])
def test_one_channel_interpolated_agrees_with_float64(spread: float, ink: str):
    torch.manual_seed(0)
    query, key, value = (torch.randn(4, 784, 1) for _ in range(3))
    if ink == "black or white":
        key = (torch.rand(4, 784, 1) < 0.2).float()
    query, key, value = (t.requires_grad_() for t in (query * spread, key, value))
    context = chebyshev_context(query, key, value)
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
    assert chebyshev_context(many, many, many) is not None
    assert chebyshev_context(few, many, many) is None
    assert chebyshev_context(many, many * 1000, many) is None
    assert chebyshev_context(many * torch.nan, many, many) is None
    assert chebyshev_context(many.double(), many.double(), many.double()) is None
    torch.testing.assert_close(AttentionMatrix(few, few) @ few, torch.softmax(few @ few.T, -1) @ few)


def test_one_channel_has_gradients_of_gradients():
    torch.manual_seed(0)
    given = [torch.randn(200, 1, requires_grad=True) for _ in range(3)]
    exact = [t.detach().double().requires_grad_() for t in given]
    context = chebyshev_context(given[0], given[1], given[2])
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
        context = chebyshev.of_itself(x, stretch)
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
    assert chebyshev.of_itself(many, one) is not None
    assert chebyshev.of_itself(many[:20], one) is None
    assert chebyshev.of_itself(many, one * 1000) is None
    assert chebyshev.of_itself(many * torch.nan, one) is None
    assert chebyshev.of_itself(many / 0, one) is None
    assert chebyshev.of_itself(torch.ones(784, 1), one) is None
    assert chebyshev.of_itself(torch.zeros(3, 0, 1), one) is None
    assert chebyshev.of_itself(many.double(), one.double()) is None
    assert chebyshev.of_itself(many.clone().requires_grad_(), one) is None


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
    query, key, x = (torch.randn(2, 3, 5, 4) for _ in range(3))
    matrix = AttentionMatrix(query, key, masks.causal(5))
    expected = matrix.T @ x
    assert matrix.explain("transpose", x).startswith("flash_cpu")
    monkeypatch.setattr(flash_cpu, "available", lambda: False)
    again = AttentionMatrix(query, key, masks.causal(5))
    assert again.explain("transpose", x).startswith("chunked")
    assert "not flash_cpu: this torch does not have it" in again.explain("transpose", x)
    torch.testing.assert_close(again.T @ x, expected)


def test_a_learned_mask_gets_its_gradient():
    query, key, value = torch.randn(3, 4), torch.randn(5, 4), torch.randn(5, 2)
    bias = torch.randn(3, 5, requires_grad=True)
    (AttentionMatrix(query, key, bias) @ value).square().sum().backward()
    again = bias.detach().clone().requires_grad_()
    (torch.softmax(query @ key.T / 2 + again, -1) @ value).square().sum().backward()
    torch.testing.assert_close(bias.grad, again.grad)


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("rows", [(0, 300), (13, 290)])
def test_a_map_is_the_same_with_rows_or_columns_binned_first(name: str, rows: tuple[int, int]):
    with changed(cached=1 << 12, cached_rows=7, large_tile=0):  # several chunks, that end within bins
        check_a_map(name, rows)


def check_a_map(name: str, rows: tuple[int, int]) -> None:
    scores, _, weights = problem(MASKS[name], torch.float32)
    matrix = AttentionMatrix(scores.query, scores.key, MASKS[name], scale=0.25)
    (a, b), (r, s) = rows, (7, 29)
    with kernels.recorded() as ran:
        matrix.tile(rows, (0, 300), (r, s))
    assert ran == [("tile", "statistics")]
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
def test_attention_and_its_gradients_agree_with_float64(ask, name: str, leading: tuple[int, ...], sizes):
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
