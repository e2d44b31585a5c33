"""One attention call of a watched model: what is known of it at once, and the rest when it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mirada.masks import Mask
from mirada.matrix import AttentionMatrix
from mirada.watching.call import Call
from mirada.watching.keeping import Kept
from mirada.watching.masks import FlexMask

if TYPE_CHECKING:
    from mirada.watching.relevance import Relevance

#: A call, and its tensors as they are kept, by name.
KeptCall = tuple[Call, Mapping[str, Kept]]


class AttentionRecord:
    """One attention call of a watched model."""

    def __init__(
        self,
        call: Call | Callable[[], KeptCall],
        *,
        index: int,
        name: str,
        module: str,
        nth: int = 0,
        heads: tuple[int, ...] | None = None,
        dims: tuple[str, ...] | None = None,
        edits: tuple[str, ...] = (),
        answers: Mapping[str, object] | None = None,
        context: Tensor | None = None,
        kept: Mapping[str, Kept] | None = None,
        shape: torch.Size | None = None,
        masked: str | None = None,
    ) -> None:
        self.index = index
        """Its place in the order of all recorded calls."""
        self.name = name
        """The qualified name of the module that attended."""
        self.module = module
        """That module's class."""
        self.nth = nth
        """Which call of this module it was, from 0 up."""
        self.heads = heads
        """The heads that were kept, by number; None where all were."""
        self.edits = edits
        """What was changed about it."""
        self.answers: Mapping[str, object] = answers or {}
        """What ``keep="statistics"`` computed, by name."""
        self.context = context
        """The context that came out, where gradients flow through it."""
        self.crossing = False
        """Stitched: whether no step had keys of its own."""
        self._source = call
        self._kept = kept
        self._dims = dims
        if shape is not None:
            self.shape = shape
        if masked is not None:
            self.masked = masked
        self._matrix: AttentionMatrix | None = None

    @cached_property
    def _call(self) -> Call:
        """The call; without its tensors where they are kept beside it."""
        if isinstance(self._source, Call):
            return self._source
        call, self._kept = self._source()
        self.shape, self.masked = call.shape, call.masked
        return call.let_go()

    @cached_property
    def shape(self) -> torch.Size:
        """Of the matrix: (..., heads, L, S)."""
        return vars(self)["shape"] if self._call and "shape" in vars(self) else self._call.shape

    @cached_property
    def masked(self) -> str:
        """What kind of mask there was."""
        return vars(self)["masked"] if self._call and "masked" in vars(self) else self._call.masked

    @property
    def scale(self) -> float:
        """What the scores were multiplied with."""
        call = self._call
        return self.call.query.shape[-1] ** -0.5 if call.scale is None else float(call.scale)

    @property
    def dtype(self) -> torch.dtype:
        """What attention was computed in."""
        return self._call.dtype

    @property
    def dropout_p(self) -> float:
        """The dropout of the weights; the matrix is the one before it."""
        return self._call.dropout_p

    @property
    def how(self) -> str:
        """``scaled_dot_product_attention``, ``flex_attention``, ``mirada.attention`` or ``by hand``."""
        return self._call.how

    @property
    def kernel(self) -> str:
        """The kernel that torch chose."""
        return self._call.kernel

    @property
    def dims(self) -> tuple[str, ...]:
        """What each dimension before (L, S) counts: "batch", "heads", or "unknown" where nothing tells."""
        if self._dims is not None:
            return self._dims
        leading = len(self.shape) - 2
        return ("batch", "heads") if leading == 2 else ("unknown",) * leading  # torch's own layout, (N, heads, L, E)

    @property
    def kept(self) -> bool:
        """Whether its tensors are there."""
        return self._kept is None or bool(self._kept)

    @property
    def call(self) -> Call:
        """The call; ValueError where its tensors were let go, or were written to since."""
        call = self._call
        if self._kept is None:
            return call
        if not self._kept:
            raise ValueError(
                f"the tensors of {self.name!r} were let go (keep='statistics'): read .answers, "
                f"which has {', '.join(self.answers)}, or watch with keep='inputs'"
            )
        found = {what: kept.get(f"the {what} of {self.name!r}") for what, kept in self._kept.items()}
        masks = tuple(tensor for what, tensor in found.items() if what.startswith("mask"))
        tensors = {what: tensor for what, tensor in found.items() if not what.startswith("mask")}
        if "weights" in tensors:
            whole = Call.of_weights(tensors["weights"], tensors.get("value"))
            tensors |= {"query": whole.query, "key": whole.key}
        return replace(call, masks=masks, **tensors)  # type: ignore[arg-type]

    @property
    def matrix(self) -> AttentionMatrix:
        """The attention matrix, (..., heads, L, S), before dropout. Built once."""
        call = self.call  # which says whether anything was written to since
        if isinstance(call.rule, FlexMask):
            self._check_functions(call, call.rule)
        if self._matrix is None:
            self._matrix = call.matrix()
            self._matrix.dims = self.dims
        return self._matrix

    def _check_functions(self, call: Call, rule: FlexMask) -> None:
        from mirada.watching import flex

        if not flex.unchanged(rule.held):
            raise ValueError(
                f"what the mask_mod or score_mod of {self.name!r} holds was written to after the call: use .matrix "
                "inside the block, or watch with keep='statistics'"
            )
        if self._matrix is None:
            flex.check(call)

    @property
    def query(self) -> Tensor:
        """(..., heads, L, E)."""
        return self._made_of("query").query

    @property
    def key(self) -> Tensor:
        """(..., heads, S, E), with fewer heads where several queries' heads share one."""
        return self._made_of("key").key

    @property
    def value(self) -> Tensor:
        """(..., heads, S, Ev), with fewer heads where several queries' heads share one."""
        value = self.call.value
        if value is None:
            raise ValueError(f"the value of {self.name!r} is not known: it differs from query to query")
        return value

    @property
    def mask(self) -> Mask | None:
        """Which query attends to which key; None where all attend to all."""
        return self._made_of("mask").mask

    def _made_of(self, what: str) -> Call:
        call = self.call
        if call.weights is not None:
            raise ValueError(
                f"the {what} of {self.name!r} is not known: a step between product and softmax is not followed, so "
                "its weights are kept as the model formed them: use .matrix"
            )
        return call

    def grown(self, what: str, now: Kept) -> Kept:
        """A key or value that begins with this call's, kept in one memory with it; itself if it doesn't."""
        _ = self._call
        before = (self._kept or {}).get(what)
        return now if before is None else before.grow(now) or now

    def copy(self, **changed: object) -> AttentionRecord:
        """The record with some of its attributes changed."""
        twin = object.__new__(AttentionRecord)
        vars(twin).update(vars(self) | {"_matrix": None} | changed)
        return twin

    def relevance(self, score: Tensor) -> Relevance:
        """Attention × gradient for a scalar that the model computed (Chefer et al. 2021), in blocks."""
        from mirada.watching.relevance import relevances

        return relevances([self], score)[0]

    def __repr__(self) -> str:
        return f"<AttentionRecord {self.index}: {self.name or self.module}, {self.how}, shape {tuple(self.shape)}>"
