"""The view inside a notebook: the same module, fed by the kernel."""

from __future__ import annotations

from typing import Any

from mirada.view.answers import Answers
from mirada.view.script import module


def widget(answers: Answers, height: int) -> Any:
    """A widget that shows a scene and answers what its browser side asks.

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

    shown = Widget(scene=answers.about(), height=height)
    shown.on_msg(lambda widget, message, _: _reply(widget, answers, message))
    return shown


def _reply(widget: Any, answers: Answers, message: Any) -> None:
    if not isinstance(message, dict) or not isinstance(message.get("parameters"), dict):
        return
    asked = message.get("id")
    try:
        body = answers.answer(str(message.get("question")), message["parameters"])
    except ValueError as error:
        widget.send({"answer": asked, "error": str(error)})
    else:
        widget.send({"answer": asked}, [body])
