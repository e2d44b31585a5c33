"""One batch through the watched model: the sums of every summary, for every layer and head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mirada.interventions import ablate
from mirada.matrix import AttentionMatrix
from mirada.surveys.alone import alone
from mirada.surveys.batches import Batch
from mirada.surveys.classes import of_tokens
from mirada.surveys.examples import Examples
from mirada.surveys.one_pass import Sides, in_one_pass
from mirada.surveys.questions import SCORED, Own, Questions, curve_bins, edges
from mirada.surveys.tally import Tally
from mirada.watching import AttentionRecord, Records, watch
from mirada.watching.importance import gradients_of_gates

#: A score: of a model's output and the batch that it came from, one number a text (texts,).
Score = Callable[[Any, Any], Tensor]
#: A layer, by the name of its module or by its number, and a head.
Head = tuple[int | str, int]


class TextError(ValueError):
    """A text that can't be counted, and why."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The sums of some texts."""

    layers: tuple[str, ...]
    tallies: dict[str, Tally]
    examples: dict[str, Examples]
    blind: Tensor
    """(layers, heads): real queries that may attend to nothing."""
    texts: int = 0
    tokens: int = 0
    padding: int = 0

    def merge(self, other: Measured) -> Measured:
        """Both together.

        Raises:
            ValueError: their layers differ.
        """
        if self.layers != other.layers or self.blind.shape != other.blind.shape:
            raise ValueError(
                f"the model attends in {_told(self.layers)} for one text and in {_told(other.layers)} for another: "
                "choose layers that always attend with layers="
            )
        return Measured(
            self.layers,
            {name: tally.merge(other.tallies[name]) for name, tally in self.tallies.items()},
            {name: found.merge(other.examples[name]) for name, found in self.examples.items()},
            self.blind + other.blind,
            self.texts + other.texts,
            self.tokens + other.tokens,
            self.padding + other.padding,
        )


@dataclass(frozen=True, eq=False)
class Found:
    """One summary of one layer, of a batch."""

    values: Tensor
    """(texts, heads, n, ...): a number for each of n queries, or one for the text."""
    weights: Tensor
    """(texts, heads, n): how much each counts."""


