"""Drawn masks reach every kernel of the table that takes one, and each answers as the whole matrix does in float64."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from drawn import problems
from mirada.kernels import TABLE, Problem
from mirada.kernels.logsumexp import refined
from mirada.kernels.problem import Declined
from mirada.kernels.tuning import changed

#: One channel's kernel and the folding of heads are for attention without a mask.
UNMASKED = {"chebyshev", "folded"}
#: Small chunks; rectangles that take every way; the reference as the last resort too.
SIZES = {"chunk": 16, "cached": 16, "cached_rows": 2, "block_keys": 2, "returned": 16, "large_tile": 0, "tile_bins": 1}

#: What each question is of the weights (…, L, S), a value and an x; each answer's first tensor.
EXPECTED = {
    "context": lambda w, v, x: w @ v,
    "attention": lambda w, v, x: w @ v,
    "weights": lambda w, v, x: w @ v,
    "grouped": lambda w, v, x: w @ v,
    "transpose": lambda w, v, x: w.mT @ x,
    "logsumexp": None,
    "entropy": lambda w, v, x: -torch.special.xlogy(w, w).sum(-1),
    "received": lambda w, v, x: w.sum(-2, keepdim=True),
    "statistics": lambda w, v, x: w.sum(-2, keepdim=True),
    "tile": lambda w, v, x: w.mean(-2, keepdim=True),
    "topk": lambda w, v, x: w.topk(1).values,
}


def first(question: str, answer: object) -> Tensor:
    if question in ("entropy", "received", "statistics", "logsumexp"):
        return {"entropy": answer.entropy, "logsumexp": answer.logsumexp}.get(question, answer.sums)  # type: ignore[attr-defined]
    return answer[0] if isinstance(answer, tuple) else answer  # type: ignore[return-value]


def test_drawn_masks_reach_every_kernel_that_takes_one():
    reached: dict[tuple[str, str], int] = {
        (question, kernel.name): 0 for question, row in TABLE.items() for kernel in row if kernel.name not in UNMASKED
    }

    @settings(max_examples=150)
    @given(problem=problems(torch.float64), few=st.booleans())
    def reach(problem, few: bool) -> None:
        if problem.mask is None:
            return
        scores, weights = problem.matrix._scores, problem.weights()
        value = torch.randn(scores.key.shape, dtype=torch.float64)
        x = torch.randn(*scores.leading, scores.queries, 2, dtype=torch.float64)
        known = refined(scores, torch.logsumexp(scores.whole(), -1))
        for question, row in TABLE.items():
            asked = Problem(
                scores,
                x if question == "transpose" else value,
                known=lambda: known,
                entropy=question in ("entropy", "statistics"),
                bins=torch.zeros(scores.queries, dtype=torch.long) if question in ("received", "statistics") else None,
                rectangle=(slice(0, scores.queries), slice(0, scores.keys)),
                picture=(1, scores.keys),
                k=1,
            )
            exact = EXPECTED[question]
            expected = known if exact is None else exact(weights, value, x)
            with changed(few_weights=1 << 16 if few else 0, few_returned=0, small_tile=1 << 18 if few else 0, **SIZES):
                for kernel in row:
                    if kernel.refuses(asked) is None and not isinstance(answer := kernel.run(asked), Declined):
                        found = first(question, answer)
                        said = f"{question} by {kernel.name}"
                        torch.testing.assert_close(found.double(), expected, atol=1e-9, rtol=1e-9, msg=said)
                        if kernel.name not in UNMASKED:
                            reached[question, kernel.name] += 1

    reach()
    assert all(count > 0 for count in reached.values()), reached
