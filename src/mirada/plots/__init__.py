"""Pictures of attention: functions that take matplotlib axes and give axes back.

Nothing here touches pyplot, picks a backend or changes matplotlib's settings; tensors, arrays and attention matrices
are all welcome. A function that fills a whole page (`grid`, `gazes`) gives back the `Figure` instead.
"""

from __future__ import annotations

from mirada.plots.arrows import vectors as vectors
from mirada.plots.arrows import weighted_sum as weighted_sum
from mirada.plots.cells import heatmap as heatmap
from mirada.plots.images import gaze as gaze
from mirada.plots.images import gazes as gazes
from mirada.plots.images import grid as grid
from mirada.plots.images import over_image as over_image
from mirada.plots.images import patches as patches
from mirada.plots.lines import curves as curves
from mirada.plots.paths import corners as corners
from mirada.plots.style import figure as figure
from mirada.plots.style import panels as panels
from mirada.plots.style import png as png
from mirada.plots.style import save as save
from mirada.plots.style import signed as signed

__all__ = [
    "corners",
    "curves",
    "figure",
    "gaze",
    "gazes",
    "grid",
    "heatmap",
    "over_image",
    "panels",
    "patches",
    "png",
    "save",
    "signed",
    "vectors",
    "weighted_sum",
]
