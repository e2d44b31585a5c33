"""The documentation site: ``python -m sphinx -W -b html docs dist/site``, offline; every cell is executed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

from mirada import __version__

sys.path.insert(0, str(Path(__file__).parent))

os.environ["OMP_NUM_THREADS"] = "1"  # for a page's cells: what they train does not depend on the number of cores

project, author = "mirada", "The mirada authors"
copyright = author
release = __version__
language = "en"

extensions = ["myst_nb"]
exclude_patterns = ["*.py", "*.json"]
# "See ../speed.md#memory" links to a heading of that page.
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]

# A page that runs is a page that is true: an error in a cell, or what a cell writes to stderr, ends the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
# A page's cells run in a folder of their own: what they train lies there, as it would lie in a reader's.
nb_execution_in_temp = True
nb_output_stderr = "error"
nb_merge_streams = True
nb_mime_priority_overrides = [("html", "image/svg+xml", 0)]
# Widgets would fetch their scripts from another machine; the pages hold none.
nb_ipywidgets_js = {}

html_theme = "furo"
html_title = "mirada"
html_show_sphinx = False
html_static_path = ["_static"]
html_css_files = ["lessons.css"]
html_js_files = [("pages.js", {"defer": "defer"})]


def setup(app: Sphinx) -> None:
    """The worksheets are pages of their own, without the theme, so that they can be printed."""

    def worksheets(app: Sphinx, error: Exception | None) -> None:
        if error is None and app.builder.format == "html":
            import worksheet

            worksheet.write(Path(app.outdir))

    app.connect("build-finished", worksheets)
