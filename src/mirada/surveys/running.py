"""`mirada.survey`: rounds of texts through the model, on one process or many, kept after each round."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any

import torch
from torch import nn

from mirada.surveys import classes as token_classes
from mirada.surveys import gathering, sharding
from mirada.surveys.batches import Batch
from mirada.surveys.corpus import Round, rounds_of_batches, rounds_of_texts
from mirada.surveys.folder import SurveyFolder, packed, unpacked
from mirada.surveys.measuring import Head, Measured, Measurer, Score, TextError
from mirada.surveys.one_pass import CURVES
from mirada.surveys.questions import Own, Questions, questions
from mirada.surveys.result import Survey
from mirada.surveys.sharding import Sharding
from mirada.surveys.state import State
from mirada.training import processes

#: Called after each batch of the first process: about how many texts are dealt with, of how many tokens, by all.
Tell = Callable[[float, int], object]


def survey(
    model: nn.Module,
    batches: Iterable[Any],
    ask: str | Iterable[str] | Mapping[str, Own] | None = None,
    *,
    score: Score | None = None,
    tokenizer: Any = None,
    layers: int | str | Iterable[int | str] | None = None,
    ablate: Iterable[tuple[int | str, int]] = (),
    classes: Mapping[str, Iterable[int]] | None = None,
    length: int = 1024,
    tokens: int = 4096,
    every: int = 256,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    about: Mapping[str, str] | None = None,
    tell: Tell | None = None,
) -> Survey:
    """Summarise every head of a model over many texts.

    Memory does not grow with the number of texts. Under ``torchrun`` (or with a process group of one's own) each
    process runs its share of the batches, and every process gets the whole result.

    Args:
        model: any PyTorch model that `mirada.watch` can watch. It runs in eval mode.
        batches: what the model is called with, one after the other: mappings of arguments (``input_ids``,
            ``attention_mask``), tuples of arguments, or single tensors; or strings, with ``tokenizer``. Every process
            must be given the same ones.
        ask: names of summaries, ``{name: function of a record}``, or both in one list. A function gets the record of
            one text without its padding and gives one number a head, (heads,), or one a query, (heads, L).
        score: of the model's output and the batch's inputs, one number a text, (texts,): for ``"importance"`` and
            ``"ablation"``. No text's score may depend on another text.
        tokenizer: of transformers; also tells the classes of tokens.
        layers: as of `mirada.watch`.
        ablate: heads, as (layer's name or number, number), whose ablation ``"ablation"`` measures, a forward pass each.
        classes: tokens by the name of their class, for ``"attention_by_token_class"``.
        length: strings are cut into windows of at most so many tokens.
        tokens: a batch of strings holds at most so many, padding included.
        every: so many strings (or batches) make a round; after each, the processes add up, and the folder is written.
        out: a folder that keeps the survey, also while it runs.
        resume: go on with what the folder keeps, with any number of processes.
        about: what the survey is of, kept with it: the names of model and texts.
        tell: called after each batch of the first process with what all have done so far: texts and tokens.

    Raises:
        ValueError: an unknown summary, a summary of the wrong shape, nothing to count, attention whose heads can't be
            told, a folder with another survey, processes with different models.

    >>> import mirada, torch
    >>> model = torch.nn.TransformerEncoderLayer(8, 2, batch_first=True)
    >>> found = mirada.survey(model, [torch.randn(3, 5, 8), torch.randn(2, 7, 8)], ask=["entropy"])
    >>> found["entropy"].mean.shape, found.texts
    (torch.Size([1, 2]), 5)
    """
    if every < 1 or length < 1 or tokens < 1:
        raise ValueError(f"every, length and tokens must be at least 1, got {every}, {length} and {tokens}")
    heads = tuple((layer, int(head)) for layer, head in ablate)
    asked = _asked(ask, score, heads)
    named, table = _classes(asked, classes, tokenizer)
    place = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    settings = _settings(asked, model, heads, layers, named, length, tokens, every, about)
    folder = None if out is None else SurveyFolder(out)
    with processes.joined(place), _first_alone(folder):
        gathering.must_be_same(settings)
        state = State(classes=named)
        if folder is not None:
            state = _begun(folder, settings, state, resume)
        spread = sharding.of_model(model)
        measurer = Measurer(model, asked, score, layers, heads, table, len(named), spread.heads)
        skip = state.done, state.windows
        rounds = _rounds(batches, tokenizer, every, length, tokens, skip, _arguments(model, score))
        writer = folder if processes.is_first() else None
        with _in_eval_mode(model), _freed_again(writer):
            for part in rounds:
                state = _after(state, part, measurer, spread, place, tell)
                if writer is not None:
                    writer.keep(state)
            if state.total is None:
                raise ValueError("batches: there was nothing to count in them (no texts)")
        found = Survey(state, settings)
        if writer is not None:
            writer.finish(found)
        processes.wait()
    return found


def _begun(folder: SurveyFolder, settings: Mapping[str, str], fresh: State, resume: bool) -> State:
    """What the folder keeps, read by the first process and told to all: it need not be shared between machines."""
    mine = folder.begin(settings, fresh, resume=resume) if processes.is_first() else fresh
    told = gathering.of_first(b"" if mine.total is None else packed(mine))
    return unpacked(told) if told else fresh


@contextmanager
def _freed_again(folder: SurveyFolder | None) -> Iterator[None]:
    """A folder in which nothing was kept is no survey's."""
    try:
        yield
    except BaseException:
        if folder is not None:
            folder.give_up()
        raise


def _after(
    state: State, part: Round, measurer: Measurer, spread: Sharding, place: torch.device, tell: Tell | None
) -> State:
    """One round: each process takes every n-th batch, and all add up."""
    mine: Measured | None = None
    failed: list[tuple[str, str]] = []
    tokens = 0 if state.total is None else state.total.tokens
    batch, count = None, 0
    for count, batch in enumerate(part.batches, 1):
        tokens += batch.tokens
        if (count - 1) % spread.count != spread.rank:
            continue
        for found in _counted(measurer, batch.to(place), part, failed, alone=not spread.in_step):
            mine = found if mine is None else mine.merge(found)
        if tell is not None and processes.is_first():
            share = count / part.size if part.size else 1.0
            tell(state.done + part.texts * share, tokens)
    if spread.in_step and batch is not None and spread.rank >= count % spread.count > 0:
        measurer.measure(batch.to(place))  # for the others, who need this process' parameters; it counts nothing
    skipped = part.skipped + gathering.texts_of_all(failed if spread.heads[0] == 0 else [])
    total = gathering.together(mine, measurer.asked, measurer.class_count)
    if total is None and state.total is None and part.texts:
        name, why = skipped[0]
        raise ValueError(f"batches: none of the first {part.texts} could be counted; {name}: {why}")
    return state.after(part, total, skipped)


def _counted(
    measurer: Measurer, batch: Batch, part: Round, failed: list[tuple[str, str]], *, alone: bool
) -> Iterator[Measured]:
    """What a batch gives; where it fails, its texts one by one, and those that fail are named.

    Not so where processes run in step, who would wait for each other: without ``alone`` the error is raised.
    """
    try:
        yield measurer.measure(batch)
    except TextError as error:
        if not alone:
            raise
        if batch.size == 1:
            failed.append((_name(part, batch.names[0]), str(error)))
            return
        for text in range(batch.size):
            yield from _counted(measurer, batch.single(text), part, failed, alone=alone)


def _name(part: Round, number: int) -> str:
    window = part.windows_of[number]
    return f"{window.name}, from token {window.start}" if window.start else window.name


def _arguments(model: nn.Module, score: Score | None) -> dict[str, Any]:
    """A model of transformers keeps no cache, and forms the logits of the last token alone where none are scored."""
    known = inspect.signature(model.forward).parameters
    cheap = {"use_cache": False} | ({} if score is not None else {"logits_to_keep": 1})
    return {name: value for name, value in cheap.items() if name in known}


def _rounds(
    batches: Iterable[Any],
    tokenizer: Any,
    every: int,
    length: int,
    tokens: int,
    skip: tuple[int, int],
    arguments: Mapping[str, Any],
) -> Iterator[Round]:
    if isinstance(batches, str | bytes | Mapping | torch.Tensor):
        raise TypeError(f"batches must be an iterable of batches or of strings, got one {type(batches).__name__}")
    source = iter(batches)
    first = next(source, None)
    if first is None:
        return iter(())
    source = chain([first], source)
    if not _is_text(first):
        return rounds_of_batches(source, every=every, skip=skip)
    if tokenizer is None:
        raise ValueError("batches: these are strings: give tokenizer= too")
    return rounds_of_texts(source, tokenizer, every=every, length=length, tokens=tokens, skip=skip, arguments=arguments)


def _is_text(given: Any) -> bool:
    """A string, or a text that was read from a file: its name, itself, why there is none."""
    return isinstance(given, str) or (isinstance(given, tuple) and isinstance(given[0] if given else None, str))


def _asked(ask: Any, score: Score | None, heads: tuple[Head, ...]) -> Questions:
    asked = questions(ask, scored=score is not None)
    if heads and score is None:
        raise ValueError("ablate needs score=, a function (output, batch) -> one number a text")
    if heads and "ablation" not in asked.names:
        asked = Questions((*asked.names, "ablation"), asked.own)
    if "ablation" in asked.names and not heads:
        raise ValueError("ask: 'ablation' needs ablate=, the heads: [(layer's name, number), …]")
    return asked


def _classes(asked: Questions, classes: Any, tokenizer: Any) -> tuple[tuple[str, ...], torch.Tensor | None]:
    if CURVES[1] not in asked.names:
        return (), None
    if classes is None and tokenizer is None:
        raise ValueError(f"ask: {CURVES[1]!r} needs classes=, tokens by the name of their class, or tokenizer=")
    chosen = token_classes.of_tokenizer(tokenizer) if classes is None else classes
    chosen = {str(name): list(ids) for name, ids in chosen.items()}
    return token_classes.class_names(chosen), token_classes.table(chosen)


def _settings(
    asked: Questions,
    model: nn.Module,
    heads: tuple[Head, ...],
    layers: Any,
    classes: tuple[str, ...],
    length: int,
    tokens: int,
    every: int,
    about: Mapping[str, str] | None,
) -> dict[str, str]:
    """What makes this survey this one: with other ones it can't be added up, nor gone on with."""
    return {
        "ask": ", ".join(asked.all),
        "ablate": ", ".join(f"{layer}.{head}" for layer, head in heads),
        "layers": "all" if layers is None else str(layers),
        "classes": ", ".join(classes),
        "length": str(length),
        "tokens": str(tokens),
        "every": str(every),
        "parameters": _fingerprint(model),
        **{name: str(value) for name, value in (about or {}).items()},
    }


def _fingerprint(model: nn.Module) -> str:
    """What tells one model from another: its class, and shape and Σ |value| of each parameter that is held whole."""
    from hashlib import sha256

    digest = sha256(type(model).__name__.encode())
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        if type(parameter.data) is torch.Tensor and not hasattr(parameter, "device_mesh"):
            digest.update(f"{float(parameter.detach().double().abs().sum()):.6e}".encode())
    return digest.hexdigest()[:16]


def _first_alone(folder: SurveyFolder | None) -> Any:
    """The folder is held by the first process, which alone writes."""
    return folder.locked() if folder is not None and processes.is_first() else nullcontext()


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Without dropout; afterwards as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
