"""Open any transformers model and see what it attends to: files, inputs, words, one watched forward pass, the view."""

from __future__ import annotations

from mirada.models.looking import ModelView as ModelView
from mirada.models.looking import look as look
from mirada.models.opening import OpenModel as OpenModel
from mirada.models.opening import open_model as open_model

__all__ = ["ModelView", "OpenModel", "look", "open_model"]
