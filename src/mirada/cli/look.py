"""`mirada look MODEL INPUT`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from mirada.cli.opening import chosen, without_bars
from mirada.models.looking import ModelView
from mirada.models.looking import look as see
from mirada.models.strongest import table


def look(
    model: Annotated[str, Parameter(help="A hub name (owner/model), a folder, or a .gguf file.")],
    given: Annotated[str | None, Parameter(help="A text; for a model of images or sound, a file.")] = None,
    /,
    *,
    file: Annotated[Path | None, Parameter(help="Read the text from this file.")] = None,
    image: Annotated[Path | None, Parameter(help="An image beside the text.")] = None,
    chat: Annotated[
        bool, Parameter(help="The text is what a user says: apply the chat template.", negative="")
    ] = False,
    compare: Annotated[str | None, Parameter(help="Another text of as many tokens, to be compared with.")] = None,
    generate: Annotated[int | None, Parameter(help="Write so many tokens first.")] = None,
    layers: Annotated[list[str] | None, Parameter(help="Blocks by number, or modules by name.")] = None,
    heads: Annotated[list[int] | None, Parameter(help="Heads by number.")] = None,
    keep: Annotated[Literal["inputs", "statistics"] | None, Parameter(help="What is kept of each head.")] = None,
    device: Annotated[str | None, Parameter(help="cpu, cuda, cuda:1, mps.")] = None,
    dtype: Annotated[str | None, Parameter(help="auto, float32, bfloat16, float16, float64.")] = None,
    revision: Annotated[str | None, Parameter(help="Branch, tag or commit of a hub name.")] = None,
    port: Annotated[int, Parameter(help="Port on this machine; 0 takes any that is free.")] = 0,
    save: Annotated[Path | None, Parameter(help="Write a page that needs no server, and stop.")] = None,
    page: Annotated[bool, Parameter(help="Serve the live page.")] = True,
    browser: Annotated[bool, Parameter(help="Open the page in a browser.")] = True,
) -> None:
    """Open a transformers model and see what it attends to: in the terminal, then in a live page until Ctrl-C."""
    warnings.simplefilter("default")
    without_bars()
    view = see(
        model,
        _text(given, file),
        image=image,
        chat=chat,
        compare=compare,
        generate=generate,
        layers=chosen(layers),
        heads=heads,
        keep=keep,
        device=device,
        dtype=dtype,
        revision=revision,
    )
    _tell(view)
    if save is not None:
        print(view.save(save))
    elif page:
        view.serve(port=port, browser=browser)


def _text(given: str | None, file: Path | None) -> str | None:
    if file is None:
        return given
    if given is not None:
        raise ValueError("--file and a text: give one of them")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{file}: not a text in UTF-8") from None


def _tell(view: ModelView) -> None:
    print(view.records)
    print("\nStrongest heads, layer.head:")
    print(table(view.strongest()))
    for one in view.predictions:
        print(f"\n{one}")
    for note in view.notes:
        print(f"\n{note}")
