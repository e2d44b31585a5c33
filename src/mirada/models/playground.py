"""The live page of a model: a text is run as it is typed, heads and edges are switched off, tokens are written.

The page sends an object with ``do``:

==============  ==============================================================  =====================================
do              what it sends                                                   what it gets
==============  ==============================================================  =====================================
``run``         ``text``, ``chat``, ``written`` (token ids), ``off`` ([layer,   ``version``, ``about`` (the scene),
                head] pairs), ``cut`` ([query, key] pairs), ``temperature``,    ``says``, ``predictions``, ``written``,
                ``top``, ``tab``, ``turn``, ``beside``: another text, or null   ``next``: a token drawn among the top
``importance``  ``text``, ``chat``, ``written``, ``off``, ``cut``               ``values``: for each layer its heads
``effect``      the same, and ``layer``                                         ``values``: for each head of the layer
==============  ==============================================================  =====================================

Numbers of a scene are asked with its ``version``; the latest few scenes are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from mirada.interventions import Edit, ablate, knock_out_edges
from mirada.masks import dense
from mirada.models import inputs as preparing
from mirada.models import running
from mirada.models.inputs import Prepared, prepare
from mirada.models.opening import OpenModel
from mirada.models.predictions import named, piece, scores
from mirada.models.requests import MOST_TOKENS, Request, integer, read
from mirada.models.scenes import scene_of
from mirada.viewer.compare import joined
from mirada.viewer.playground import Trial
from mirada.viewer.queries import Answers, OutdatedError
from mirada.viewer.scene import Scene
from mirada.watching import Records, watch

NAME = "language"
_KEPT = 8
"""Scenes whose numbers can still be asked."""


@dataclass(frozen=True, eq=False)
class Ran:
    """One forward pass."""

    name: str
    prepared: Prepared
    records: Records
    found: dict[str, Tensor]
    """The logits of what is predicted."""
    text: str | None = None
    """What stands in the text box; None: the input is no text, and stays."""


@dataclass(frozen=True, eq=False)
class Beginning:
    """What a page begins with, as it was recorded."""

    start: Prepared
    """The input, before anything was written after it."""
    ran: Ran
    chat: bool
    edits: tuple[Edit, ...]
    """Hold for all that the page runs."""
    beside: Ran | None = None
    """Another text's pass, to be compared with."""

    @property
    def written(self) -> tuple[int, ...]:
        """The tokens that were written after the input."""
        part = "text" if self.ran.prepared.target is None else "target"
        before, after = getattr(self.start, part), getattr(self.ran.prepared, part)
        return () if after is None else after.ids[len(before) :]


