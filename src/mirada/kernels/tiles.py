"""A rectangle of the matrix at any resolution: sums over blocks of keys, means over blocks of queries.

Where queries are many and bins of keys too, one pass over the rows sums both. Else a rectangle is an attention to fewer
keys: its product with the indicator of the bins, times the share of the whole that it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mirada import binning
from mirada.kernels import statistics
from mirada.kernels.logsumexp import weights_from
from mirada.kernels.problem import Problem
from mirada.kernels.tuning import tuning

Choose = Callable[[str, Problem], Any]


def refuses_pass(problem: Problem) -> str | None:
    """Why one pass over the rows would be more work than products."""
    scores, (queries, keys), (r, s) = problem.scores, *_sizes(problem)
    if scores.query.device.type != "cpu":
        return "its chunks are meant for a processor's cache"
    if problem.graph:
        return "products have a fused backward pass"
    if keys != scores.keys:
        return "the keys are a part of the row"
    if queries * keys < tuning.large_tile:
        return f"of {queries * keys:,} weights; it pays from {tuning.large_tile:,}"
    if keys * scores.width > tuning.tile_keys:
        return f"the keys are {keys * scores.width:,} numbers, more than {tuning.tile_keys:,}"
    if s <= max(tuning.tile_bins, scores.width) or r * keys > s * queries:
        return "one product with the bins' indicator is less work"
    return statistics.refuses(problem)


def by_pass(problem: Problem) -> Tensor:
    """The picture from the sums of each bin of queries: (*leading, r, s)."""
    (rows, columns), (r, s) = _rectangle(problem)
    scores, bins = problem.scores.rectangle(rows, columns), binning.of_positions(rows.stop - rows.start, r)
    sums = statistics.run(Problem(scores, bins=bins)).sums
    assert sums is not None
    return binning.sum_columns(sums, s) / binning.sizes(len(bins), r)[:, None].to(sums)


def refuses_forming(problem: Problem) -> str | None:
    """Why the rectangle's weights should not be formed."""
    (queries, keys), (_, s) = _sizes(problem)
    if problem.nothing:
        return None
    if _in_one_product(problem):
        return f"{s} bins of whole rows are one product"
    weights = problem.scores.query.shape[:-2].numel() * queries * keys
    return None if weights <= tuning.small_tile else f"{weights:,} weights, more than {tuning.small_tile:,}"


def by_forming(problem: Problem) -> Tensor:
    """The picture from the rectangle's own weights."""
    (rows, columns), (r, s) = _rectangle(problem)
    assert problem.known is not None
    weights = weights_from(problem.scores.block(rows, columns), problem.known()[..., rows])
    return binning.mean_rows(binning.sum_columns(weights, s), r)


def by_products(problem: Problem, choose: Choose) -> Tensor:
    """The picture from products with the indicator of the bins, as many bins at a time as make one fused call."""
    (rows, columns), (r, s) = _rectangle(problem)
    bin_of_each = binning.of_positions(columns.stop - columns.start, s)
    if _in_one_product(problem):
        inside, _ = _grouped(problem, rows, columns, functional.one_hot(bin_of_each, s), choose)
        return binning.mean_rows(inside, r)
    assert problem.known is not None
    known, sums = problem.known()[..., rows], []
    for keys, indicator in binning.chunks(bin_of_each, _width(problem)):
        keys = slice(columns.start + keys.start, columns.start + keys.stop)
        inside, own = _grouped(problem, rows, keys, indicator, choose)
        sums.append(inside * weights_from(own[..., None], known))
    return binning.mean_rows(torch.cat(sums, -1), r)


def _grouped(problem: Problem, rows: slice, keys: slice, indicator: Tensor, choose: Choose) -> tuple[Tensor, Tensor]:
    """How much attention goes to each group of keys, (..., rows, groups), and the log-normalisers."""
    scores = problem.scores.rectangle(rows, keys)
    groups = indicator.to(scores.query)  # (keys, groups)
    value = groups.expand(*scores.leading, *groups.shape)
    return choose("grouped", replace(problem, scores=scores, value=value))


def _in_one_product(problem: Problem) -> bool:
    (_, keys), (_, s) = _sizes(problem)
    return keys == problem.scores.keys and s <= _width(problem)


def _width(problem: Problem) -> int:
    return max(tuning.tile_bins, problem.scores.width)


def _rectangle(problem: Problem) -> tuple[tuple[slice, slice], tuple[int, int]]:
    assert problem.rectangle is not None
    assert problem.picture is not None
    return problem.rectangle, problem.picture


def _sizes(problem: Problem) -> tuple[tuple[int, int], tuple[int, int]]:
    """Queries and keys of the rectangle, and of the picture."""
    (rows, columns), picture = _rectangle(problem)
    return (rows.stop - rows.start, columns.stop - columns.start), picture