@dataclass(frozen=True, eq=False)
class Measurer:
    """A model and what is asked of it."""

    model: nn.Module
    asked: Questions
    score: Score | None = None
    layers: Any = None
    ablated: tuple[Head, ...] = ()
    classes: Tensor | None = None
    """(vocabulary,) integers: the class of each token, see `mirada.surveys.classes`."""
    class_count: int = 0
    tensor_parallel: tuple[int, int] = (0, 1)
    """Which of how many equal shares of the heads this process holds."""

    def measure(self, batch: Batch) -> Measured:
        """The sums of a batch.

        Raises:
            TextError: a value that is not finite.
            ValueError: attention whose texts and heads can't be told apart; a summary or score of the wrong shape.
        """
        graph = "importance" in self.asked.names
        with torch.set_grad_enabled(graph), _with_graph(self.model, graph):
            with watch(self.model, layers=self.layers) as records:
                output = self._run(batch)
            scores = None if self.score is None else _scores(self.score(output, batch.inputs), batch.size)
        with torch.no_grad():
            named = dict(zip(_names(records), records, strict=True))
            answered = [_Layer(name, record, batch, self) for name, record in named.items()]
            found = {name: [layer.found(name) for layer in answered] for name in self.asked.all if name not in SCORED}
        if graph:
            assert scores is not None
            found["importance"] = _importance(list(records), scores, batch.size)
        if "ablation" in self.asked.names:
            assert scores is not None
            found["ablation"] = self._ablation(answered, batch, scores.detach())
        with torch.no_grad():
            return self._summed(answered, found, batch)

    def _run(self, batch: Batch) -> Any:
        try:
            return batch.run(self.model)
        except MemoryError:
            raise
        except Exception as error:  # whatever the model says of a text, the survey goes on with the others
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise TextError(f"the model failed: {said}") from error

    def _summed(self, layers: list[_Layer], found: Mapping[str, list[Found]], batch: Batch) -> Measured:
        for name, of_layers in found.items():
            _check_finite(name, layers, of_layers)
        share, shares = self.tensor_parallel
        own = max(layer.heads for layer in layers)
        place = (share * own, shares * own)
        names = torch.tensor(list(batch.names))
        tallies = {
            name: Tally.stacked([_on_cpu(Tally.of(one.values, one.weights, edges(name))) for one in rows], *place)
            for name, rows in found.items()
        }
        examples = {
            name: Examples.stacked([_examples(one, names) for one in rows], *place)
            for name, rows in found.items()
            if edges(name) is not None
        }
        blind = [nn.functional.pad(one.blind, (place[0], place[1] - place[0] - one.heads)) for one in layers]
        counts = (batch.size, batch.tokens, batch.padding) if share == 0 else (0, 0, 0)
        return Measured(tuple(layer.name for layer in layers), tallies, examples, torch.stack(blind), *counts)

    def _ablation(self, layers: list[_Layer], batch: Batch, scores: Tensor) -> list[Found]:
        """By how much a score changes where a head is ablated, for the chosen heads."""
        zeros = [scores.new_zeros(batch.size, layer.heads, 1) for layer in layers]
        effects, counted = zeros, [torch.zeros_like(one) for one in zeros]
        places = {layer.name: n for n, layer in enumerate(layers)}
        assert self.score is not None
        for of_layer, head in self.ablated:
            at = of_layer if isinstance(of_layer, int) else places.get(of_layer, -1)
            if not (0 <= at < len(layers) and 0 <= head < layers[at].heads):
                raise ValueError(
                    f"ablate: the model has no head {head} in {of_layer!r}; its layers are {_told(places)}"
                )
            name = layers[at].name
            with torch.no_grad(), watch(self.model, keep="statistics", ask={}, edit=ablate(layers=name, heads=head)):
                output = batch.run(self.model)
            changed = _scores(self.score(output, batch.inputs), batch.size).detach()
            effects[at][:, head, 0] = changed - scores
            counted[at][:, head, 0] = 1.0
        return [Found(*one) for one in zip(effects, counted, strict=True)]


class _Layer:
    """One attention of a batch, and what was found of it."""

    def __init__(self, name: str, record: AttentionRecord, batch: Batch, measurer: Measurer) -> None:
        self.name, self._record, self._asked = name, record, measurer.asked
        matrix = _checked(record, batch.size, split=measurer.tensor_parallel[1] > 1)
        self.heads = matrix.shape[1]
        queries, keys, same = batch.sides(record.name, *matrix.shape[-2:])
        self._real = queries.real
        sides = Sides(queries.real, keys.real, same, keys.copies if same else None)
        if measurer.classes is not None and keys.ids is not None:
            classes = of_tokens(keys.ids, keys.copies, measurer.classes, measurer.class_count)
            sides = replace(sides, classes=classes, class_count=measurer.class_count)
        self._answers = in_one_pass(matrix._fine(), sides, self._asked.in_one_pass)
        blind = queries.real[:, None] & ~self._answers.counted
        self.blind = blind.sum((0, -1)).double().cpu()
        self._matrix, self._class_count = matrix, measurer.class_count

    def found(self, name: str) -> Found:
        """One of the summaries."""
        answers, count = self._answers, self._answers.counted.sum(-1, keepdim=True)  # (texts, heads, 1)
        if name in self._asked.own:
            return self._of_ones_own(name, self._asked.own[name], count)
        if name in answers.curves:
            return Found(answers.curves[name][:, :, None], count)
        if name in answers.values:
            return Found(answers.values[name], answers.weights(name))
        bins = curve_bins(name, self._class_count)
        shape = (*count.shape, bins) if bins else count.shape
        return Found(count.new_zeros(shape, dtype=torch.float64), torch.zeros_like(count))

    def _of_ones_own(self, name: str, function: Own, count: Tensor) -> Found:
        """A summary is asked of one text after the other, each without its padding."""
        texts, length = len(self._real), self._real.shape[-1]
        values, weights = [], []
        for text in range(texts):
            record = alone(self._record, self._matrix, text, self._real[text])
            answer = _checked_answer(name, function(record), record, self.heads)
            if answer.ndim == 1:
                values.append(answer[:, None])
                weights.append(count[text])
            else:
                values.append(
                    answer.new_zeros(self.heads, length).index_copy(1, self._real[text].nonzero()[:, 0], answer)
                )
                weights.append(self._answers.counted[text])
        return Found(torch.stack(values), torch.stack(weights))


