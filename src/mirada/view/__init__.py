"""The interactive view: a page in which attention is looked at, from the whole model to one product q · k."""

from __future__ import annotations

from mirada.view.exhibit import Exhibit as Exhibit
from mirada.view.face import View as View
from mirada.view.face import view as view

__all__ = ["Exhibit", "View", "view"]
