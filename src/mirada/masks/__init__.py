"""Which query may attend to which key.

A mask is a rule, not a matrix: it answers for any block of queries and keys, so that it costs nothing to hold at any
length. True means "may attend", everywhere. Rules combine with ``&``, ``|`` and ``~``:

>>> from mirada import masks
>>> rule = masks.causal(4) & ~masks.sliding_window(0, 0)  # the past, without oneself
>>> visible, _ = rule.materialise((), queries=4, keys=4)
>>> visible.int().tolist()
[[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]

A floating mask is added to the scaled scores instead; −inf in it hides. It combines with ``&`` only.
"""

from __future__ import annotations

from mirada.masks.causal import causal, is_causal
from mirada.masks.dense import as_mask, dense
from mirada.masks.documents import documents
from mirada.masks.mask import Mask
from mirada.masks.padding import padding
from mirada.masks.sliding_window import sliding_window

__all__ = ["Mask", "as_mask", "causal", "dense", "documents", "is_causal", "padding", "sliding_window"]
