"""What a mask answers, and when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Mask(ABC):
    """A rule that says which query may attend to which key.

    Made by the functions of `mirada.masks`. A matrix first *fits* a mask: sizes are checked, and the mask's own tensors
    get the matrix's leading dimensions, so that they broadcast and can be indexed together with it. Only a fitted mask
    answers ``visible`` and ``bias``.
    """

    @property
    def additive(self) -> bool:
        """Whether the mask adds numbers to the scores (a floating mask, or a combination that holds one)."""
        return False

    @property
    def same_for_all_queries(self) -> bool:
        """Whether all queries attend to the same keys, so that one row says it all."""
        return False

    @property
    def requires_grad(self) -> bool:
        """Whether gradients flow into the mask: a learned bias."""
        return False

    @property
    def is_tensor(self) -> bool:
        """Whether the mask, or a part of it, is held as a tensor of queries × keys."""
        return False

    @property
    def exact_ranges(self) -> bool:
        """Whether ``keys_seen`` is exact: each key of the range is seen by one of the queries."""
        return False

    @abstractmethod
    def fit(self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None) -> Mask:
        """This mask for a matrix of shape (*leading, queries, keys); ValueError where the sizes disagree."""

    @abstractmethod
    def visible(self, i: Tensor, j: Tensor) -> Tensor:
        """Whether query ``i`` may attend to key ``j``: bool, broadcastable to (*leading, *broadcast(i, j))."""

    def bias(self, i: Tensor, j: Tensor) -> Tensor | None:
        """What is added to the scaled score of query ``i`` and key ``j``; None where the mask adds nothing."""
        return None

    def pick(self, leading: Sequence[int], index: Any) -> Mask:
        """The fitted mask for ``matrix[index]``, where ``leading`` are the matrix's leading dimensions."""
        return self

    def keys_seen(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        """A range of keys outside of which queries start … stop − 1 see nothing. May be too wide, never too narrow."""
        return 0, keys

    def keys_seen_by_all(self, start: int, stop: int, keys: int) -> tuple[int, int]:
        """A range of keys that each of queries start … stop − 1 may attend to, nothing added. May be too narrow."""
        return 0, 0

    def queries_seeing(self, start: int, stop: int, queries: int) -> tuple[int, int]:
        """A range of queries outside of which no query attends to keys start … stop − 1."""
        return 0, queries

    def block(self, rows: slice, columns: slice, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """``visible`` and ``bias`` of a rectangle, each broadcastable to (*leading, rows, columns)."""
        i = torch.arange(rows.start, rows.stop, device=device)[:, None]
        j = torch.arange(columns.start, columns.stop, device=device)
        return self.visible(i, j), self.bias(i, j)

    def materialise(
        self, leading: Sequence[int], queries: int, keys: int, device: torch.device | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """The whole mask as tensors: ``visible`` (bool) and ``bias`` (floating, or None).

        Both broadcast to (*leading, queries, keys). For pictures and small matrices; costs queries × keys.
        """
        fitted = self.fit(leading, queries, keys, device)
        return fitted.block(slice(0, queries), slice(0, keys), device or torch.device("cpu"))

    # Combinations are masks, so their file comes after this one.
    def __and__(self, other: Mask | Tensor) -> Mask:
        from mirada.masks.combined import both

        return both(self, other)

    def __or__(self, other: Mask | Tensor) -> Mask:
        from mirada.masks.combined import either

        return either(self, other)

    def __invert__(self) -> Mask:
        from mirada.masks.combined import opposite

        return opposite(self)

    __rand__ = __and__
    __ror__ = __or__
