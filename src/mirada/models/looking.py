"""`mirada.look`: a transformers model, its input, and the view of what it attends to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mirada.interventions import Edit
from mirada.models import running
from mirada.models.inputs import Prepared, prepare
from mirada.models.opening import OpenModel, open_model, with_readers
from mirada.models.playground import NAME, Beginning, Playground, Ran, called, shown_of
from mirada.models.predictions import Prediction, predictions, scores
from mirada.models.running import Keep
from mirada.models.sides import sides
from mirada.models.strongest import Head, measured, short, strongest
from mirada.viewer import View
from mirada.viewer.queries import Answers

DECODED = 20
"""Tokens that a decoder beside an encoder writes where `generate` is left out."""


class ModelView(View):
    """The view of a model's attention on one input; made by `mirada.look`."""

    def __init__(
        self,
        opened: OpenModel,
        beginning: Beginning,
        notes: Sequence[str] = (),
        **watched: Any,
    ) -> None:
        now = beginning.ran
        super().__init__(shown_of(now, beginning.beside, title=opened.title, notes=tuple(notes)))
        self._live = Playground(opened, beginning, self.scene, **watched)
        self.trials = {NAME: self._live.trial()}
        self.opened = opened
        self.prepared = now.prepared
        self.records = now.records
        """Every attention call, as `mirada.watch` records it."""
        self.predictions: list[Prediction] = predictions(opened, now.found)
        """The next token, the tokens behind masks, or the class, most probable first."""
        self.notes = tuple(notes)

    def answers(self) -> Answers:
        """The playground: runs the model again for a live page."""
        return self._live

    def summaries(self) -> dict[str, dict[str, Tensor]]:
        """The summaries (heads,) of each layer, by its short name."""
        return {
            name: _measured(record, self.prepared)
            for name, record in zip(short(r.name for r in self.records), self.records, strict=True)
        }

    def strongest(self, count: int = 5) -> dict[str, list[Head]]:
        """The strongest heads of each summary."""
        return strongest(self.summaries(), count)


def look(
    model: str | os.PathLike[str] | nn.Module | OpenModel,
    inputs: Any = None,
    *,
    tokenizer: Any = None,
    image: Any = None,
    sound: Any = None,
    chat: bool = False,
    compare: str | None = None,
    generate: int | None = None,
    layers: Any = None,
    heads: Any = None,
    edit: Edit | Sequence[Edit] = (),
    keep: Keep | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    revision: str | None = None,
) -> ModelView:
    """Open a transformers model and see what it attends to on one input.

    Args:
        model: a folder, a ``.gguf`` file or a hub name; or a model that is open already.
        inputs: a text; the path, PIL image, pixels (H, W, 3) or samples (n,) of a model of images or sound; or a
            mapping of the model's own inputs, for one example.
        tokenizer: of a model that is open already: tokenizer, image processor, feature extractor, or processor.
        image: beside the text, for a model that takes both.
        sound: beside the text, for a model that takes both.
        chat: the text is what a user says; the tokenizer's chat template goes around it.
        compare: another text of as many tokens: its maps are shown beside those of the text, with what changes from it.
        generate: so many tokens are written after the text first, the most probable each time. 0 if left out; 20 for a
            decoder beside an encoder.
        layers: as of `mirada.watch`.
        heads: as of `mirada.watch`.
        edit: interventions, as of `mirada.watch`; they hold for the watched pass, not for ``generate``.
        keep: ``"inputs"``: every weight can be shown; ``"statistics"``: a coarse map and summaries of each head. If
            left out, statistics where the inputs would not fit into memory, and the view says so.
        device: where the model goes; the CPU if left out.
        dtype: "auto", "float32", "bfloat16", …; float32 on the CPU if left out.
        revision: of a hub name.

    Returns:
        A `View`, with ``records``, ``predictions`` and ``strongest()``.

    Raises:
        ValueError: no such model, pickled weights, a model that needs its own code, no tokenizer, a text of 0 tokens,
            no image, an input that the model doesn't take, texts of different lengths to be compared.
        RuntimeError: the extra `models` (transformers) is missing.
    """
    opened = _opened(model, tokenizer, device=device, dtype=dtype, revision=revision)
    start = prepare(opened, inputs, image=image, sound=sound, chat=chat)
    given = isinstance(inputs, Mapping) and "decoder_input_ids" in inputs
    count = generate if generate is not None else DECODED if opened.decodes and not given else 0
    prepared = running.extended(opened, start, count)
    notes = []
    if keep is None:
        keep = "inputs" if running.kept_whole(opened, prepared) else "statistics"
        if keep == "statistics":
            size = running.needed(opened, prepared) / 2**30
            notes.append(
                f"Too long to keep whole ({size:.1f} GiB): a map of 64 × 64 parts of each head (or keep='inputs')."
            )

    def ran(name: str, prepared: Prepared, text: str | None) -> Ran:
        records, output = running.run(opened, prepared, keep=keep, layers=layers, heads=heads, edit=edit)
        return Ran(name, prepared, records, scores(opened, prepared, output), text)

    text = inputs if isinstance(inputs, str) and prepared.text is not None and prepared.image is None else None
    edits = (edit,) if isinstance(edit, Edit) else tuple(edit)
    beside = None
    if compare is not None:
        other = _counterpart(opened, start, text, compare, chat)
        beside = ran(called(compare), running.extended(opened, other, count), compare)
    beginning = Beginning(start, ran(called(text), prepared, text), chat, edits, beside)
    return ModelView(opened, beginning, notes, layers=layers, heads=heads)


def _counterpart(opened: OpenModel, start: Prepared, text: str | None, compare: str, chat: bool) -> Prepared:
    """The inputs of the text that is compared with; it has as many tokens."""
    if text is None or start.text is None:
        raise ValueError("compare: texts are compared, and the input is not one")
    other = prepare(opened, compare, chat=chat)
    assert other.text is not None
    if len(start.text) != len(other.text):
        raise ValueError(
            f"compare: {called(compare)!r} has {len(other.text)} tokens, {called(text)!r} has {len(start.text)}: "
            "maps are compared of texts of equal length"
        )
    return other


def _opened(model: Any, tokenizer: Any, **where: Any) -> OpenModel:
    if isinstance(model, OpenModel):
        return model
    if isinstance(model, nn.Module):
        unused = [name for name, value in where.items() if value is not None]
        if unused:
            raise ValueError(f"{unused[0]}: the model is open already, it goes with a name or folder")
        return with_readers(model, tokenizer)
    opened = open_model(model, **where)
    return opened if tokenizer is None else with_readers(opened.model, tokenizer, opened.title)


def _measured(record: Any, prepared: Prepared) -> dict[str, Tensor]:
    if not record.kept:
        return dict(record.answers["summaries"])
    with torch.no_grad():
        return measured(record.matrix, sides(record.name, record.shape[-2], record.shape[-1], prepared).ids)
