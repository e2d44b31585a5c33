"""What a live view asks, answered by the matrices themselves: float32 numbers, as bytes.

| question | parameters | answer |
|---|---|---|
| overview | layer | entropy, sink, previous, concentration (H,) each; small maps (H, r, s) |
| measure | layer, name | (H,): a number of each head that takes a pass of its own |
| edges | layer, head | entropy (L,), received (S,) |
| row | layer, head, query | (S,) |
| column | layer, head, key | (L,) |
| entry | layer, head, query, key | (1,) |
| tile | layer, head, cell, row, column | up to 256 × 256 cells of cell × cell tokens |
| rollout | layer, query | (S,): how much of each token reaches the query of the last layer beside this one |
| parts | layer, head, query, first, after | q, keys, what the mask adds, values, context |

A weight of −0 stands where a mask hides the pair. Each question may come with a `reading`: of words, without special
tokens, of a block of segments (`mirada.viewer.reading`). With `how` ("mean" or "max"), `heads` and `layers` (numbers,
joined by commas) a row, column, entry, tile or the edges are those of all these heads in one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from threading import Event, Lock
from typing import Any

import torch
from torch import Tensor

from mirada.kernels import reference
from mirada.matrix import AttentionMatrix
from mirada.viewer import hidden, measures, pyramid
from mirada.viewer.flow import rolled
from mirada.viewer.numbers import Edges, edges, of_heads
from mirada.viewer.payload import about, describe, thumb_size, thumbs
from mirada.viewer.protocol import MEASURES, PARTS, TILE
from mirada.viewer.reading import Reading
from mirada.viewer.rows import Mixed
from mirada.viewer.scene import Matrix, Scene

_DIRECT = 8
"""Up to so many tokens a cell, a tile is formed when it is asked for; coarser ones are cut from the whole."""
_PAGE = 64
_OVERVIEW = 64
"""So few cells a side take one product and no normalisers: a first picture, soon."""
_KEPT = 8
"""Heads whose whole maps are kept, readings, and sets of heads that are one."""
_LISTED = 8192
"""Characters of a list of heads or layers."""


class OutdatedError(ValueError):
    """The question is about a scene that another has replaced."""


class Answers:
    """Answers questions about a scene, from any number of threads.

    What takes long and is asked again is found once: a second request waits for the first.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._found: OrderedDict[tuple[Any, ...], Future[Any]] = OrderedDict()
        self._lock = Lock()
        self._closed = Event()

    def close(self) -> None:
        """Give up what is being computed."""
        self._closed.set()

    def about(self) -> dict[str, Any]:
        """What a live page must know before it asks."""
        return about(
            self.scene, [describe(layer) | self._live(number) for number, layer in enumerate(self.scene.layers)]
        )

    @torch.no_grad()
    def answer(self, question: str, given: Mapping[str, Any]) -> bytes:
        """The answer to one question.

        Raises:
            ValueError: no such question, or a parameter that is missing, no whole number, or out of range.
        """
        answers: dict[str, Callable[[Mapping[str, Any]], Tensor]] = {
            "overview": self._overview,
            "measure": self._measure,
            "edges": self._edges,
            "row": self._row,
            "column": self._column,
            "entry": self._entry,
            "tile": self._tile,
            "parts": self._parts,
            "rollout": self._rollout,
        }
        if question not in answers:
            raise ValueError(f"no question is called {question[:40]!r}")
        if given.get("reading"):
            return self._read(str(given["reading"])).answer(question, {**given, "reading": ""})
        if given.get("how"):
            return self._mix(given).answer(question, {**given, "how": ""})
        return answers[question](given).detach().cpu().float().contiguous().numpy().astype("<f4").tobytes()

    def _live(self, number: int) -> dict[str, Any]:
        layer = self.scene.layers[number]
        live: dict[str, Any] = {"kind": "live", "bits": 32, "error": 0.0, "thumb": thumb_size(layer)}
        live["later"] = measures.later(self.scene, number)
        if isinstance(layer.matrix, AttentionMatrix):
            live |= {"scale": layer.matrix.scale, "query_width": layer.matrix.query.shape[-1]}
            live |= {} if layer.value is None else {"value_width": layer.value.shape[-1]}
        return live

    # --- questions ---

    def _overview(self, given: Mapping[str, Any]) -> Tensor:
        number = self._number(given, "layer", len(self.scene.layers))
        layer = self.scene.layers[number]

        def find() -> Tensor:
            each = [self._edges_of(number, head) for head in range(layer.heads)]
            along = Edges(torch.stack([one.entropy for one in each]), torch.stack([one.received for one in each]))
            known = vars(of_heads(layer.matrix, along))
            return torch.cat([*(known[name] for name in MEASURES), thumbs(layer).flatten()])

        return self._once(("overview", number), find)

    def _measure(self, given: Mapping[str, Any]) -> Tensor:
        number = self._number(given, "layer", len(self.scene.layers))
        name = str(given.get("name", ""))
        return self._once(("measure", number, name), lambda: measures.measure(self.scene, number, name))

    def _edges(self, given: Mapping[str, Any]) -> Tensor:
        number, head, _ = self._head(given)
        along = self._edges_of(number, head)
        return torch.cat([along.entropy, along.received])

    def _row(self, given: Mapping[str, Any]) -> Tensor:
        number, head, matrix = self._head(given)
        query = self._number(given, "query", matrix.shape[0])
        row = matrix.rows(torch.tensor([query], device=matrix.device))[0]
        return self._marked(row, number, head, slice(query, query + 1), slice(None))

    def _column(self, given: Mapping[str, Any]) -> Tensor:
        number, head, matrix = self._head(given)
        key = self._number(given, "key", matrix.shape[1])
        every = torch.arange(matrix.shape[0], device=matrix.device)
        column = matrix.entries(every, torch.full_like(every, key))
        return self._marked(column, number, head, slice(None), slice(key, key + 1))

    def _entry(self, given: Mapping[str, Any]) -> Tensor:
        number, head, matrix = self._head(given)
        i, j = (self._number(given, name, size) for name, size in zip(("query", "key"), matrix.shape, strict=True))
        entry = matrix.entries(*(torch.tensor([n], device=matrix.device) for n in (i, j)))
        return self._marked(entry, number, head, slice(i, i + 1), slice(j, j + 1))

    def _tile(self, given: Mapping[str, Any]) -> Tensor:
        number, head, matrix = self._head(given, ready=False)
        cell = self._number(given, "cell", 1 << 31)
        if cell < 1 or cell & (cell - 1):
            raise ValueError(f"cell must be a power of two, got {cell}")
        starts = []
        for name, size in zip(("row", "column"), matrix.shape, strict=True):
            starts.append(TILE * self._number(given, name, -(-pyramid.cells(size, cell) // TILE)))
        top, left = starts
        if cell <= _DIRECT:
            *_, matrix = self._head(given)
            rows, columns = (
                (at * cell, min((at + TILE) * cell, n)) for at, n in zip(starts, matrix.shape, strict=True)
            )
            found = pyramid.part(matrix, cell, rows, columns)
        else:
            found = self._level(number, head, matrix, cell)[top : top + TILE, left : left + TILE]
        hides = self._hidden(number, head)
        edges = [
            [min((at + n) * cell, size) for n in range(count + 1)]
            for at, count, size in zip(starts, found.shape, matrix.shape, strict=True)
        ]
        return hidden.marked(found, hides and hides.cells(*edges))

    def _level(self, number: int, head: int, matrix: Matrix, cell: int) -> Tensor:
        cancelled = self._closed.is_set
        if pyramid.cells(max(matrix.shape), cell) <= _OVERVIEW and ("levels", number, head) not in self._found:
            return self._once(("overview", number, head, cell), lambda: pyramid.level(matrix, cell, cancelled))

        def find() -> dict[int, Tensor]:
            return pyramid.levels(self._head({"layer": number, "head": head})[-1], 2 * _DIRECT, cancelled)

        levels = self._once(("levels", number, head), find)
        # Beyond the level of a single cell there is nothing coarser to show.
        return levels[min(cell, max(levels))]

    def _parts(self, given: Mapping[str, Any]) -> Tensor:
        number, head, matrix = self._head(given)
        if not isinstance(matrix, AttentionMatrix):
            raise ValueError("the queries and keys of this layer are not known")
        queries, keys = matrix.shape
        query = self._number(given, "query", queries)
        first, after = self._number(given, "first", keys), self._number(given, "after", keys + 1)
        if not first < after <= first + _PAGE:
            raise ValueError(f"first and after must hold 1 to {_PAGE} keys between them, got {first} and {after}")
        parts = {"query": matrix.query[query], "keys": matrix.key[first:after]}
        parts["added"] = _added(matrix, query, first, after)
        value = self.scene.layers[number].value
        if value is not None:
            context = reference.context(matrix.rows([query]), value[head])
            parts |= {"values": value[head, first:after], "context": context}
        return torch.cat([parts[name].flatten().float().cpu() for name in PARTS if name in parts])

    def _rollout(self, given: Mapping[str, Any]) -> Tensor:
        number = self._number({"layer": 0, **given}, "layer", len(self.scene.layers))
        layers = [layer.matrix for layer in self.scene.beside(number)]
        query = self._number(given, "query", layers[-1].shape[-2])
        return self._once(("rollout", id(layers[0]), query), lambda: rolled(layers, query))

    # --- what they need ---

    def _hidden(self, number: int, head: int) -> hidden.Hidden | hidden.ByAll | None:
        return self._once(("hidden", number, head), lambda: hidden.of_head(self.scene.layers[number], head))

    def _marked(self, weights: Tensor, number: int, head: int, queries: slice, keys: slice) -> Tensor:
        """Weights (n,) of a row, a column or an entry; −0 where a mask hides the pair."""
        hides = self._hidden(number, head)
        return hidden.marked(weights, hides and hides.at(queries, keys).flatten())

    def _read(self, text: str) -> Answers:
        """The same questions of the scene with its tokens read in another way."""
        reading = Reading.of(text)
        return self._once(("reading", reading), lambda: Answers(reading.scene(self.scene)))

    def _mix(self, given: Mapping[str, Any]) -> Answers:
        """The same questions of several heads in one."""
        how = str(given["how"])
        if how not in ("mean", "max"):
            raise ValueError(f"how must be mean or max, got {how[:20]!r}")
        numbers = self._numbers(given, "layers", len(self.scene.layers))
        most = max(self.scene.layers[number].heads for number in numbers)
        heads = self._numbers(given, "heads", most)
        pairs = [(number, head) for number in numbers for head in heads if head < self.scene.layers[number].heads]
        sizes = dict.fromkeys(self.scene.layers[number].size for number, _ in pairs)
        if len(sizes) != 1:
            found = ", ".join(f"{queries} × {keys}" for queries, keys in sizes)
            raise ValueError(f"heads can be one only over the same tokens, these have {found or 'none'}")

        def find() -> Answers:
            matrices = [self._head({"layer": number, "head": head})[-1] for number, head in pairs]
            return _Mix(Mixed(matrices, how), [self._hidden(*pair) for pair in pairs])

        return self._once(("mix", how, tuple(pairs)), find)

    def _numbers(self, given: Mapping[str, Any], name: str, size: int) -> list[int]:
        """A parameter as whole numbers, in order."""
        parts = str(given.get(name, ""))[:_LISTED].split(",")
        return sorted({self._number({name: part}, name, size) for part in parts})

    def _head(self, given: Mapping[str, Any], ready: bool = True) -> tuple[int, int, Matrix]:
        """One head; `ready`: with its normalisers found, once for all who ask."""
        number = self._number(given, "layer", len(self.scene.layers))
        layer = self.scene.layers[number]
        head = self._number(given, "head", layer.heads)
        matrix = self._once(("head", number, head), lambda: layer.matrix[head])
        if ready and isinstance(matrix, AttentionMatrix):
            self._once(("ready", number, head), matrix.logsumexp)
        return number, head, matrix

    def _edges_of(self, number: int, head: int) -> Edges:
        _, _, matrix = self._head({"layer": number, "head": head})
        return self._once(("edges", number, head), lambda: edges(matrix))

    def _number(self, given: Mapping[str, Any], name: str, size: int) -> int:
        """A parameter as a whole number from 0 up, less than ``size``."""
        text = str(given.get(name, ""))
        if not (text.isascii() and text.isdigit() and len(text) < 11 and int(text) < size):
            raise ValueError(f"{name} must be a whole number from 0 to {size - 1}, got {text[:20]!r}")
        return int(text)

    def _once(self, key: tuple[Any, ...], find: Callable[[], Any]) -> Any:
        with self._lock:
            future = self._found.get(key)
            mine = future is None
            if future is None:
                future = self._found[key] = Future()
                self._forget()
            self._found.move_to_end(key)
        if mine:
            try:
                future.set_result(find())
            except BaseException as error:
                with self._lock:
                    self._found.pop(key, None)
                future.set_exception(error)
        return future.result()

    def _forget(self) -> None:
        """Whole maps are large: those used longest ago go, and readings with all that was found of them."""
        for kind in ("levels", "reading", "mix"):
            for key in [key for key in self._found if key[0] == kind][:-_KEPT]:
                del self._found[key]


class _Mix(Answers):
    """Several heads, asked as one; hidden is what each of their masks hides."""

    def __init__(self, mixed: Mixed, hides: Sequence[hidden.Hidden | hidden.ByAll | None]) -> None:
        super().__init__(Scene(()))
        self._mixed = mixed
        self._hides = hidden.ByAll([one for one in hides if one is not None]) if all(hides) else None

    def _head(self, given: Mapping[str, Any], ready: bool = True) -> tuple[int, int, Matrix]:
        return 0, 0, self._mixed

    def _hidden(self, number: int, head: int) -> hidden.Hidden | hidden.ByAll | None:
        return self._hides


def _added(matrix: AttentionMatrix, query: int, first: int, after: int) -> Tensor:
    """What the mask adds to the scores of one query: 0, a bias, or −∞."""
    if matrix.mask is None:
        return torch.zeros(after - first)
    visible, bias = matrix.mask.block(slice(query, query + 1), slice(first, after), matrix.device)
    added = torch.zeros(1, after - first, device=matrix.device) if bias is None else bias.float()
    return added.masked_fill(~visible, -torch.inf).expand(1, after - first)[0]