class Playground(Answers):
    """Answers a live page of a model, from any number of threads and tabs; one forward pass at a time."""

    def __init__(self, opened: OpenModel, beginning: Beginning, scene: Scene, **watched: Any) -> None:
        super().__init__(scene)
        self._opened, self._begun, self._watched = opened, beginning, watched
        self._layers = [(record.name, record.nth, record.shape) for record in beginning.ran.records]
        self._scenes: OrderedDict[int, Answers] = OrderedDict()
        self._model, self._book = Lock(), Lock()
        self._latest: OrderedDict[str, int] = OrderedDict()
        self._count = 0
        self._before: tuple[Any, Ran] | None = None

    def trial(self) -> Trial:
        """What the page is offered."""
        begun, now, other = self._begun, self._begun.ran, self._begun.beside
        first = Request(now.text, begun.chat, begun.written, (), (), 1.0, 6, "", 0)
        self._before = (_of_text(first), now)
        shown = {
            "first": self._answered(now.found, None if other is None else other.found, first),
            "text": now.text,
            "chat": bool(getattr(self._opened.tokenizer, "chat_template", None)),
            "chatting": begun.chat,
            "written": list(begun.written),
            "mask": getattr(self._opened.tokenizer, "mask_token", None),
            "generates": self._opened.generates or self._opened.decodes,
            "beside": None if other is None else {"text": other.text, "chat": begun.chat, "written": []},
            "heads": [shape[-3] if len(shape) > 2 else 1 for *_, shape in self._layers],
        }
        return Trial(NAME, self.tried, shown)

    def answer(self, question: str, given: Mapping[str, Any]) -> bytes:
        """A number of one of the latest scenes."""
        if "version" not in given:
            return super().answer(question, given)  # the scene that a page begins with
        version = given["version"]
        with self._book:
            answers = self._scenes.get(int(version) if str(version).isdecimal() else -1)
        if answers is None:
            raise OutdatedError("this text is no longer the latest one")
        return answers.answer(question, given)

    def close(self) -> None:
        """Give up what is being computed."""
        super().close()
        for answers in self._scenes.values():
            answers.close()

    def tried(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the page gets after something was typed or switched.

        Raises:
            ValueError: something in it is missing, of the wrong kind, or too much.
        """
        request, do = read(given), given.get("do")
        if do == "run":
            return self._run(request)
        if do == "importance":
            with self._model:
                return {"values": self._importance(request)}
        if do == "effect":
            layer = integer(given, "layer", len(self._layers))
            with self._model:
                return {"values": self._effects(request, layer)}
        raise ValueError(f"nothing is called {str(do)[:20]!r}")

    # --- what is asked for ---

    def _run(self, request: Request) -> dict[str, Any]:
        self._note(request)
        with self._model:
            if self._superseded(request):
                raise ValueError("a later text of this page came meanwhile")
            prepared = self._prepared(request)
            switched = bool(request.off or request.cut)
            other = self._of_another(request) if request.beside else None
            if other is None and switched:
                other = self._unedited(request, prepared)
            name = "after" if request.beside is None else called(request.text)
            now = self._ran(name, prepared, self._edits(request))
            if not switched:
                self._before = (_of_text(request), now)
        shown, says = self._scene(now, other)
        answers = Answers(shown)
        version = self._keep(answers)
        before = None if other is None else other.found
        answered = self._answered(now.found, before, request)
        return {"version": version, "about": answers.about(), "says": says, **answered}

    def _ran(self, name: str, prepared: Prepared, edits: Sequence[Edit]) -> Ran:
        records, output = running.run(self._opened, prepared, edit=edits, **self._watched)
        return Ran(name, prepared, records, scores(self._opened, prepared, output))

    def _scene(self, now: Ran, other: Ran | None) -> tuple[Scene, str]:
        """What is shown: one text, or two to be compared; and why two can't be."""
        title = self._opened.title
        counts = [len(ran.prepared.text) for ran in (other, now) if ran is not None and ran.prepared.text is not None]
        if len(set(counts)) > 1:
            says = f"{counts[0]} and {counts[1]} tokens: maps are compared of texts of equal length."
            return shown_of(now, title=title), says
        try:
            return shown_of(now, other, title=title), ""
        except ValueError as error:
            return shown_of(now, title=title), str(error)

    def _answered(self, found: dict[str, Tensor], before: dict[str, Tensor] | None, request: Request) -> dict[str, Any]:
        return {
            "predictions": [
                self._predicted(what, row, before.get(what) if before else None, request) for what, row in found.items()
            ],
            "written": [piece(self._opened, one) for one in request.written],
            "next": _drawn(next(iter(found.values())), request) if found else None,
        }

    def _predicted(self, what: str, row: Tensor, before: Tensor | None, request: Request) -> dict[str, Any]:
        """The most probable tokens of a distribution, and how probable they were before anything was switched off."""
        after = torch.softmax(row / request.temperature, -1)
        ids = after.topk(min(request.top, len(after))).indices
        earlier = None
        if before is not None:
            whole = torch.softmax(before / request.temperature, -1)
            # What was most probable stays in sight when it no longer is.
            ids = torch.cat([ids, whole.topk(min(3, len(whole))).indices]).unique()
            ids = ids[after[ids].argsort(descending=True)]
            earlier = whole[ids].tolist()
        return {
            "what": what,
            "ids": ids.tolist(),
            "labels": named(self._opened, what, ids.tolist()),
            "probabilities": after[ids].tolist(),
            "before": earlier,
        }

    def _importance(self, request: Request) -> list[list[float]]:
        prepared = self._prepared(request)
        with torch.enable_grad(), watch(self._opened.model, edit=self._edits(request)) as records:
            output = self._opened.model(**running.last_only(self._opened, prepared.inputs), return_dict=True)
        values = records.importance(_score(scores(self._opened, prepared, output)))
        by_call = {(record.name, record.nth): row.tolist() for record, row in zip(records, values, strict=True)}
        return [by_call[name, nth] for name, nth, _ in self._layers]

    def _effects(self, request: Request, layer: int) -> list[float]:
        """By how much the score falls when each head of a layer is ablated."""
        prepared, edits = self._prepared(request), self._edits(request)
        name, _, shape = self._layers[layer]
        whole = self._scored(prepared, edits)
        best = whole.argmax()
        start = whole.log_softmax(-1)[best]
        return [
            float(start - self._scored(prepared, [*edits, ablate(layers=name, heads=head)]).log_softmax(-1)[best])
            for head in range(shape[-3])
        ]

    # --- what they need ---

    def _scored(self, prepared: Prepared, edits: list[Edit]) -> Tensor:
        _, output = running.run(self._opened, prepared, keep="statistics", edit=edits, ask=())
        found = scores(self._opened, prepared, output)
        if not found:
            raise ValueError("the model predicts nothing here")
        return next(iter(found.values()))

    def _prepared(self, request: Request) -> Prepared:
        prepared = self._begun.start
        if request.text is not None and self._begun.ran.text is not None:
            prepared = prepare(self._opened, request.text, chat=request.chat)
        if request.written:
            self._check_written(request)
            if prepared.target is not None:
                prepared = preparing.with_target(self._opened, prepared, [*prepared.target.ids, *request.written])
            else:
                prepared = preparing.continued(self._opened, prepared, list(request.written))
        if prepared.text is not None and len(prepared.text) > MOST_TOKENS:
            raise ValueError(f"{len(prepared.text)} tokens: up to {MOST_TOKENS} are run as they are typed")
        return prepared

    def _check_written(self, request: Request) -> None:
        model: Any = self._opened.model  # of transformers
        known = model.get_input_embeddings().num_embeddings
        unknown = [one for one in request.written if one >= known]
        if unknown:
            raise ValueError(f"written: there is no token {unknown[0]}")

    def _unedited(self, request: Request, prepared: Prepared) -> Ran:
        """The pass without what is switched off, found once for a text."""
        if self._before is None or self._before[0] != _of_text(request):
            self._before = (_of_text(request), self._ran("before", prepared, self._begun.edits))
        return replace(self._before[1], name="before")

    def _of_another(self, request: Request) -> Ran:
        """The pass of the text beside, with the same heads off."""
        beside = request.beside
        assert beside is not None
        return self._ran(called(beside.text), self._prepared(beside), self._edits(replace(request, cut=())))

    def _edits(self, request: Request) -> list[Edit]:
        heads: dict[str, list[int]] = {}
        for layer, head in request.off:
            if not (layer < len(self._layers) and head < self._layers[layer][2][-3]):
                raise ValueError(f"off: there is no head {layer}.{head}")
            heads.setdefault(self._layers[layer][0], []).append(head)
        edits = [ablate(layers=name, heads=sorted(set(off))) for name, off in heads.items()]
        return [*self._begun.edits, *edits, *self._cuts(request)]

    def _cuts(self, request: Request) -> list[Edit]:
        if not request.cut:
            return []
        prepared = self._prepared(request)
        tokens = prepared.text if prepared.target is None else prepared.target
        size = 0 if tokens is None else len(tokens)
        allowed = torch.ones(size, size, dtype=torch.bool, device=self._opened.device)
        for query, key in request.cut:
            if not (query < size and key < size):
                raise ValueError(f"cut: {query} → {key} is not within the text's {size} tokens")
            allowed[query, key] = False
        square = [name for name, _, shape in self._layers if shape[-1] == shape[-2] and not _of_tower(name, prepared)]
        return [knock_out_edges(dense(allowed), layers=list(dict.fromkeys(square)))]

    def _keep(self, answers: Answers) -> int:
        with self._book:
            self._count += 1
            self._scenes[self._count] = answers
            while len(self._scenes) > _KEPT:
                self._scenes.popitem(last=False)[1].close()
            return self._count

    def _note(self, request: Request) -> None:
        with self._book:
            self._latest[request.tab] = max(request.turn, self._latest.get(request.tab, 0))
            self._latest.move_to_end(request.tab)
            while len(self._latest) > 64:
                self._latest.popitem(last=False)

    def _superseded(self, request: Request) -> bool:
        with self._book:
            return self._latest.get(request.tab, 0) > request.turn


def _of_tower(name: str, prepared: Prepared) -> bool:
    """Whether a layer is an encoder's beside a decoder, or an image's."""
    return (prepared.target is not None and "decoder" not in name) or (
        prepared.patches is not None and any(part in name for part in ("vision", "visual"))
    )


def shown_of(now: Ran, other: Ran | None = None, *, title: str, notes: tuple[str, ...] = ()) -> Scene:
    """The scene of one pass, or of two that are compared.

    Raises:
        ValueError: two whose layers have different shapes.
    """
    shown = scene_of(now.records, now.prepared, title=title, notes=notes)
    if other is None:
        return shown
    name = other.name if other.name != now.name else "kept text"
    return joined({name: scene_of(other.records, other.prepared, title=title), now.name: shown})


def called(text: str | None) -> str:
    """A text by its end, where two texts mostly differ."""
    text = " ".join((text or "").split())
    return f"…{text[-28:]}" if len(text) > 30 else text


def _of_text(request: Request) -> Any:
    return request.text, request.chat, request.written


def _score(found: dict[str, Tensor]) -> Tensor:
    """The log-probability of the most probable token or class."""
    if not found:
        raise ValueError("the model predicts nothing here")
    row = next(iter(found.values()))
    return row.log_softmax(-1)[row.argmax()]


def _drawn(row: Tensor, request: Request) -> int:
    """A token drawn among the most probable."""
    best = (row / request.temperature).topk(min(request.top, len(row)))
    return int(best.indices[torch.multinomial(best.values.softmax(-1), 1)])
