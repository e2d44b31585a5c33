"""Who may look at whom.

A mask is a rule, not a matrix: it answers for any block of queries and keys, so that it costs nothing to hold at any
length. True means "may look", everywhere. Rules combine with ``&``, ``|`` and ``~``:

>>> from mirada import masks
>>> rule = masks.causal(4) & ~masks.sliding_window(0, 0)  # the past, without oneself
>>> visible, _ = rule.materialise((), queries=4, keys=4)
>>> visible.int().tolist()
[[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]

A floating mask is added to the scaled scores instead; −inf in it hides. It combines with ``&`` only.
"""

from __future__ import annotations

from mirada.masks.mask import Mask
from mirada.masks.rules import causal, documents, is_causal, padding, sliding_window
from mirada.masks.written import as_mask, dense

__all__ = ["Mask", "as_mask", "causal", "dense", "documents", "is_causal", "padding", "sliding_window"]
