"""A run as the page carries it: its settings and its parameters' numbers, for the models of `static/`."""

from __future__ import annotations

import base64
from typing import Any

import torch

from mirada.experiment import Run
from mirada.systems import patches


def carried(run: Run) -> dict[str, Any]:
    """What `modelOf` of `static/models.js` makes a model of.

    Returns:
        A dictionary for JSON: the system, what of its settings the model depends on, `shapes` as [name, shape] of every
        parameter and buffer, and `numbers`, all of them as float32 (little-endian) in base64.

    Raises:
        ValueError: the page has no such model: its system or its settings are not among those that it computes.
    """
    state = {name: tensor.detach().cpu().float() for name, tensor in run.model.state_dict().items()}
    numbers = torch.cat([tensor.flatten() for tensor in state.values()]).numpy().astype("<f4").tobytes()
    return {
        "system": run.name,
        **_settings(run),
        "shapes": [[name, list(tensor.shape)] for name, tensor in state.items()],
        "numbers": base64.b64encode(numbers).decode(),
    }


def _settings(run: Run) -> dict[str, Any]:
    settings, model = run.settings, run.model
    match run.name:
        case "counting":
            return {}
        case "pixels":
            return {"size": list(run.data.images.size), "classes": list(run.data.images.classes)}
        case "patches" if settings.model in ("mlp", "wide", "narrow", "block"):
            about = {"model": settings.model, "size": list(run.data.size), "classes": list(run.data.classes)}
            if isinstance(model, patches.MLP):
                return about
            attend: Any = model.blocks[0].attend if isinstance(model, patches.Transformer) else model.attend
            return {**about, "patch": _side(run), "heads": attend.heads, "positions": "places"}
        case "squares":
            return {"attention": settings.attention, "heads": settings.heads}
    raise _unknown(run)


def _side(run: Run) -> int:
    """Pixels a side of a patch: the page's model cuts squares."""
    high, wide = patches.size_of_patch(run.settings, run.data.size)
    if high != wide:
        raise _unknown(run)
    return high


def _unknown(run: Run) -> ValueError:
    return ValueError(f"run={run.folder.path}: a page computes no {run.name} with these settings; use mirada view")