def _checked(record: AttentionRecord, texts: int, *, split: bool) -> AttentionMatrix:
    """The matrix (texts, heads, L, S)."""
    matrix, dims = record.matrix, record.dims
    if split and len(matrix.shape) == 4 and matrix.shape[0] == texts:
        return matrix  # its module counts the heads of all processes, which may be as many as there are texts
    if dims == ("heads",) and texts == 1:
        return matrix._of(replace(matrix._scores, query=matrix._scores.query[None], key=matrix._scores.key[None]))
    if dims != ("batch", "heads") or matrix.shape[0] != texts:
        raise ValueError(
            f"{record.name!r} attends with a matrix of shape {tuple(matrix.shape)}, of which {texts} texts and their "
            "heads can't be told: leave it out with layers="
        )
    return matrix


def _checked_answer(name: str, answer: Any, record: AttentionRecord, heads: int) -> Tensor:
    """(heads,) or (heads, L)."""
    queries = record.shape[-2]
    if isinstance(answer, Tensor) and answer.ndim and answer.shape[0] == 1 and heads != 1:
        answer = answer[0]
    wanted = ((heads,), (heads, queries))
    if not isinstance(answer, Tensor) or tuple(answer.shape) not in wanted:
        came = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        raise ValueError(
            f"ask[{name!r}] gave {came} for {record.name!r} of {heads} heads and {queries} queries: "
            f"wanted one number a head, {wanted[0]}, or one a query, {wanted[1]}"
        )
    return answer


def _scores(given: Any, texts: int) -> Tensor:
    """(texts,)."""
    if isinstance(given, Tensor) and given.ndim == 0 and texts == 1:
        given = given[None]
    if not isinstance(given, Tensor) or given.shape != (texts,):
        came = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        raise ValueError(f"score gave {came} for {texts} texts: wanted one number a text, ({texts},)")
    return given


def _importance(records: list[AttentionRecord], scores: Tensor, texts: int) -> list[Found]:
    """|∂score/∂gate| of each head, of each text by its own score (Michel et al. 2019): one backward pass for all.

    No text's score depends on another text, so the gradient of their sum is that of each.
    """
    gates = gradients_of_gates(records, scores.sum())
    return [Found(one.abs()[..., None], one.new_ones(texts, one.shape[1], 1)) for one in gates]


def _examples(found: Found, names: Tensor) -> Examples:
    return Examples.of(found.values.cpu(), found.weights.expand(found.values.shape).cpu(), names)


def _on_cpu(tally: Tally) -> Tally:
    return Tally(*(tensor.cpu() for tensor in tally.tensors().values()))


def _check_finite(name: str, layers: list[_Layer], found: list[Found]) -> None:
    for layer, one in zip(layers, found, strict=True):
        counted = (one.weights > 0)[(..., *[None] * (one.values.ndim - 3))]
        bad = counted & ~one.values.isfinite()
        if bad.any():
            head, where = int(bad.nonzero()[0, 1]), f" in {layer.name}" if layer.name else ""
            raise TextError(f"{name} of head {head}{where} is not finite")


def _names(records: Records) -> list[str]:
    """The modules' names; of a module that is called several times, with the number of the call."""
    many = {record.name for record in records if record.nth}
    return [f"{record.name}.{record.nth}" if record.name in many else record.name for record in records]


def _told(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


@contextmanager
def _with_graph(model: nn.Module, wanted: bool) -> Iterator[None]:
    """A frozen model gives its contexts a graph for as long as this lasts."""
    frozen = [one for one in model.parameters() if not one.requires_grad and one.is_floating_point()] if wanted else []
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
