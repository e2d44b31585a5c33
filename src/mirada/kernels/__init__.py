"""How each question of an attention matrix is computed: one table, and the choice from it.

A kernel is a way of computing, in a file of its own. Each says which problems it refuses, and why; the first that
doesn't is run. What it gives is differentiable (`autograd`). Every threshold stands in `tuning`.

| kernel | how |
|---|---|
| ``reference`` | the matrix is formed; gradients of any order |
| ``sdpa`` | torch's public call |
| ``flash_cpu`` | torch's flash kernel for the CPU, which gives the log-normalisers too |
| ``chunked`` | plain torch, a chunk of rows at a time |
| ``statistics`` | log-normalisers, entropies and sums over queries in one pass |
| ``chebyshev`` | one channel: a few queries stand for all |
| ``folded`` | heads that share keys and values, as more queries |
| ``tiles``, ``topk`` | a rectangle at any resolution; the strongest keys |

``SelfAttention`` of a single channel takes `chebyshev.of_itself` by itself: no matrix is held there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn import functional

from mirada.kernels import chebyshev, chunked, flash_cpu, folded, reference, sdpa, statistics, tiles, topk
from mirada.kernels.autograd import Rule, differentiable
from mirada.kernels.problem import Declined, Kernel, Problem
from mirada.kernels.scores import Scores
from mirada.kernels.tuning import tuning

__all__ = ["TABLE", "Explanation", "Problem", "Scores", "choose", "explain", "fused", "recorded"]


def choose(question: str, problem: Problem) -> Any:
    """The answer of the first kernel in the question's row that does not refuse the problem."""
    for kernel in TABLE[question]:
        if kernel.refuses(problem) is None:
            answer = kernel.run(problem)
            if not isinstance(answer, Declined):
                _note(question, kernel.name)
                return answer
    raise AssertionError(f"every kernel for {question!r} refused")


class Explanation(NamedTuple):
    """Which kernel answers a question, and why those before it in its row do not."""

    refusals: list[tuple[str, str]]
    name: str
    does: str

    def __str__(self) -> str:
        return "\n".join([f"{self.name}: {self.does}", *(f"  not {name}: {why}" for name, why in self.refusals)])


def explain(question: str, problem: Problem) -> Explanation:
    """What `choose` does with this problem. Where only an answer shows whether it can be trusted, it is computed."""
    refusals = []
    for kernel in TABLE[question]:
        reason = kernel.refuses(problem)
        if reason is None and kernel.may_decline and isinstance(answer := kernel.run(problem), Declined):
            reason = str(answer)
        if reason is None:
            return Explanation(refusals, kernel.name, kernel.does)
        refusals.append((kernel.name, reason))
    raise AssertionError(f"every kernel for {question!r} refused")


_records: list[list[tuple[str, str]]] = []


@contextmanager
def recorded() -> Iterator[list[tuple[str, str]]]:
    """Each question that is answered inside the block, with the kernel that answered it, innermost first."""
    ran: list[tuple[str, str]] = []
    _records.append(ran)
    try:
        yield ran
    finally:
        _records.pop()


def _note(question: str, name: str) -> None:
    for ran in _records:
        ran.append((question, name))


