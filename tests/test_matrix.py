"""The matrix is asked, never built, and answers what the built one would: checked in float64, and by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from drawn import Problem, problems
from mirada import AttentionMatrix, attention, masks
from mirada.kernels.tuning import changed


@pytest.fixture(autouse=True, scope="module")
def without_the_matrix() -> Iterator[None]:
    """Small matrices would be formed outright: here they stand for large ones."""
    with changed(few_weights=0):
        yield


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def plain_dense(problem: Problem) -> Tensor:
    """What everybody writes: the weights in the inputs' own dtype."""
    key = problem.key
    if problem.enable_gqa:
        key = key.repeat_interleave(problem.query.shape[-3] // key.shape[-3], -3)
    scores = problem.scale * (problem.query @ key.mT)
    visible, bias = problem.visible_and_bias
    if bias is not None:
        scores = scores + bias
    return torch.softmax(scores.masked_fill(~visible, -torch.inf), -1).nan_to_num(0.0)


def assert_as_exact(
    problem: Problem, found: Tensor, exact: Tensor, plain: Tensor, factor: float = 2.0, size: float = 1.0
) -> None:
    """At most ``factor`` times as far from float64 as the plain way in the same dtype, and an ulp's worth of rounding.

    The ulp is that of the largest numbers on the way, scores included: two kernels sum a score in different orders, and
    what that changes in its last digits is the weight's relative error. The plain way has it too, but hides it where a
    row has one key only. ``size`` is that of other numbers on the way that cancel in the result.
    """
    assert found.shape == exact.shape
    own = float((plain.double() - exact).abs().max())
    error = float((found.double() - exact).abs().max())
    size = max(size, float(exact.abs().max()))
    scores = torch.finfo(torch.promote_types(plain.dtype, torch.float32)).eps * (2 + 2 * problem.largest_score)
    allowed = factor * own + size * (torch.finfo(plain.dtype).eps + scores)
    if plain.dtype == torch.float64:
        allowed *= 4  # here the exact weights are no more exact than these
    if plain.dtype == torch.float32 and problem.largest_score < 8:
        allowed = min(allowed, size * 1e-5)
    assert error <= allowed, f"{error} against {own}"


def drawn_tensor(data: st.DataObject, generator: torch.Generator, *shape: int) -> Tensor:
    """A right-hand side of any width and with any strides: rows or columns side by side, or one for all heads."""
    shape = (*shape, data.draw(st.integers(1, 12)))
    if data.draw(st.booleans()):
        return torch.randn(shape[-1], shape[-2], generator=generator, dtype=torch.float64).mT.expand(shape)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_a_small_matrix_is_formed_outright_and_says_the_same():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 4) for _ in range(3))
    mask = masks.causal(5) & masks.padding([5, 2], 5)
    large, small = AttentionMatrix(query, key, mask), AttentionMatrix(query, key, mask)
    asked = (lambda m: m @ value, lambda m: m.T @ value, lambda m: m.entropy(), lambda m: m.logsumexp())
    expected = [ask(large) for ask in asked]
    with changed(few_weights=1000):
        assert small.explain("entropy") == "reference: so few weights are formed outright"
        for ask, answer in zip(asked, expected, strict=True):
            torch.testing.assert_close(ask(small), answer)


