"""One watched forward pass of an open model."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from mirada.interventions import Edit
from mirada.matrix import AttentionMatrix
from mirada.models import inputs as preparing
from mirada.models.inputs import Prepared
from mirada.models.opening import OpenModel
from mirada.models.strongest import measured
from mirada.watching import Records, watch

Keep = Literal["inputs", "statistics"]
_SHARE = 0.5  # of the free memory that what is kept may take
BINS = 64


def run(
    opened: OpenModel,
    prepared: Prepared,
    *,
    keep: Keep = "inputs",
    layers: Any = None,
    heads: Any = None,
    edit: Edit | Iterable[Edit] = (),
    ask: Sequence[str] | None = None,
) -> tuple[Records, Any]:
    """A forward pass, watched: the records and the model's output.

    With ``keep="statistics"`` each head's summaries and a coarse map are kept, or what ``ask`` names.

    Raises:
        ValueError: the model can't take these inputs; no attention was seen.
    """
    given = last_only(opened, prepared.inputs)
    ids = None if prepared.text is None else prepared.text.ids
    own = {"summaries": lambda matrix: measured(matrix, ids), "map": _map}
    asked: Any = None if keep == "inputs" else own if ask is None else ask
    with torch.no_grad(), watch(opened.model, keep=keep, ask=asked, layers=layers, heads=heads, edit=edit) as records:
        try:
            output = opened.model(**given, return_dict=True)
        except (TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"{opened.title}: can't take these inputs ({', '.join(given)}): {error}") from None
    return records, output


def extended(opened: OpenModel, prepared: Prepared, count: int) -> Prepared:
    """The text and what the model writes after it, token by token, the most probable each time."""
    if count <= 0:
        return prepared
    if opened.decodes:
        return _decoded(opened, prepared, count)
    if not opened.generates or "input_ids" not in prepared.inputs:
        raise ValueError(f"{opened.title}: can't generate")
    before = prepared.inputs["input_ids"].shape[1]
    ends = _ends(opened)
    model: Any = opened.model  # of transformers
    with torch.no_grad():
        whole = model.generate(
            **prepared.inputs, max_new_tokens=count, do_sample=False, pad_token_id=min(ends, default=0)
        )
    return preparing.continued(opened, prepared, whole[0, before:].tolist())


def _decoded(opened: OpenModel, prepared: Prepared, count: int) -> Prepared:
    """What the decoder writes; the encoder runs once."""
    from transformers.modeling_outputs import BaseModelOutput

    given, ends = dict(prepared.inputs), _ends(opened)
    ids = given["decoder_input_ids"][0].tolist()
    with torch.no_grad():
        for _ in range(count):
            given["decoder_input_ids"] = torch.tensor([ids], device=opened.device)
            output = opened.model(**given, return_dict=True)
            given["encoder_outputs"] = BaseModelOutput(last_hidden_state=output.encoder_last_hidden_state)
            ids.append(int(output.logits[0, -1].argmax()))
            if ids[-1] in ends:
                break
    return preparing.with_target(opened, prepared, ids)


def _ends(opened: OpenModel) -> set[int]:
    generation = getattr(opened.model, "generation_config", None)
    ends = getattr(generation, "eos_token_id", None)
    return set() if ends is None else {ends} if isinstance(ends, int) else set(ends)


def last_only(opened: OpenModel, given: dict[str, Any]) -> dict[str, Any]:
    """Logits of the last token alone: of all tokens they take length × vocabulary."""
    known = inspect.signature(opened.model.forward).parameters
    more: dict[str, Any] = {}
    if "logits_to_keep" in known and not opened.decodes:
        more["logits_to_keep"] = 1
    if "use_cache" in known:
        more["use_cache"] = False
    return given | more


def _map(matrix: AttentionMatrix) -> Tensor:
    """The attention between 64 parts of each side, at the most: (..., r, s), rows sum to 1."""
    queries, keys = matrix.shape[-2:]
    return matrix.tile((0, queries), (0, keys), (min(BINS, queries), min(BINS, keys)))


def kept_whole(opened: OpenModel, prepared: Prepared) -> bool:
    """Whether the queries, keys and values of all layers fit into the free memory with some to spare."""
    return needed(opened, prepared) < _SHARE * free_memory(opened.device)


def needed(opened: OpenModel, prepared: Prepared) -> int:
    """Bytes that query, key and value of every layer take, at the most."""
    config = getattr(opened.config, "text_config", opened.config)
    depth = getattr(config, "num_hidden_layers", None) or getattr(config, "n_layer", None) or 12
    width = getattr(config, "hidden_size", None) or getattr(config, "n_embd", None) or 768
    tokens = 0 if prepared.text is None else len(prepared.text)
    return 3 * depth * width * tokens * opened.dtype.itemsize


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available
