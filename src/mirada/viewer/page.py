"""A page of its own that carries all it shows: no request, and a policy that forbids any."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from mirada.storage import write_whole
from mirada.viewer.payload import Prepared
from mirada.viewer.script import module, part

POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'sha256-{style}'; "
    "img-src data: blob:; connect-src {connect}; base-uri 'none'; form-action 'none'"
)

_PLACE = "document.querySelector('main')"


def saved(prepared: Prepared, opens: Mapping[str, Any] | None = None) -> str:
    """The page with its data inside. `opens`: what is shown first: view, layer, head, query, key."""
    begin = f"show({_PLACE}, {{ carried: document, opens: {in_html(dict(opens or {}))} }});"
    return _page(prepared.about["title"], carried(prepared), script(begin))


def carried(prepared: Prepared) -> str:
    """What a view shows, as data blocks for a page; a part of the page holds those of one view."""
    # Data blocks are no scripts: the browser never runs them, and nothing in them can close them.
    return "\n".join(
        [
            f'<script type="application/json" data-scene>{in_html(prepared.about)}</script>',
            *(
                f'<script type="text/plain" data-blob="{name}">{base64.b64encode(blob).decode()}</script>'
                for name, blob in prepared.blobs.items()
            ),
        ]
    )


def script(begin: str) -> str:
    """The module for a page, and what begins on it."""
    return f"{_without_exports(module())}\n{begin}\n"


def live(about: dict[str, Any]) -> str:
    """The page that asks the server it came from."""
    begin = script(f"show({_PLACE}, {{ carried: document, server: location.href }});")
    return _page(about["title"], carried(Prepared(about, {})), begin, connect="'self'")


def length_without(about: dict[str, Any]) -> int:
    """How long a page is before any blob is in it."""
    return len(saved(Prepared(about, {})).encode())


def write(path: str | os.PathLike[str], text: str) -> Path:
    """Write a page, whole or not at all.

    Raises:
        OSError: the folder isn't there, or can't be written.
    """
    return write_whole(path, text.encode())


def _page(title: str, carried: str, script: str, connect: str = "'none'") -> str:
    style = part("page.css")
    policy = POLICY.format(script=digest(script), style=digest(style), connect=connect)
    return Template(part("page.html")).substitute(
        policy=policy,
        title=escape(title),
        icon=base64.b64encode(part("eye.svg").encode()).decode(),
        style=style,
        carried=carried,
        script=script,
    )


def in_html(about: dict[str, Any]) -> str:
    """JSON that stays data inside a page, whatever its strings say."""
    text = json.dumps(about, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def from_json(body: bytes) -> dict[str, Any]:
    """An object that a page has sent.

    Raises:
        ValueError: it is none.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ValueError("what was sent is no JSON object")
    return given


def _without_exports(text: str) -> str:
    return text.split("\nexport { show };")[0]


def digest(text: str) -> str:
    """By which a policy knows a script or a style, SHA-256 in base64."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
