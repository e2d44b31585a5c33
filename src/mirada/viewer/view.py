"""The view itself: made of matrices, saved as a page, served, or shown in a notebook."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from mirada.viewer import page
from mirada.viewer.compare import both
from mirada.viewer.embedded import Embedded
from mirada.viewer.exhibit import Exhibit, Exhibitor
from mirada.viewer.labels import Labels
from mirada.viewer.measures import given
from mirada.viewer.notebook import widget
from mirada.viewer.payload import about, describe, prepare
from mirada.viewer.playground import Trial
from mirada.viewer.queries import Answers
from mirada.viewer.scene import Scene, scene
from mirada.viewer.server import Server

MEGABYTE = 1_000_000
_OVERHEAD = 4 / 3  # base64
_TAGS, _MEASURES = 3000, 100  # bytes a layer and a head: a little more than what describes them takes


class View:
    """What has been recorded, ready to be shown; made by `mirada.view`."""

    def __init__(self, shown: Scene, height: int = 680, trials: Mapping[str, Trial] | None = None) -> None:
        self.scene = shown
        self.height = height
        self.trials = trials or {}

    def save(
        self, path: str | os.PathLike[str], *, budget: float = 20.0, opens: Mapping[str, Any] | None = None
    ) -> Path:
        """Write a page that carries all it shows and asks for nothing.

        Args:
            path: of the HTML file.
            budget: at most so many megabytes (10⁶ bytes). What doesn't fit as it is, is carried in fewer bits, or from
                further away; the page says how true its numbers are and where its detail ends.
            opens: what the page shows first: "view" ("heads", "map", "tokens", "image", "steps"), "layer", "head",
                "query" and "key", each a number from 0 up.

        Returns:
            The path.

        Raises:
            ValueError: the budget is not even enough for the page without any attention in it.
            OSError: the file can't be written.
        """
        return page.write(path, self._page(budget, opens))

    def embed(self, *, budget: float = 1.0, opens: Mapping[str, Any] | None = None) -> Embedded:
        """The saved page in a frame, at the end of a notebook's cell: it needs no kernel, so it lives on in an export.

        Args:
            budget: at most so many megabytes, as in `save`.
            opens: what is shown first, as in `save`.

        Raises:
            ValueError: the budget is not even enough for the page without any attention in it.
        """
        return Embedded(self._page(budget, opens), self.scene.title, self.height)

    def _page(self, budget: float, opens: Mapping[str, Any] | None) -> str:
        bare = about(self.scene, [describe(layer) for layer in self.scene.layers])
        needed = page.length_without(bare) + sum(_TAGS + _MEASURES * layer.heads for layer in self.scene.layers)
        left = budget * MEGABYTE - needed
        if not left > 0:
            raise ValueError(f"budget={budget} MB is too small, the bare page takes {needed / MEGABYTE:.2f}")
        text = page.saved(prepare(self.scene, left / _OVERHEAD), opens)
        size = len(text.encode()) / MEGABYTE
        if size > budget:
            raise ValueError(f"budget={budget} MB is too small, {size:.2f} are needed for a coarse map of each head")
        return text

    def answers(self) -> Answers:
        """What answers a live page."""
        return Answers(self.scene)

    def widget(self) -> Any:
        """The view as a notebook's widget; a notebook shows it by itself where a cell ends with the view.

        Raises:
            RuntimeError: the extra `notebook` (anywidget) is missing.
        """
        return widget(self.answers(), self.height, self.trials)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.widget()._repr_mimebundle_(**kwargs)

    def serve(self, *, port: int = 0, browser: bool = True, say: Callable[[str], None] = print) -> None:
        """Serve a live page on this machine until Ctrl-C: what it shows is computed as it is asked for, at any length.

        Args:
            port: 0 takes any that is free.
            browser: open the page.
            say: gets the page's address.

        Raises:
            ValueError: the port is taken.
            RuntimeError: the extra `view` (starlette, uvicorn) is missing.
        """
        server = Server(self.answers(), port, self.trials)

        def ready() -> None:
            say(f"{server.address}  (Ctrl-C stops)")
            if browser and not _opened(server.address):
                say("no browser could be opened: open this address by hand")

        with contextlib.suppress(KeyboardInterrupt):
            server.run(ready)
        server.close()


def _opened(address: str) -> bool:
    import webbrowser

    with contextlib.suppress(webbrowser.Error, OSError):
        return webbrowser.open(address)
    return False


def view(
    what: Any,
    *,
    labels: Labels | Mapping[str, Labels] | None = None,
    words: Any = None,
    special: Any = None,
    segments: Any = None,
    image: Tensor | None = None,
    patch: int | tuple[int, int] | None = None,
    first: int | None = None,
    item: int | tuple[int, ...] = 0,
    title: str | None = None,
    height: int = 680,
    trials: Mapping[str, Trial] | None = None,
    measures: Mapping[str, Any] | None = None,
    compare: bool = False,
) -> View:
    """Show attention: heads, map, tokens, image, steps.

    Args:
        what: an `AttentionMatrix` (..., heads, L, S), weights (..., heads, L, S) as a tensor, the records of
            `mirada.watch`, or a list or a dictionary (name: layer) of these, one a layer. Or a run (`mirada.load`),
            which brings labels, image, title and trials along; what is given here goes before them.
            Steps of a generation are stitched; labels may then hold the last token, which was only written.
        labels: a string for each token; for two sides, a pair (of the queries, of the keys). They are shown as text,
            whatever is in them. Layers over the source alone take whichever of the two is as long.
        words: the word of each token, as a tokenizer's ``word_ids()``: whole numbers, or None for a token without one.
            The page shows tokens or words: weights are then summed over a word's keys and averaged over its queries.
            If left out, marks in the labels tell (Ġ, ▁, ##).
        special: True for each token that belongs to no text, as a tokenizer's ``special_tokens_mask``: the page can
            hide these and renormalise the rest. If left out, labels such as [CLS] and </s> tell.
        segments: name → slice of tokens, without overlap: blocks of the matrix that the page can show alone. Where
            labels are a pair, words, special and segments are pairs, too.
        image: the picture that the tokens are patches of: (H, W), (1, H, W), (3, H, W) or (H, W, 3).
        patch: side of a patch in pixels, or its height and width; found from the number of tokens if left out.
        first: the token of the image's first patch, where patches aren't the last tokens (text, image, text).
        item: which of a batch; of a run, which of its test examples.
        title: above the view; "mirada" if left out.
        height: in pixels, in a notebook.
        trials: what can be tried by hand when the view is served, by name.
        compare: `what` is a dictionary of two, `{"base": …, "tuned": …}`: two runs, models, prompts of equal length, or
            before and after an edit. Their maps are shown beside each other, with what changed between them. Where the
            prompts differ, labels (words, special, segments) are a dictionary by the same names.
        measures: numbers of each head to find heads by: name -> (layers, heads), the effect of ablating each, say.

    Raises:
        ValueError: nothing to be shown; labels, words or special tokens of the wrong length; segments that overlap or
            reach beyond the tokens; an image that the tokens don't fit, a run whose
            model has no attention; two to be compared whose shapes differ.
        TypeError: something that is no attention; compare=True without a dictionary.
        RunError: a run without weights.

    >>> import mirada, tempfile, torch
    >>> seen = mirada.AttentionMatrix(torch.randn(2, 3, 4), torch.randn(2, 3, 4))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = mirada.view(seen, labels=["the", "cat", "sat"]).save(f"{folder}/page.html")
    ...     path.name
    'page.html'
    """
    if isinstance(what, Exhibitor):
        what, item = what.exhibit(_example(item)), 0
    if isinstance(what, Exhibit):
        labels = what.labels if labels is None else labels
        image, patch = (what.image, what.patch) if image is None else (image, patch)
        title = what.title if title is None else title
        trials = what.trials if trials is None else trials
        what = what.layers
    title = "mirada" if title is None else title
    text = {"labels": labels, "words": words, "special": special, "segments": segments}
    make = both if compare else scene
    shown = make(what, **text, image=image, patch=patch, first=first, item=item, title=title)
    if measures is not None:
        shown = replace(shown, measures=given(measures, shown.beside(0)))
    return View(shown, height, trials)


def _example(item: int | tuple[int, ...]) -> int:
    if isinstance(item, tuple):
        raise TypeError(f"item={item!r}: a run's test examples are numbered, wanted an integer")
    return item
