"""`mirada.attention`, which may take kernels that call no function of torch which a mode could see."""

from __future__ import annotations

import sys

from torch import Tensor

from mirada.kernels.autocast import computed_in
from mirada.masks import Mask
from mirada.watching.call import Call
from mirada.watching.functorch import unseen


def read(
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
) -> Call:
    """The call that these arguments make."""
    return Call(
        query,
        key,
        value,
        masks=(mask,) if isinstance(mask, Tensor) else (),
        rule=None if isinstance(mask, Tensor) else mask,
        scale=scale,
        softcap=softcap,
        enable_gqa=enable_gqa,
        dropout_p=dropout_p,
        how="mirada.attention",
        dtype=computed_in(query),
    )


def weights(call: Call) -> Tensor:
    """The weights of an edited call, as `need_weights` gives them: (*leading, L, S), in the dtype of the query."""
    with unseen():
        return call.matrix().to_dense(limit=sys.maxsize).to(call.query.dtype)