def fused(question: str, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """The short way for what `sdpa.takes`: what `choose` would do, without the table."""
    if _records:
        _note(question, "sdpa")
    return functional.scaled_dot_product_attention(query, key, value, scale=scale)


def _large(limit: str, few_keys: bool = True) -> Any:
    """Refuses to form many weights, unless they are fewer numbers than the queries."""

    def refuses(problem: Problem) -> str | None:
        scores, most = problem.scores, getattr(tuning, limit)
        if problem.weights <= most or (few_keys and scores.keys <= scores.width * tuning.keys_per_channel):
            return None
        return f"{problem.weights:,} weights, formed where they are at most {most:,}"

    return refuses


def _never(problem: Problem) -> None:
    return None


def _kernel(name: str, refuses: Any, run: Any, does: str = "", may_decline: bool = False) -> Kernel:
    return Kernel(name, does or _DOES[name], refuses, run, may_decline)


_DOES = {
    "reference": "the weights are formed",
    "sdpa": "torch's own call, nothing added",
    "flash_cpu": "one pass of torch's flash kernel, the matrix never formed",
    "chunked": "a chunk of rows at a time",
    "statistics": "one pass over the weights, a chunk of rows at a time",
}


def _product(kernel: str, refuses: Any, rule: Rule, outputs: slice | int) -> Kernel:
    def run(problem: Problem) -> Any:
        assert problem.value is not None
        return differentiable(rule, problem.scores, problem.value)[outputs]

    return _kernel(kernel, refuses, run)


def _transpose(problem: Problem, module: Any) -> Tensor:
    assert problem.known is not None
    assert problem.value is not None
    return differentiable(module.transpose(problem.known()), problem.scores, problem.value)[0]


def _folded(question: str) -> Kernel:
    def run(problem: Problem) -> Any:
        found = choose(question, folded.together(problem))
        return (
            folded.apart(found, problem)
            if isinstance(found, Tensor)
            else tuple(folded.apart(each, problem) for each in found)
        )

    return _kernel("folded", folded.refuses, run, "heads that share keys and values are more queries")


_SMALL = "so few weights are formed outright"
_FEW_RETURNED = _large("few_returned", few_keys=False)

_CHEBYSHEV = _kernel(
    "chebyshev", chebyshev.refuses, chebyshev.context, "one channel: a few queries stand for all", may_decline=True
)
_PRODUCTS = (
    _kernel("reference", _large("few_weights"), lambda p: reference.product(p.scores, p.value), _SMALL),
    _product("flash_cpu", flash_cpu.refuses, flash_cpu.PRODUCT, 0),
    _product("chunked", chunked.refuses, chunked.PRODUCT, 0),
    _kernel("reference", _never, lambda p: reference.product(p.scores, p.value)),
)
_STATISTICS = (
    _kernel("reference", _large("few_weights"), statistics.of_reference, _SMALL),
    _kernel("statistics", statistics.refuses, statistics.run),
    _kernel("reference", _never, statistics.of_reference),
)

#: Question → the kernels that can answer it, the fastest first. The last refuses nothing.
TABLE: dict[str, tuple[Kernel, ...]] = {
    # A @ V; gradients of any order
    "context": (_CHEBYSHEV, _kernel("sdpa", sdpa.refuses_gradients, sdpa.context, may_decline=True), *_PRODUCTS),
    # the same by `mirada.attention`; where torch's own call serves, gradients once
    "attention": (
        _folded("attention"),
        _CHEBYSHEV,
        _kernel("sdpa", sdpa.refuses, sdpa.context, may_decline=True),
        *_PRODUCTS,
    ),
    # context and weights
    "weights": (
        _folded("weights"),
        _kernel("reference", _FEW_RETURNED, lambda p: reference.context_and_weights(p.scores, p.value), _SMALL),
        _product("chunked", lambda p: chunked.refuses(p) or p.poisoned, chunked.WEIGHTS, slice(None)),
        _kernel("reference", _never, lambda p: reference.context_and_weights(p.scores, p.value)),
    ),
    # context and log-normalisers, of a rectangle's share in the whole
    "grouped": (
        _kernel(
            "reference", _large("few_weights"), lambda p: reference.context_and_logsumexp(p.scores, p.value), _SMALL
        ),
        _product("flash_cpu", flash_cpu.refuses, flash_cpu.PRODUCT, slice(None)),
        _product("chunked", chunked.refuses, chunked.PRODUCT, slice(None)),
        _kernel("reference", _never, lambda p: reference.context_and_logsumexp(p.scores, p.value)),
    ),
    # Aᵀ @ X
    "transpose": (
        _kernel(
            "reference", _large("few_weights"), lambda p: reference.transposed_product(p.scores, p.value)[0], _SMALL
        ),
        _kernel("flash_cpu", flash_cpu.refuses_transpose, lambda p: _transpose(p, flash_cpu)),
        _kernel("chunked", chunked.refuses, lambda p: _transpose(p, chunked)),
        _kernel("reference", _never, lambda p: reference.transposed_product(p.scores, p.value)[0]),
    ),
    "logsumexp": _STATISTICS,
    "entropy": _STATISTICS,
    "received": _STATISTICS,
    "statistics": _STATISTICS,
    # a rectangle at any resolution
    "tile": (
        _kernel("statistics", tiles.refuses_pass, tiles.by_pass),
        _kernel("reference", tiles.refuses_forming, tiles.by_forming, "the rectangle's weights are formed"),
        _kernel("tiles", _never, lambda p: tiles.by_products(p, choose), "products with the indicator of the bins"),
    ),
    "topk": (
        _kernel("topk", lambda p: p.learned, topk.run, "a chunk of rows at a time, each folded into columns"),
        _kernel("reference", _never, topk.of_reference),
    ),
}
