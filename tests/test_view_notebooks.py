"""Two views in one notebook, in JupyterLab and in marimo, whose pages reach no network."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
import torch

from mirada import AttentionMatrix
from mirada.viewer.notebook import _reply
from mirada.viewer.queries import Answers
from mirada.viewer.scene import scene

pytestmark = pytest.mark.browser

HEIGHT = 420
CELLS = (
    "import mirada, torch\nfrom mirada.systems import walkthrough\n"
    "torch.manual_seed(0)\none, other = torch.randn(2, 2, 6, 6).softmax(-1)\ntrials = walkthrough.exhibit().trials",
    f"mirada.view(one, labels=list('abcdef'), title='one', height={HEIGHT}, trials=trials)",
    f"mirada.view(other, labels=list('ABCDEF'), title='other', height={HEIGHT})",
)
PATIENCE = 60  # seconds that a host may take to start


@pytest.fixture
def page(browser):
    """A page that reaches this machine only; whatever else it asks for fails the test, and so does an error in it."""
    context = browser.new_context(color_scheme="dark", viewport={"width": 1280, "height": 1400})
    asked, complaints = [], []

    def routed(route):
        if route.request.url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            return route.continue_()
        asked.append(route.request.url)
        return route.abort()

    context.route("**/*", routed)
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert (asked, complaints) == ([], [])


@contextlib.contextmanager
def served(tmp_path: Path, port: int, *command: str) -> Iterator[None]:
    """A notebook's server with a home of its own, ended with all that it has started."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "IPYTHON"))}
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command], stdout=log, stderr=log, cwd=tmp_path, start_new_session=True,
            env=environment | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        )  # fmt: skip
    try:
        until = time.monotonic() + PATIENCE
        while not answers(port):
            assert server.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < until, (tmp_path / "log").read_text()
            time.sleep(0.1)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(10)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def both_answer_for_themselves(page):
    """Each view draws, answers with its own matrix's numbers, keeps its height, and leaves the other alone."""
    torch.manual_seed(0)
    views = page.locator(".mirada")
    views.nth(1).wait_for()
    assert views.count() == 2
    page.get_by_text("2 of 2 heads").nth(1).wait_for()
    shown = zip(("abcdef", "ABCDEF"), torch.randn(2, 2, 6, 6).softmax(-1), strict=True)
    for number, (words, weights) in enumerate(shown):
        view = views.nth(number)
        view.get_by_role("tab", name="Tokens").click()
        query = 4 - number
        view.locator(".token").nth(query).hover()
        view.get_by_text(f"query {query}").wait_for()
        view.get_by_text("is attended to by").wait_for()
        mean = weights.mean(0)
        best = int(mean[query].argmax())
        first = view.locator(".details li").first
        assert first.locator(".listed").text_content() == words[best]
        assert float(first.locator(".figure").text_content().split()[0]) == pytest.approx(
            100 * float(mean[query, best]), abs=0.6
        )
        assert view.evaluate("host => host.clientHeight") == HEIGHT
        row = view.evaluate(f"host => host.eye.layers[0].head(1).row({query}).then(row => [...row])")
        torch.testing.assert_close(torch.tensor(row), weights[1, query], atol=1e-6, rtol=0)
    assert "query 4" in views.first.locator(".pointed").text_content()
    assert views.evaluate_all("all => all.map(host => host.eye.state.get('query'))") == [4, 3]
    assert views.nth(1).get_by_role("tab", name="Try it").count() == 0
    views.first.get_by_role("tab", name="Try it").click()
    context = views.first.locator(".heat-table").last
    before = context.text_content()
    views.first.locator(".mask-cell").first.click()
    until = time.monotonic() + PATIENCE
    while context.text_content() == before:
        assert time.monotonic() < until
        time.sleep(0.05)
    # These notebooks are light, however dark the system may be.
    assert views.evaluate_all("all => all.map(host => host.eye.dark())") == [False, False]


def test_two_views_in_jupyterlab(page, tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "two.ipynb")
    port = free_port()
    settings = (
        f"--port={port}", "--ip=127.0.0.1", "--no-browser", "--allow-root", "--IdentityProvider.token=known",
        "--expose-app-in-browser", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    )  # fmt: skip
    with served(tmp_path, port, "jupyterlab", *settings):
        page.goto(f"http://127.0.0.1:{port}/lab/tree/two.ipynb?token=known")
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.isReady")
        page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
        both_answer_for_themselves(page)


def test_two_views_in_marimo(page, tmp_path):
    cells = [f"@app.cell\ndef _({needs}):\n    {cell}\n    return {gives}\n" for needs, cell, gives in (
        ("", CELLS[0].replace("\n", "\n    "), "mirada, one, other, trials"),
        ("mirada, one, trials", CELLS[1], ""),
        ("mirada, other", CELLS[2], ""),
    )]  # fmt: skip
    (tmp_path / "two.py").write_text("\n".join(["import marimo", "app = marimo.App()", *cells]))
    port = free_port()
    settings = ("--headless", "--no-token", "--host=127.0.0.1", f"--port={port}")
    with served(tmp_path, port, "marimo", "run", "two.py", *settings):
        page.goto(f"http://127.0.0.1:{port}/")
        both_answer_for_themselves(page)


def test_any_exception_of_the_kernel_reaches_the_page():
    class Heard:
        def __init__(self):
            self.sent = []

        def send(self, message, buffers=None):
            self.sent.append(message)

    heard = Heard()
    shown = scene(torch.ones(1, 2, 1))
    vast = AttentionMatrix(torch.zeros(1, 2, 1), torch.zeros(1, 1, 1).expand(1, 10**13, 1))  # a row is 40 terabytes
    shown = replace(shown, layers=[replace(shown.layers[0], matrix=vast)])
    _reply(heard, Answers(shown), {}, {"id": "1", "question": "row", "parameters": {"layer": 0, "head": 0, "query": 0}})
    assert len(heard.sent) == 1
    assert heard.sent[0]["answer"] == "1"
    assert re.match("the kernel could not compute this: RuntimeError: .*memory", heard.sent[0]["error"])
