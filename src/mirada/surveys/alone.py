"""The record of one text of a batch, without its padding: what one's own summaries are asked of."""

from __future__ import annotations

import torch
from torch import Tensor

from mirada.matrix import AttentionMatrix
from mirada.watching import AttentionRecord


def alone(record: AttentionRecord, matrix: AttentionMatrix, text: int, real: Tensor) -> AttentionRecord:
    """The record of one text; itself where there is nothing else in it.

    Args:
        record: of a batch.
        matrix: its matrix, (texts, heads, L, S).
        text: which one.
        real: (L,) bool, the queries that are not padding. Where keys are the same tokens, theirs is left out too.
    """
    if matrix.shape[0] == 1 and bool(real.all()):
        return record
    scores = matrix._scores.part((slice(text, text + 1),))
    at = real.nonzero()[:, 0]
    if len(at) and bool(real.all()):
        rows = slice(0, len(real))
    else:
        rows = slice(int(at[0]), int(at[-1]) + 1) if len(at) else slice(0, 0)
    columns = rows if matrix.shape[-2] == matrix.shape[-1] else slice(0, matrix.shape[-1])
    cut = AttentionMatrix._of(scores.rectangle(rows, columns))
    cut.dims = record.dims
    return record.copy(_matrix=cut, shape=torch.Size(cut.shape))
