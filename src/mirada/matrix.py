"""The attention matrix as a linear operator: asked, never built.

A = softmax(mask(scale · Q Kᵀ)), of shape (..., L, S), is held as query, key, mask and scale. Each question is one or
two products with it, and a product takes O(L + S) memory.

>>> import torch, mirada
>>> query = torch.tensor([[0.0], [1.0]])
>>> key = torch.tensor([[0.0], [1.0]])
>>> A = mirada.AttentionMatrix(query, key, scale=1.0)
>>> A.to_dense()  # the second query: 1 / (1 + e) and e / (1 + e)
tensor([[0.5000, 0.5000],
        [0.2689, 0.7311]])
>>> A.entropy()
tensor([0.6931, 0.5822])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import handle_torch_function, has_torch_function_variadic

from mirada import binning, checks, kernels
from mirada.dense import DenseAttention, Statistics, merged
from mirada.kernels import Problem, Scores, reference, sdpa
from mirada.kernels.autocast import cast
from mirada.kernels.autograd import wanted
from mirada.kernels.logsumexp import refined, share, weights_from
from mirada.masks import Mask, as_mask

__all__ = ["AttentionMatrix", "attention"]

_DENSE_LIMIT = 1 << 30  # bytes


class AttentionMatrix:
    """softmax(mask(scale · Q Kᵀ)), held as what it is made of (Vaswani et al. 2017, equation 1).

    Args:
        query: (..., L, E), floating.
        key: (..., S, E), of the same dtype and on the same device; leading dimensions broadcast against the query's.
        mask: a ``mirada.masks`` mask, or a tensor that broadcasts to (..., L, S): bool (True = may attend) or floating
            (added to the scaled scores).
        scale: what the scores are multiplied with; None means 1/√E.
        softcap: c > 0: scores become c · tanh(scores / c) before the mask (Gemma 2, ONNX).
        enable_gqa: the key may have fewer heads (dimension −3) than the query, a divisor of its number; each key head
            then serves as many query heads in a row (Ainslie et al. 2023).

    A query that may attend to nothing has weights 0, context 0, logsumexp −inf and entropy 0.

    Raises:
        ValueError: shapes that don't fit, devices or dtypes that differ.
        TypeError: a mask that is neither bool nor floating.
    """

    dims: tuple[str, ...] | None = None
    """What each leading dimension counts, "batch", "heads" or "unknown", where `mirada.watch` recorded it."""

    def __init__(
        self,
        query: Tensor,
        key: Tensor,
        mask: Mask | Tensor | None = None,
        *,
        scale: float | None = None,
        softcap: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        checks.check_query_and_key(query, key)
        self.query, self.key = query, key
        self._groups = checks.groups_of(query, key, enable_gqa)
        key = checks.repeat_heads(key, self._groups)
        leading = query.shape[:-2]
        if leading != key.shape[:-2]:
            leading = checks.common_leading(query, key)
            query, key = query.expand(*leading, *query.shape[-2:]), key.expand(*leading, *key.shape[-2:])
        rule = as_mask(mask)
        self.mask = None if rule is None else rule.fit(leading, query.shape[-2], key.shape[-2], query.device)
        self.scale = checks.default_scale(query.shape[-1]) if scale is None else checks.number("scale", scale)
        self.softcap = None if softcap is None else checks.number("softcap", softcap, positive=True)
        self._scores = Scores(query, key, self.mask, self.scale, self.softcap)
        self._known: tuple[tuple[int, int], Tensor] | None = None
        self._large: tuple[tuple[int, int], bool] | None = None

    @property
    def shape(self) -> torch.Size:
        """(..., L, S)."""
        return torch.Size((*self._scores.leading, self._scores.queries, self._scores.keys))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of query and key, and of the weights."""
        return self.query.dtype

    @property
    def device(self) -> torch.device:
        """Where query and key are."""
        return self.query.device

    @property
    def T(self) -> TransposedMatrix:  # noqa: N802 - as torch.Tensor names it
        """The transpose, (..., S, L): ``A.T @ x`` is what each key receives of x."""
        return TransposedMatrix(self)

    def __repr__(self) -> str:
        return f"AttentionMatrix(shape={tuple(self.shape)}, dtype={self.dtype}, mask={self.mask}, scale={self.scale:g})"

    def __getitem__(self, index: Any) -> AttentionMatrix:
        """The matrix of one head, one example, …: leading dimensions are indexed, the tensors stay shared."""
        index = checks.leading_index(index, self._scores.leading)
        part = self._of(self._scores.part(index))
        known = self._cached()
        if known is not None:
            part._known = (part._version(), known[index])
        return part

    @classmethod
    def _of(cls, scores: Scores) -> AttentionMatrix:
        """The matrix of scores whose inputs have been checked."""
        matrix = object.__new__(cls)
        matrix.query, matrix.key, matrix.mask = scores.query, scores.key, scores.mask
        matrix.scale, matrix.softcap = scores.scale, scores.softcap
        matrix._scores, matrix._groups, matrix._known, matrix._large = scores, 1, None, None
        return matrix

    def __matmul__(self, value: Tensor) -> Tensor:
        """The context A @ V: value (..., S, Ev) -> (..., L, Ev). Fused, differentiable in query, key and value."""
        if not isinstance(value, Tensor):
            return NotImplemented
        scores = self._scores
        if scores.unchanged and sdpa.takes(scores.query, scores.key, value) and not wanted(scores, value):
            return kernels.fused("context", scores.query, scores.key, value, scores.scale)
        if value.ndim == 1:
            return (self @ value[:, None])[..., 0]
        return kernels.choose("context", Problem(scores, self._operand("value", value, scores.keys)))

    def logsumexp(self) -> Tensor:
        """The log-normaliser of each row, log Σ_j exp(score_ij): (..., L), in float32 at least. Differentiable."""
        return self._precise_normalisers().to(torch.promote_types(self.dtype, torch.float32))

    def entropy(self) -> Tensor:
        """Shannon entropy of each row in nats, −Σ_j A_ij log A_ij: (..., L), in float32 at least. Differentiable.

        0 where a query attends to one key only, log n where at n keys alike. One pass over the scores.
        """
        found = kernels.choose("entropy", self._problem("entropy"))
        self._remember(found.logsumexp)
        return found.entropy.to(torch.promote_types(self.dtype, torch.float32))

    def received(self) -> Tensor:
        """The attention that each key receives, its column's sum Σ_i A_ij: (..., S). Differentiable."""
        found = kernels.choose("received", self._problem("received"))
        self._remember(found.logsumexp)
        return found.sums[..., 0, :].to(self.dtype)

    def statistics(self, bins: int = 64) -> Statistics:
        """Log-normalisers, entropy, attention received and a map of bins × bins, in one pass. Differentiable."""
        queries, keys = self.shape[-2:]
        r, c = binning.at_most(bins, queries, keys)
        found = kernels.choose("statistics", self._problem("statistics", bins=bins))
        self._remember(found.logsumexp)
        means = binning.sum_columns(found.sums, c)[..., :r, :] / binning.sizes(queries, r)[:, None].to(found.sums)
        dtype = torch.promote_types(self.dtype, torch.float32)
        received = found.sums.sum(-2).to(self.dtype)
        return Statistics(found.logsumexp.to(dtype), found.entropy.to(dtype), received, means.to(self.dtype))

    def group_mass(self, groups: Tensor) -> Tensor:
        """How much of each query's attention goes to each group of keys: (..., L, number of groups). Differentiable.

        Args:
            groups: (S,) integers from 0 up, the group of each key: words, blocks, padding, …

        >>> import torch
        >>> A = AttentionMatrix(torch.zeros(1, 2), torch.zeros(4, 2))
        >>> A.group_mass(torch.tensor([0, 0, 0, 1]))
        tensor([[0.7500, 0.2500]])
        """
        return self @ checks.members("groups", groups, self._scores.keys, self.query)

    def merge(self, queries: Tensor, keys: Tensor) -> DenseAttention:
        """Groups in place of single tokens: the attention of groups of queries to groups of keys.

        Weights are summed over the keys of a group and averaged over its queries, so rows still sum to 1.

        Args:
            queries: (L,) integers from 0 up, the group of each query: the word that a token is a part of, for example.
            keys: (S,) integers from 0 up, the group of each key.

        >>> import torch
        >>> A = AttentionMatrix(torch.zeros(2, 2), torch.zeros(4, 2))
        >>> A.merge(torch.tensor([0, 0]), torch.tensor([0, 0, 0, 1])).to_dense()
        tensor([[0.7500, 0.2500]])
        """
        return merged(self.group_mass(keys), queries)

    def restrict(self, mask: Mask | Tensor) -> AttentionMatrix:
        """The attention to those keys only that another mask shows too: a matrix of its own, rows with sum 1."""
        rule = as_mask(mask)
        if rule is None:
            raise TypeError("mask must be a mask or a tensor, True where a query may attend, got None")
        rule = rule.fit(self._scores.leading, self._scores.queries, self._scores.keys, self.device)
        return self._of(replace(self._scores, mask=rule if self.mask is None else self.mask & rule))

    def upcast(self) -> AttentionMatrix:
        """The same matrix in float32 at least."""
        return self._of(self._scores.upcast())

    def mass(self, mask: Mask | Tensor) -> Tensor:
        """How much of each query's attention goes where another mask allows: (..., L). Differentiable.

        Attention to some of the keys is an attention with a smaller log-normaliser:
        exp(its logsumexp − the whole one's).

        Args:
            mask: as the matrix's own; boolean.

        >>> import torch, mirada
        >>> A = AttentionMatrix(torch.zeros(2, 1), torch.zeros(2, 1))
        >>> A.mass(mirada.masks.causal(2))
        tensor([0.5000, 1.0000])
        """
        rule = as_mask(mask)
        if rule is None or rule.additive:
            raise TypeError("mask must be boolean: True where a query may attend")
        inside = self.restrict(rule)._precise_normalisers()
        return share(inside, self._precise_normalisers()).to(self.dtype)

    def topk(self, k: int) -> tuple[Tensor, Tensor]:
        """The k strongest keys of each query: weights and indices, each (..., L, k), strongest first.

        Where a query sees fewer than k keys, the rest has weight 0 and the index of some key that it can't see.
        """
        checks.k_of_keys(k, self._scores.keys)
        weights, indices = kernels.choose("topk", self._problem("topk", k=k))
        return weights.to(self.dtype), indices

    def rows(self, index: Tensor | Sequence[int]) -> Tensor:
        """The weights of chosen queries: (..., len(index), S), exact."""
        index = checks.positions("index", index, self._scores.queries, self.device)
        return reference.softmax(self._fine().rows(index)).to(self.dtype)

    def entries(self, i: Tensor | Sequence[int], j: Tensor | Sequence[int]) -> Tensor:
        """The weights of the pairs (i[n], j[n]): (..., n), exact."""
        i, j = checks.pairs(i, j, self._scores.queries, self._scores.keys, self.device)
        pairs = self._fine().pairs(i, j)[..., None]
        return weights_from(pairs, self._precise_normalisers()[..., i])[..., 0].to(self.dtype)

    def tile(self, rows: tuple[int, int], cols: tuple[int, int], bins: tuple[int, int]) -> Tensor:
        """A rectangle at any resolution: how much attention goes from a block of queries to a block of keys.

        Args:
            rows: (a, b), queries a … b − 1.
            cols: (c, d), keys c … d − 1.
            bins: (r, s), the picture's size. Bin n of r begins at query a + n (b − a) // r, so bins may be uneven.

        Returns:
            (..., r, s): the sum of the weights over each block of keys, their mean over each block of queries.
        """
        r, s = binning.check(rows, cols, bins, self._scores.queries, self._scores.keys)
        problem = replace(self._problem("tile"), rectangle=(slice(*rows), slice(*cols)), picture=(r, s))
        return kernels.choose("tile", problem).to(self.dtype)

    def to_dense(self, *, limit: int = _DENSE_LIMIT) -> Tensor:
        """The weights themselves, (..., L, S). Differentiable, to any order.

        Raises:
            ValueError: where they would take more than ``limit`` bytes.
        """
        size = self.shape.numel() * self.dtype.itemsize
        if size > limit:
            raise ValueError(
                f"the weights of shape {tuple(self.shape)} would take {size:,} bytes, more than limit = {limit:,}: "
                "ask for rows, a tile or topk, index one head, or raise limit"
            )
        return reference.weights(self._fine()).to(self.dtype)

    def explain(
        self,
        question: str = "context",
        value: Tensor | None = None,
        *,
        bins: int = 64,
        k: int = 8,
        rows: tuple[int, int] | None = None,
        cols: tuple[int, int] | None = None,
    ) -> str:
        """Which kernel answers a question, and why those that come before it do not.

        Args:
            question: "context" (``A @ value``), "attention" or "weights" (``mirada.attention`` of the same tensors, the
                latter with ``need_weights``), "transpose" (``A.T @ value``), "logsumexp", "entropy", "received",
                "statistics", "tile" or "topk".
            value: the right side of a product; the keys, or the queries for the transpose, if left out.
            bins: of "statistics", and of "tile" in either direction.
            k: of "topk".
            rows: of "tile"; all queries if left out.
            cols: of "tile"; all keys if left out.

        >>> import torch
        >>> print(AttentionMatrix(torch.zeros(2, 1), torch.zeros(2, 1)).explain("entropy"))
        reference: so few weights are formed outright
        """
        checks.one_of("question", question, [name for name in kernels.TABLE if name != "grouped"])
        if question in ("context", "attention", "weights", "transpose"):
            value = value if value is not None else self.query if question == "transpose" else self.key
            return str(kernels.explain(question, self._product(question, value)))
        problem = self._problem(question, bins=bins, k=k)
        if question == "tile":
            rows, cols = rows or (0, self.shape[-2]), cols or (0, self.shape[-1])
            picture = min(bins, rows[1] - rows[0]), min(bins, cols[1] - cols[0])
            problem = replace(problem, rectangle=(slice(*rows), slice(*cols)), picture=picture)
        return str(kernels.explain(question, problem))

    def _product(self, question: str, value: Tensor) -> Problem:
        """A product with the matrix or its transpose, as the kernels take it."""
        if question != "transpose":
            whole = self._operand("value", value, self._scores.keys)
            return Problem(self._scores, whole, given=(self.query, self.key, value))
        x, fine = self._operand("x", value, self._scores.queries), self._fine()
        if fine.query.dtype == torch.promote_types(self.dtype, torch.float32):
            return Problem(self._scores, x, self._normalisers)
        return Problem(fine, x.to(fine.query.dtype), self._normalisers)

    def _problem(self, question: str, bins: int = 1, k: int = 0) -> Problem:
        """A question of the weights alone, as the kernels take it."""
        scores, summed = self._fine(), question in ("received", "statistics")
        bin_of_each = binning.of_positions(scores.queries, max(1, min(bins, scores.queries))) if summed else None
        return Problem(
            scores,
            known=self._normalisers if question == "logsumexp" else self._precise_normalisers,
            entropy=question in ("entropy", "statistics"),
            bins=bin_of_each,
            k=k,
        )

    def _operand(self, name: str, tensor: Tensor, length: int) -> Tensor:
        """A right-hand side, checked, with the matrix's leading dimensions."""
        checks.check_alike(name, tensor, self.query)
        if tensor.ndim < 2 or tensor.shape[-2] != length:
            raise ValueError(f"{name} must have shape (..., {length}, width), got {tuple(tensor.shape)}")
        leading = self._scores.leading
        if self._groups > 1 and tensor.ndim > 2 and tensor.shape[-3] * self._groups == leading[-1]:
            tensor = checks.repeat_heads(tensor, self._groups)
        if tensor.shape[:-2] == leading:
            return tensor
        try:
            return tensor.expand(*leading, *tensor.shape[-2:])
        except RuntimeError:
            raise ValueError(
                f"{name} of shape {tuple(tensor.shape)} does not broadcast to the leading dimensions {leading}"
            ) from None

    def _normalisers(self) -> Tensor:
        """The log-normalisers without a graph, found once."""
        known = self._cached()
        if known is not None:
            return known
        with torch.no_grad():
            return self._remember(kernels.choose("logsumexp", Problem(self._fine())).logsumexp)

    def _fine(self) -> Scores:
        """The scores in a dtype that holds them: `Scores.fine`, found once."""
        dtype = torch.promote_types(self.dtype, torch.float32)
        if self._large is None or self._large[0] != self._version():
            self._large = self._version(), self._scores.fine().query.dtype != dtype
        scores = self._scores
        if self._large[1]:
            return scores.double()
        return scores.upcast()

    def _precise_normalisers(self) -> Tensor:
        """The same with gradients where they are wanted: a zero is added that has the graph."""
        known = self._normalisers()
        if not wanted(self._scores):
            return known
        differentiable = kernels.choose("logsumexp", self._problem("logsumexp")).logsumexp
        return torch.where(torch.isfinite(known), known + (differentiable - differentiable.detach()), known)

    def _remember(self, logsumexp: Tensor) -> Tensor:
        self._known = (self._version(), refined(self._fine(), logsumexp.detach()))
        return self._known[1]

    def _cached(self) -> Tensor | None:
        return self._known[1] if self._known is not None and self._known[0] == self._version() else None

    def _version(self) -> tuple[int, int]:
        """Changes when query or key is written to, so that no normaliser outlives its scores."""
        # Inference tensors keep no count, and can't be written to outside inference mode.
        query, key = (0 if tensor.is_inference() else tensor._version for tensor in (self.query, self.key))
        return query, key


