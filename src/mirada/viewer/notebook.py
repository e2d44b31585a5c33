"""The view inside a notebook: the same module, fed by the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mirada.viewer.page import in_html
from mirada.viewer.playground import Trial, offered
from mirada.viewer.queries import Answers
from mirada.viewer.script import module


def widget(answers: Answers, height: int, trials: Mapping[str, Trial]) -> Any:
    """A widget that shows a scene, and answers what its browser side asks and what is tried there by hand.

    Raises:
        RuntimeError: the extra `notebook` (anywidget) is missing.
    """
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise RuntimeError(
            f"a view in a notebook needs {error.name}: pip install 'mirada[notebook]', or save it as a page"
        ) from None

    class Widget(anywidget.AnyWidget):
        _esm = module()
        scene = traitlets.Dict().tag(sync=True)
        height = traitlets.Int().tag(sync=True)

    shown = Widget(scene=answers.about() | offered(trials), height=height)
    shown.on_msg(lambda widget, message, _: _reply(widget, answers, trials, message))
    return shown


def _reply(widget: Any, answers: Answers, trials: Mapping[str, Trial], message: Any) -> None:
    if not isinstance(message, dict) or not isinstance(message.get("parameters"), dict):
        return
    asked, question, given = message.get("id"), str(message.get("question")), message["parameters"]
    try:
        if question in trials:
            body = in_html(dict(trials[question].answer(given))).encode()
        else:
            body = answers.answer(question, given)
    except ValueError as error:
        widget.send({"answer": asked, "error": str(error)})
    except Exception as error:  # out of memory, say: a page that hears nothing would wait for ever
        widget.send({"answer": asked, "error": f"the kernel could not compute this: {type(error).__name__}: {error}"})
    else:
        widget.send({"answer": asked}, [body])
