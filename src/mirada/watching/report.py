"""What was seen, as a table; what was not, by name and with the way out."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence

import torch
import torch.fx
from rich.console import Group, RenderableType
from rich.table import Table
from torch import nn

from mirada.tables import plain_text
from mirada.watching.edits import Edit
from mirada.watching.records import Records

_MOST = 40  # calls in a table: a long generation has thousands


class UnseenAttention(UserWarning):
    """A module that seems to be an attention ran in a watched block, and its attention was not seen."""


def table(records: Records) -> str:
    """The records as text."""
    grid = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for column in ("", "name", "module", "heads", "L × S", "mask", "kernel"):
        grid.add_column(column, no_wrap=True, justify="right" if column in ("", "heads", "L × S") else "left")
    shown = list(records)[:_MOST]
    for record in shown:
        heads = str(record.shape[-3]) if len(record.shape) > 3 else "–"
        size = f"{record.shape[-2]} × {record.shape[-1]}"
        kernel = record.kernel + "".join(f", {edit}" for edit in record.edits)
        name = record.name or "(the model)"
        grid.add_row(str(record.index), name, record.module, heads, size, record.masked or "–", kernel)
    lines: list[RenderableType] = [grid] if shown else ["nothing seen so far"]
    if len(records) > _MOST:
        lines.append(f"and {len(records) - _MOST} more calls of {len(records.names())} modules in all")
    if records.left_out:
        lines.append(f"left out by layers: {records.left_out} calls")
    lines += [f"NOT SEEN {name or '(the model)'}: {why}" for name, why in records.unseen.items()]
    return plain_text(Group(*lines), width=160)


def account(
    records: Records,
    model: nn.Module,
    *,
    ran: bool,
    elsewhere: bool,
    outside: int,
    left_out: Collection[str],
    idle: Sequence[Edit],
) -> None:
    """Raises where nothing was seen or an edit changed nothing; warns where something was not seen."""
    unseen = "; ".join(f"{name or 'the model'}: {why}" for name, why in _few(records.unseen).items())
    if not records and left_out:
        raise ValueError(f"layers left out every attention call; there were some in {', '.join(_few(left_out))}")
    if not records and unseen:
        raise ValueError(f"nothing was seen. {unseen}. {remedy(model)}")
    if not records:
        raise ValueError(_why_nothing(model, ran, elsewhere, outside))
    if idle:
        raise ValueError(f"edit changed nothing: no attention was seen in layers {idle[0].layers or 'of the model'}")
    if unseen:
        warnings.warn(f"some attention was not seen. {unseen}. {remedy(model)}", UnseenAttention, stacklevel=4)


def remedy(model: nn.Module) -> str:
    """What to do, so that it is seen."""
    if _has(model, torch.jit.ScriptModule):
        return "Scripted and traced modules don't show what they call: watch the model that they were made of"
    if _has(model, torch.fx.GraphModule):
        return "Exported modules don't show what they call: watch the model that was exported"
    chosen = getattr(getattr(model, "config", None), "_attn_implementation", None)
    if chosen not in (None, "sdpa") and getattr(model, "_supports_sdpa", False):
        return f"The model was loaded with attn_implementation={chosen!r}: load it with attn_implementation='sdpa'"
    return (
        "Recorded are F.scaled_dot_product_attention, torch.nn's attention, FlexAttention, and product, softmax, "
        "product written out in torch: write this module's attention as one of them"
    )


def _why_nothing(model: nn.Module, ran: bool, elsewhere: bool, outside: int) -> str:
    if elsewhere and not ran:
        return "nothing was seen: the model ran in another thread; enter the watch in the thread that calls the model"
    if not ran and _has(model, torch.jit.ScriptModule):
        return f"nothing was seen. {remedy(model)}"
    if not ran and outside:
        return (
            f"nothing was seen: {outside} attention calls were made, none within the modules of this model; "
            "call model(x), not model.forward(x), and watch the model that runs"
        )
    if not ran:
        return (
            "nothing was seen: the model did not run in the block, or only a part of it in which nothing attends that "
            "can be seen"
        )
    return f"nothing was seen: {type(model).__name__} ran, and it has no attention that is called so. {remedy(model)}"


def _has(model: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in model.modules())


def _few(things: Collection[str]) -> dict[str, str]:
    """The first few of many names."""
    pairs = dict(things) if isinstance(things, dict) else dict.fromkeys(sorted(things), "")
    few = dict(list(pairs.items())[:6])
    return few if len(pairs) == len(few) else few | {f"and {len(pairs) - len(few)} more": "likewise"}
