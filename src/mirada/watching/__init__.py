"""Watch the attention of any PyTorch model, as it runs, at full speed.

Nothing of the model is changed, no eager mode is asked for: while the block is open, a mode of torch sees the calls
that the thread makes, and query, key and mask of each are kept. What was seen are attention matrices to be asked.

>>> import torch, mirada
>>> model = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True)
>>> with mirada.watch(model) as records:
...     context = model(torch.randn(1, 5, 8))
>>> records[0].name, tuple(records["self_attn"].matrix.shape)
('self_attn', (1, 2, 5, 5))
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import nn

from mirada.watching.edits import Edit
from mirada.watching.record import AttentionRecord
from mirada.watching.records import Records
from mirada.watching.relevance import Relevance
from mirada.watching.report import UnseenAttention
from mirada.watching.session import Keep, Watch
from mirada.watching.statistics import Question

__all__ = ["AttentionRecord", "Records", "Relevance", "UnseenAttention", "watch"]


def watch(
    model: nn.Module,
    *,
    keep: Keep = "inputs",
    ask: Iterable[str] | Mapping[str, Question] | None = None,
    layers: int | str | Iterable[int | str] | None = None,
    heads: int | Iterable[int] | None = None,
    device: str | torch.device | None = None,
    edit: Edit | Iterable[Edit] = (),
) -> Watch:
    """A block in which every attention call of a model is seen: ``with mirada.watch(model) as records: model(x)``.

    Recorded are ``F.scaled_dot_product_attention``, the attention of ``torch.nn`` and transformers, FlexAttention, and
    product, softmax, product written out in torch. Compiled modules run eagerly in the block. The model's output stays
    the same to the bit where it calls ``F.scaled_dot_product_attention`` itself.

    Args:
        model: the model, or the part of it that is of interest.
        keep: ``"inputs"``: query, key, value and mask of each call, by reference, or copied where the model writes into
            their memory. ``"statistics"``: the answers to ``ask`` only, so that nothing of length × width stays.
        ask: with ``keep="statistics"``: names out of "entropy", "received", "map" (all three if left out), or
            ``{name: function of an AttentionMatrix}``.
        layers: which modules: names, names with wildcards, or numbers of blocks (``[0, 5]``). All if left out.
        heads: which heads are kept. All if left out.
        device: where what is kept goes; to ``"cpu"``, say, while the model runs elsewhere. Gradients don't follow.
        edit: what to change: one or several of ``mirada.interventions``: ``ablate``, ``knock_out_edges``, ``uniform``.

    Raises:
        ValueError: at once for layers that the model lacks; at a call for a head that it lacks or an edit that doesn't
            fit; at the end of the block where nothing was seen or an edit met nothing.
        TypeError: a model that is no ``torch.nn.Module``.

    Warns:
        UnseenAttention: at the end, where a module that seems to be an attention ran and wasn't seen, with the way out.
    """
    return Watch(model, keep=keep, ask=ask, layers=layers, heads=heads, device=device, edit=edit)