@pytest.mark.parametrize("dtype", DTYPES)
@given(data=st.data())
def test_every_question_is_answered_as_the_built_matrix_would(dtype: torch.dtype, data):
    problem = data.draw(problems(dtype))
    matrix, exact, plain = problem.matrix, problem.weights(), plain_dense(problem)
    *leading, queries, keys = matrix.shape
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    value = torch.randn(*leading, keys, data.draw(st.integers(1, 12)), generator=generator, dtype=torch.float64).to(
        dtype
    )
    x = torch.randn(*leading, queries, data.draw(st.integers(1, 12)), generator=generator, dtype=torch.float64).to(
        dtype
    )
    assert_as_exact(problem, matrix.to_dense(), exact, plain)
    assert_as_exact(problem, matrix @ value, exact @ value.double(), plain @ value)
    assert_as_exact(problem, matrix.T @ x, exact.mT @ x.double(), plain.mT @ x)
    assert_as_exact(problem, matrix.received(), exact.sum(-2), plain.sum(-2))
    i = torch.randint(0, queries, (5,), generator=generator)
    j = torch.randint(0, keys, (5,), generator=generator)
    assert_as_exact(problem, matrix.rows(i), exact[..., i, :], plain[..., i, :])
    assert_as_exact(problem, matrix.entries(i, j), exact[..., i, j], plain[..., i, j])
    entropy = -torch.special.xlogy(exact, exact).sum(-1)
    assert_as_exact(problem, matrix.entropy(), entropy, -torch.special.xlogy(plain, plain).sum(-1))
    groups = torch.randint(0, 3, (keys,), generator=generator)
    indicator = torch.nn.functional.one_hot(groups).double()
    assert_as_exact(problem, matrix.group_mass(groups), exact @ indicator, plain @ indicator.to(dtype))
    k = data.draw(st.integers(1, keys))
    weights, indices = matrix.topk(k)
    assert_as_exact(problem, weights, exact.topk(k).values, plain.topk(k).values)
    assert_as_exact(problem, weights, exact.gather(-1, indices), plain.gather(-1, indices))


