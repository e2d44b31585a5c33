"""The interactive view: a page that shows attention, from the whole model to one product q · k."""

from __future__ import annotations

from mirada.viewer.exhibit import Exhibit as Exhibit
from mirada.viewer.exhibit import picked as picked
from mirada.viewer.view import View as View
from mirada.viewer.view import view as view

__all__ = ["Exhibit", "View", "picked", "view"]