class TransposedMatrix:
    """Aᵀ, (..., S, L): asked by ``A.T @ x``."""

    def __init__(self, matrix: AttentionMatrix) -> None:
        self.T = matrix

    @property
    def shape(self) -> torch.Size:
        """(..., S, L)."""
        *leading, queries, keys = self.T.shape
        return torch.Size((*leading, keys, queries))

    def __matmul__(self, x: Tensor) -> Tensor:
        """Aᵀ @ x: x (..., L, m) -> (..., S, m). One fused product, differentiable in query, key and x."""
        if not isinstance(x, Tensor):
            return NotImplemented
        if x.ndim == 1:
            return (self @ x[:, None])[..., 0]
        matrix = self.T
        return kernels.choose("transpose", matrix._product("transpose", x)).to(x.dtype)


#: What answers the questions: held as query and key, or as weights.
Attention = AttentionMatrix | DenseAttention


def as_attention(given: Any) -> Attention:
    """A matrix as it is, that of a watched call, or weights (..., L, S) as a tensor or an array."""
    given = getattr(given, "matrix", given)
    if isinstance(given, AttentionMatrix | DenseAttention):
        return given
    if isinstance(given, Tensor) or hasattr(given, "__array__"):
        return DenseAttention(given)
    raise TypeError(f"wanted an AttentionMatrix, a watched call or weights (..., L, S), got {type(given).__name__}")


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Mask | Tensor | None = None,
    *,
    scale: float | None = None,
    softcap: float | None = None,
    dropout_p: float = 0.0,
    enable_gqa: bool = False,
    need_weights: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Scaled dot-product attention, softmax(mask(scale · Q Kᵀ)) V (Vaswani et al. 2017, equation 1).

    Args:
        query: (..., L, E).
        key: (..., S, E).
        value: (..., S, Ev).
        mask: as ``AttentionMatrix``; True = may attend.
        scale: None means 1/√E.
        softcap: as ``AttentionMatrix``.
        dropout_p: each weight is dropped with this probability, always: pass 0 when evaluating.
        enable_gqa: key and value may have fewer heads than the query.
        need_weights: give the weights too, (..., L, S), per head and before dropout; they cost L × S memory.

    Returns:
        The context (..., L, Ev), or (context, weights). Differentiable; where torch's fused call takes the inputs as
        they are, once only: ``AttentionMatrix(query, key) @ value`` gives gradients of gradients as well.

    >>> import torch
    >>> context, weights = attention(torch.zeros(1, 2), torch.zeros(2, 2), torch.eye(2), need_weights=True)
    >>> context
    tensor([[0.5000, 0.5000]])
    """
    if has_torch_function_variadic(query, key, value):  # a `__torch_function__` mode is active, `mirada.watch` for one
        options = {"scale": scale, "dropout_p": dropout_p, "enable_gqa": enable_gqa, "need_weights": need_weights}
        if softcap is not None:
            options["softcap"] = softcap
        return handle_torch_function(attention, (query, key, value), query, key, value, mask, **options)
    if not 0.0 <= dropout_p < 1.0:
        raise ValueError(f"dropout_p must be at least 0 and less than 1, got {dropout_p}")
    query, key, value = cast(query, key, value)
    scale = None if scale is None else checks.number("scale", scale)
    if (
        mask is None
        and softcap is None
        and not (need_weights or dropout_p or enable_gqa)
        and sdpa.takes(query, key, value)
    ):
        return kernels.fused("attention", query, key, value, scale)
    matrix = AttentionMatrix(query, key, mask, scale=scale, softcap=softcap, enable_gqa=enable_gqa)
    if not dropout_p:
        question = "weights" if need_weights else "attention"
        return kernels.choose(question, matrix._product(question, value))
    weights, value = reference.weights(matrix._scores), matrix._operand("value", value, key.shape[-2])
    context = reference.context(functional.dropout(weights, dropout_p), value)
    return (context, weights) if need_weights else context