@given(problem=problems(torch.float64))
def test_normalisers(problem: Problem):
    visible, bias = problem.visible_and_bias
    key = problem.key
    if problem.enable_gqa:
        key = key.repeat_interleave(problem.query.shape[-3] // key.shape[-3], -3)
    scores = problem.scale * problem.query @ key.mT + (0.0 if bias is None else bias)
    expected = torch.logsumexp(scores.masked_fill(~visible, -torch.inf), -1)
    torch.testing.assert_close(problem.matrix.logsumexp(), expected, atol=1e-13, rtol=1e-13)


#: As a large rectangle is, many bins at a time.
AS_LARGE = {"small_tile": 0, "tile_bins": 1, "large_tile": 0}


@pytest.mark.parametrize("sizes", [{}, AS_LARGE], ids=["formed outright", "as large"])
@given(data=st.data())
def test_a_tile_is_the_binned_rectangle(sizes, data):
    with changed(**sizes):
        check_a_tile(data)


def check_a_tile(data: st.DataObject) -> None:
    problem = data.draw(problems(torch.float64))
    matrix, exact = problem.matrix, problem.weights()
    *_, queries, keys = matrix.shape
    a, c = data.draw(st.integers(0, queries - 1)), data.draw(st.integers(0, keys - 1))
    b, d = data.draw(st.integers(a + 1, queries)), data.draw(st.integers(c + 1, keys))
    r, s = data.draw(st.integers(1, b - a)), data.draw(st.integers(1, d - c))
    tile = matrix.tile((a, b), (c, d), (r, s))
    for m in range(r):
        for n in range(s):
            rows = slice(a + m * (b - a) // r, a + (m + 1) * (b - a) // r)
            columns = slice(c + n * (d - c) // s, c + (n + 1) * (d - c) // s)
            expected = exact[..., rows, columns].sum(-1).mean(-1)
            torch.testing.assert_close(tile[..., m, n], expected)


@given(data=st.data())
def test_gradients_are_those_of_the_built_matrix(data):
    problem = data.draw(problems(torch.float64))
    matrix = problem.matrix
    *leading, queries, keys = matrix.shape
    value, x = torch.randn(*leading, keys, 3).double(), torch.randn(*leading, queries, 2).double()
    questions = {
        "context": (lambda m: m @ value, lambda w: w @ value),
        "transpose": (lambda m: m.T @ x, lambda w: w.mT @ x),
        "received": (lambda m: m.received(), lambda w: w.sum(-2)),
        "entropy": (lambda m: m.entropy(), lambda w: -torch.special.xlogy(w, w.masked_fill(w == 0, 1.0)).sum(-1)),
        "dense": (lambda m: m.to_dense(), lambda w: w),
        "entries": (lambda m: m.entries([0], [-1]), lambda w: w[..., [0], [-1]]),
        "tile": (lambda m: m.tile((0, queries), (0, keys), (1, 1)), lambda w: w.sum(-1).mean(-1)[..., None, None]),
    }
    name = data.draw(st.sampled_from(sorted(questions)))
    ask, expect = questions[name]
    query, key = problem.query.clone().requires_grad_(), problem.key.clone().requires_grad_()
    asked = ask(Problem(query, key, problem.mask, problem.scale, problem.enable_gqa).matrix)
    expected = expect(problem.weights(query, key))
    direction = torch.randn_like(expected)
    torch.testing.assert_close(asked, expected)
    found = torch.autograd.grad(asked, (query, key), direction)
    wanted = torch.autograd.grad(expected, (query, key), direction)
    for one, other in zip(found, wanted, strict=True):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-7)


MASKS = {
    "none": None,
    "causal": masks.causal(2, 3, align="end"),
    "padding": masks.padding([1, 3], 3),
    "dense": torch.tensor([[0.5, -torch.inf, 1.0]], dtype=torch.float64),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("question", ["context", "transpose", "entropy", "logsumexp", "received", "statistics", "topk"])
def test_gradcheck_and_gradients_of_gradients(question: str, mask):
    torch.manual_seed(0)
    query = torch.randn(2, 2, 2, dtype=torch.float64, requires_grad=True)
    key, value = (torch.randn(2, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def ask(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        matrix = AttentionMatrix(query, key, mask)
        match question:
            case "context":
                return matrix @ value
            case "transpose":
                return matrix.T @ value[:, :2]
            case "statistics":
                return torch.cat([part.flatten() for part in matrix.statistics(bins=2)])
            case "topk":
                return matrix.topk(2)[0]
            case _:
                return getattr(matrix, question)()

    inputs = (query, key, value) if question in ("context", "transpose") else (query, key, value.detach())
    assert torch.autograd.gradcheck(ask, inputs)
    assert torch.autograd.gradgradcheck(ask, inputs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_query_that_sees_nothing(dtype: torch.dtype):
    query, key, value = (torch.ones(1, 2, 3, 4, dtype=dtype, requires_grad=True) for _ in range(3))
    visible = torch.tensor([[True, False, False], [False, False, False], [True, True, True]])
    matrix = AttentionMatrix(query, key, visible)
    assert matrix.to_dense()[0, 0, 1].tolist() == [0.0, 0.0, 0.0]
    context = matrix @ value
    assert context[0, 0, 1].tolist() == [0.0] * 4
    assert matrix.logsumexp()[0, 0, 1] == -math.inf
    assert matrix.entropy()[0, 0, 1] == 0.0
    (context.sum() + matrix.entropy().sum() + matrix.received().square().sum() + matrix.to_dense().sum()).backward()
    assert all(torch.isfinite(t.grad).all() for t in (query, key, value))  # type: ignore[arg-type]


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("hidden", [masks.padding([3], 5), masks.causal(5), masks.dense(torch.arange(5) < 3)])
def test_a_hidden_key_has_no_influence_whatever_stands_in_it(poison: float, hidden: masks.Mask):
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 5, 4, requires_grad=True) for _ in range(3))
    clean = AttentionMatrix(query, key, hidden)
    spoiled_key, spoiled_value = key.detach().clone(), value.detach().clone()
    spoiled_key[..., 3:, :] = poison
    spoiled_value[..., 3:, :] = poison
    spoiled_key.requires_grad_()
    spoiled = AttentionMatrix(query, spoiled_key, hidden)
    for ask in (  # of the first three queries: under causal, later ones do look at the spoiled keys
        lambda m, v: m @ v,
        lambda m, v: m.to_dense(),
        lambda m, v: m.entropy(),
        lambda m, v: m.logsumexp(),
        lambda m, v: m.rows([0, 1, 2]),
        lambda m, v: attention(m.query, m.key, v, hidden, need_weights=True)[0],
    ):
        dim = -1 if ask(clean, value).ndim == 3 else -2
        expected = ask(clean, value).narrow(dim, 0, 3)
        torch.testing.assert_close(ask(spoiled, spoiled_value).narrow(dim, 0, 3), expected)
    (spoiled @ spoiled_value)[..., :3, :].sum().backward()
    assert torch.isfinite(query.grad[..., :3, :]).all()  # type: ignore[index]
    written_out = attention(query, spoiled_key, spoiled_value, hidden, need_weights=True)[0]
    (gradient,) = torch.autograd.grad(written_out[..., :3, :].sum(), query)
    assert torch.isfinite(gradient[..., :3, :]).all()
    if hidden.same_for_all_queries:  # nobody sees the spoiled keys
        assert torch.isfinite(spoiled_key.grad).all()  # type: ignore[arg-type]


@pytest.mark.parametrize(("queries", "keys"), [(0, 3), (3, 0), (0, 0)])
def test_empty_sequences_give_empty_results(queries: int, keys: int):
    query, key = torch.randn(2, queries, 4, requires_grad=True), torch.randn(2, keys, 4, requires_grad=True)
    matrix = AttentionMatrix(query, key)
    context = matrix @ torch.randn(2, keys, 5)
    assert context.tolist() == torch.zeros(2, queries, 5).tolist()
    assert matrix.to_dense().shape == (2, queries, keys)
    assert matrix.logsumexp().tolist() == torch.full((2, queries), -math.inf).tolist()
    assert matrix.entropy().tolist() == torch.zeros(2, queries).tolist()
    assert matrix.received().tolist() == torch.zeros(2, keys).tolist()
    context.sum().backward()


def test_extreme_scores():
    query = torch.tensor([[1e4], [-1e4], [0.0]])
    key = torch.tensor([[1.0], [-1.0], [1.0]])
    matrix = AttentionMatrix(query, key, scale=1.0)
    torch.testing.assert_close(matrix.to_dense(), torch.tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [1 / 3] * 3]))
    torch.testing.assert_close(matrix.entropy(), torch.tensor([2.0, 1.0, 3.0]).log())
    torch.testing.assert_close(matrix.received(), torch.tensor([0.5, 1.0, 0.5]) + 1 / 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["none", "causal", "bias"])
@pytest.mark.parametrize("size", [1.0, 5.0])
def test_a_softcap_bounds_the_scores_before_the_mask(dtype: torch.dtype, name: str, size: float):
    torch.manual_seed(0)
    query, key, value, x = (size * torch.randn(2, 3, n, 4, dtype=torch.float64) for n in (6, 7, 7, 6))
    bias = torch.randn(6, 7, dtype=torch.float64)
    mask = {"none": None, "causal": masks.causal(6, 7, align="end"), "bias": bias.to(dtype)}[name]
    given = [t.to(dtype).requires_grad_() for t in (query, key)]
    exact = [t.detach().double().requires_grad_() for t in given]
    value, x = value.to(dtype), x.to(dtype)
    scores = 3.0 * torch.tanh(exact[0] @ exact[1].mT / 2 / 3.0)
    if name == "causal":
        scores = scores.masked_fill(torch.ones(6, 7).triu(2).bool(), -torch.inf)
    elif name == "bias":
        scores = scores + bias.to(dtype).double()
    weights = torch.softmax(scores, -1)
    matrix = AttentionMatrix(*given, mask, softcap=3.0)
    loose = {torch.float64: 1e-12, torch.float32: 3e-5}.get(dtype, 0.2)
    wanted = {
        "dense": (matrix.to_dense(), weights),
        "context": (matrix @ value, weights @ value.double()),
        "transpose": (matrix.T @ x, weights.mT @ x.double()),
        "received": (matrix.received(), weights.sum(-2)),
        "entropy": (matrix.entropy(), -torch.special.xlogy(weights, weights.masked_fill(weights == 0, 1)).sum(-1)),
        "logsumexp": (matrix.logsumexp(), scores.logsumexp(-1)),
        "rows": (matrix.rows([2]), weights[..., [2], :]),
        "entries": (matrix.entries([2, 5], [1, 0]), weights[..., [2, 5], [1, 0]]),
        "tile": (matrix.tile((0, 6), (0, 7), (2, 7)), weights.unflatten(-2, (2, 3)).mean(-2)),
        "attention": (attention(*given, value, mask, softcap=3.0), weights @ value.double()),
        "weights": (attention(*given, value, mask, softcap=3.0, need_weights=True)[1], weights),
    }
    for question, (found, expected) in wanted.items():
        torch.testing.assert_close(found.double(), expected, atol=loose, rtol=loose, msg=question)
        direction = torch.randn_like(expected)
        grads = torch.autograd.grad(found, given, direction.to(found.dtype), retain_graph=True)
        truth = torch.autograd.grad(expected, exact, direction, retain_graph=True)
        for one, other in zip(grads, truth, strict=True):
            torch.testing.assert_close(one.double(), other, atol=10 * loose, rtol=10 * loose, msg=question)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_forms_its_scores_in_float32(dtype: torch.dtype):
    torch.manual_seed(0)
    query, key = (16 * torch.randn(1, 2, 40, 64).to(dtype) for _ in range(2))  # scores of some hundred
    exact = torch.softmax(query.double() @ key.double().mT / 8, -1)
    matrix, ulp = AttentionMatrix(query, key), torch.finfo(dtype).eps
    value = torch.randn(1, 2, 40, 64).to(dtype)
    few = attention(query, key[..., :5, :], value[..., :5, :], need_weights=True)[1]
    exact_few = torch.softmax(query.double() @ key[..., :5, :].double().mT / 8, -1)
    for found, wanted in (
        (matrix.rows([3, 4]), exact[..., [3, 4], :]),
        (matrix.to_dense(), exact),
        (few, exact_few),
        (matrix.entries([3, 9], [3, 9]), exact[..., [3, 9], [3, 9]]),
    ):
        torch.testing.assert_close(found.double(), wanted, atol=ulp, rtol=0)


@pytest.mark.parametrize("wants_gradient", [False, True])
@given(data=st.data())
def test_statistics_are_the_questions_asked_one_by_one(wants_gradient: bool, data):
    problem = data.draw(problems(torch.float64))
    problem.query.requires_grad_(wants_gradient)
    matrix = problem.matrix
    *_, queries, keys = matrix.shape
    found = matrix.statistics(bins=3)
    torch.testing.assert_close(found.logsumexp, matrix.logsumexp())
    torch.testing.assert_close(found.entropy, matrix.entropy(), atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(found.received, matrix.received())
    torch.testing.assert_close(found.map, matrix.tile((0, queries), (0, keys), (min(3, queries), min(3, keys))))
    assert found.entropy.requires_grad == wants_gradient


def test_products_beyond_what_float16_holds():
    query = torch.full((3, 4), 200.0, dtype=torch.float16)
    key = torch.stack([query[0], query[0] * 0.5])
    matrix = AttentionMatrix(query, key)  # products of 160,000, scores of 80,000
    assert matrix.to_dense().tolist() == [[1.0, 0.0]] * 3
    assert matrix.rows([0]).tolist() == [[1.0, 0.0]]
    assert (matrix @ torch.eye(2, dtype=torch.float16)).tolist() == [[1.0, 0.0]] * 3
    assert matrix.entropy().tolist() == [0.0] * 3


def test_weights_at_scores_of_millions():
    torch.manual_seed(0)
    query, key = (1e3 * torch.randn(1, 2, 30, 64) for _ in range(2))
    exact = torch.softmax(query.double() @ key.double().mT / 8, -1)
    matrix, i = AttentionMatrix(query, key), torch.arange(30)
    close = {"atol": 1e-6, "rtol": 0}
    torch.testing.assert_close(matrix.entries(i, exact[0, 0].argmax(-1)), exact[..., i, exact[0, 0].argmax(-1)].float())
    torch.testing.assert_close(matrix.received().double(), exact.sum(-2), **close)
    torch.testing.assert_close((matrix.T @ torch.ones(30, 1))[..., 0].double(), exact.sum(-2), **close)
    torch.testing.assert_close(matrix.topk(2)[0].double(), exact.topk(2).values, **close)
    torch.testing.assert_close(
        matrix.tile((0, 30), (3, 30), (2, 27)).double().sum(), exact[..., 3:].sum() / 15, **close
    )


def test_indexing_gives_views_of_one_head():
    query, key = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 6, 5)
    mask = masks.padding([2, 6], 6)
    matrix = AttentionMatrix(query, key, mask)
    one = matrix[1, 2]
    assert one.shape == (4, 6)
    assert one.query.data_ptr() == query[1, 2].data_ptr()
    torch.testing.assert_close(one.to_dense(), matrix.to_dense()[1, 2])
    torch.testing.assert_close(matrix[..., 0].entropy(), matrix.entropy()[:, 0])
    torch.testing.assert_close(matrix[0].to_dense(), matrix.to_dense()[0])
    with pytest.raises(IndexError, match="leading dimensions"):
        matrix[0, 0, 0]


def test_normalisers_are_found_again_when_the_tensors_change():
    query, key = torch.randn(4, 5), torch.randn(6, 5)
    matrix = AttentionMatrix(query, key)
    before = matrix.logsumexp()
    key.mul_(2)
    assert not torch.equal(matrix.logsumexp(), before)
    torch.testing.assert_close(matrix.entries([0], [0]), matrix.to_dense()[0, :1])


def test_dense_refuses_what_would_not_fit():
    with pytest.raises(ValueError, match=r"4,294,967,296 bytes.*ask for rows"):
        AttentionMatrix(torch.zeros(32768, 2), torch.zeros(32768, 2)).to_dense()


def test_attention_with_dropout_gives_weights_before_dropout():
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 5, 6)
    context, weights = attention(query, key, value, dropout_p=0.5, need_weights=True)
    torch.testing.assert_close(weights, AttentionMatrix(query, key).to_dense())
    assert not torch.allclose(context, weights @ value)


BAD = {
    "query must be a floating tensor, got torch.int64": lambda: AttentionMatrix(
        torch.ones(2, 2).long(), torch.ones(2, 2)
    ),
    "key must have at least two dimensions": lambda: AttentionMatrix(torch.ones(2, 2), torch.ones(2)),
    "key must be as wide as query": lambda: AttentionMatrix(torch.ones(2, 2), torch.ones(2, 3)),
    "key must have the query's dtype": lambda: AttentionMatrix(torch.ones(2, 2), torch.ones(2, 2).double()),
    "key of shape .3, 2, 2. does not broadcast.*enable_gqa": lambda: AttentionMatrix(
        torch.ones(2, 2, 2), torch.ones(3, 2, 2)
    ),
    "enable_gqa needs": lambda: AttentionMatrix(torch.ones(3, 2, 2), torch.ones(2, 2, 2), enable_gqa=True),
    "value must have shape .*3, width": lambda: AttentionMatrix(torch.ones(2, 2), torch.ones(3, 2)) @ torch.ones(2, 2),
    "x must have shape": lambda: AttentionMatrix(torch.ones(2, 2), torch.ones(3, 2)).T @ torch.ones(3, 2),
    "groups must be .3,. integers": lambda: AttentionMatrix(torch.ones(2, 2), torch.ones(3, 2)).group_mass(
        torch.ones(2).long()
    ),
    "k must lie between 1 and the number of keys, 3": lambda: AttentionMatrix(torch.ones(2, 2), torch.ones(3, 2)).topk(
        4
    ),
    "rows must be .first, last . 1. within 0 and 2": lambda: AttentionMatrix(torch.ones(2, 2), torch.ones(3, 2)).tile(
        (0, 3), (0, 3), (1, 1)
    ),
    "bins must lie between 1 and the 3 cols": lambda: AttentionMatrix(torch.ones(2, 2), torch.ones(3, 2)).tile(
        (0, 2), (0, 3), (1, 4)
    ),
    "i and j must be of one length": lambda: AttentionMatrix(torch.ones(2, 2), torch.ones(3, 2)).entries([0], [0, 1]),
    "scale must be a finite number, got inf": lambda: AttentionMatrix(
        torch.ones(2, 2), torch.ones(3, 2), scale=math.inf
    ),
    "scale must be a number, got a tensor that wants a gradient": lambda: AttentionMatrix(
        torch.ones(2, 2),
        torch.ones(3, 2),
        scale=torch.ones((), requires_grad=True),  # type: ignore[arg-type]
    ),
    "softcap must be a finite number above 0": lambda: AttentionMatrix(torch.ones(2, 2), torch.ones(3, 2), softcap=0.0),
    "dropout_p must be": lambda: attention(torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2), dropout_p=1.0),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(message: str):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


def test_an_index_out_of_range():
    with pytest.raises(IndexError, match="index must lie between -2 and 1"):
        AttentionMatrix(torch.ones(2, 2), torch.ones(3, 2)).rows([2])
