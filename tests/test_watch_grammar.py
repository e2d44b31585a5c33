"""Random hand-written attention: the same bits as unwatched; each matrix right, or its module named."""

from __future__ import annotations

import os
import warnings

import pytest
import torch

import mirada
from grammar import Drawn

COUNT = int(os.environ.get("MIRADA_GRAMMAR", "5000"))
CHUNK = 500


def trouble(number: int) -> str:
    """What is wrong with how one module of the grammar is watched; empty where nothing is."""
    model = Drawn(number)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = model(*model.tensors())
        given = model.tensors()
        watch = mirada.watch(model)
        try:
            with watch as records:
                watched = model(*given)
        except ValueError as error:
            return "" if "nothing was seen. the model: " in str(error) else f"silent: {error}"
        if not torch.equal(plain.nan_to_num(), watched.nan_to_num()):
            return "another output"
        if records.unseen:
            return ""
        if not len(records):
            return "silent"
        found = [record.matrix.to_dense().double() for record in records]
        whole = found[0] if len(found) == 1 else torch.stack(found, 1) if found[0].ndim == 3 else torch.cat(found, 1)
        kept = model.kept[0].double()
        if whole.shape != kept.shape and whole.numel() == kept.numel():
            whole = whole.reshape(kept.shape)
        if whole.shape != kept.shape:
            return f"shape {tuple(whole.shape)}, not {tuple(kept.shape)}"
        # A row of −inf is NaN in torch; here it attends to nothing.
        empty = (whole == 0).all(-1, keepdim=True) & kept.isnan()
        off = (whole - kept).abs().masked_fill(empty, 0.0).nan_to_num(9.0)
        off = off.masked_fill(kept.isnan() & whole.isnan(), 0.0)
        limit = 1e-5 if model.kept[0].dtype != torch.bfloat16 else 3e-2
        return "" if float(off.max()) <= limit else f"off by {float(off.max()):.2e}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", range(0, COUNT, CHUNK))
def test_it_is_the_same_to_the_bit_and_right_or_named(first):
    troubles = {n: why for n in range(first, min(first + CHUNK, COUNT)) if (why := trouble(n))}
    assert not troubles, {n: (why, Drawn_steps(n)) for n, why in list(troubles.items())[:5]}


def Drawn_steps(number: int) -> list[str]:  # noqa: N802
    model = Drawn(number)
    model(*model.tensors())
    return model.steps
