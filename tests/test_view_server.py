"""The live view: what its server answers, to whom, and that it ends when told to."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from urllib.parse import urlencode

import numpy as np
import pytest
import torch

import mirada
from mirada import masks
from mirada.viewer.playground import Trial
from mirada.viewer.queries import Answers
from mirada.viewer.scene import scene
from mirada.viewer.server import Server

LENGTH = 300
ROOT = "document.querySelector('.mirada').shadowRoot"


def matrix(heads=2, length=LENGTH, width=8):
    torch.manual_seed(0)
    return mirada.AttentionMatrix(
        torch.randn(heads, length, width), torch.randn(heads, length, width), masks.causal(length)
    )


@pytest.fixture(scope="module")
def served():
    def double(given):
        return {"twice": 2 * given["number"], "says": "<b>"}

    def broken(given):
        raise RuntimeError(__file__)

    tried = {"double": Trial("digits", double), "broken": Trial("digits", broken)}
    server = Server(Answers(scene(matrix(), title="served")), trials=tried)
    server.start()
    yield server
    server.stop()


def get(server, question="", given=None, *, path=None, headers=None, method="GET", body=None):
    """Status, body and headers of one request."""
    host, port, token = re.fullmatch(r"http://(.+):(\d+)/(.+)/", server.address).groups()  # type: ignore[union-attr]
    connection = HTTPConnection(host, int(port), timeout=60)
    path = path if path is not None else f"/{token}/{question}?{urlencode(given or {})}"
    connection.request(method, path, body, {"Host": f"{host}:{port}", **(headers or {})})
    answer = connection.getresponse()
    data = answer.read(), dict(answer.getheaders())
    connection.close()
    return answer.status, *data


def numbers(server, question, **given):
    status, body, _ = get(server, question, given)
    assert status == 200, body
    return np.frombuffer(body, "<f4")


# --- what it answers ---


def test_answers_are_the_models_own(served):
    of, dense = matrix(), matrix().to_dense()
    np.testing.assert_allclose(numbers(served, "row", layer=0, head=1, query=200), dense[1, 200], atol=1e-6)
    np.testing.assert_allclose(numbers(served, "column", layer=0, head=1, key=20), dense[1, :, 20], atol=1e-6)
    np.testing.assert_allclose(numbers(served, "entry", layer=0, head=0, query=9, key=3), dense[0, 9, 3], atol=1e-6)
    both = numbers(served, "edges", layer=0, head=1)
    np.testing.assert_allclose(both, torch.cat([of[1].entropy(), of[1].received()]), atol=1e-5)


@pytest.mark.parametrize("cell", [1, 2, 8, 16, 64, 512, 4096])
def test_tiles_are_tile_at_every_level(served, cell):
    of = matrix()[1]
    count = -(-LENGTH // cell)
    side = min(count, 256)
    whole = LENGTH // cell
    tile = numbers(served, "tile", layer=0, head=1, cell=cell, row=0, column=0).reshape(side, side)
    if whole:
        shown = min(whole, 256)
        wanted = of.tile((0, shown * cell), (0, shown * cell), (shown, shown))
        np.testing.assert_allclose(tile[:shown, :shown], wanted, atol=1e-6)
    if count <= 256:
        np.testing.assert_allclose(tile.sum(-1), 1, atol=1e-5)


def test_the_parts_of_a_query(served):
    of = matrix()
    parts = numbers(served, "parts", layer=0, head=1, query=3, first=0, after=8)
    np.testing.assert_allclose(parts[:8], of.query[1, 3])
    np.testing.assert_allclose(parts[8:72].reshape(8, 8), of.key[1, :8])
    assert parts[72:].tolist() == [0] * 4 + [-np.inf] * 4


def test_rollout_is_one_question():
    layers = [matrix(length=20, width=4), matrix(length=20, width=4)]
    weights = [torch.softmax(torch.randn(2, 20, 20), -1)]
    answers = mirada.view([*layers, *weights]).answers()
    rolled = np.frombuffer(answers.answer("rollout", {"query": "7"}), "<f4")
    wanted = torch.eye(20)[7]
    for each in (weights[0], layers[1].to_dense(), layers[0].to_dense()):
        wanted = 0.5 * wanted + 0.5 * wanted @ each.mean(0)
    np.testing.assert_allclose(rolled, wanted, atol=1e-6)
    with pytest.raises(ValueError, match="rollout needs layers over the same tokens, these have 20 × 20, 5 × 20"):
        mirada.view([layers[0], torch.rand(1, 5, 20)]).answers().answer("rollout", {"query": "0"})


def test_an_overview_of_a_layer(served):
    records = numbers(served, "overview", layer=0)
    of = matrix()
    np.testing.assert_allclose(records[:2], of.entropy().mean(-1), atol=1e-5)
    np.testing.assert_allclose(records[2:4], of.to_dense()[:, :, 0].mean(-1), atol=1e-6)
    assert len(records) == 4 * 2 + 2 * 32 * 32


# --- to whom ---


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/wrong/", {}),
        ("/wrong/row?layer=0&head=0&query=0", {}),
        ("TOKEN", {}),
        ("TOKEN/row/more", {}),
        ("TOKEN/../TOKEN/", {}),
        ("TOKEN/", {"Host": "evil.example"}),
        ("TOKEN/", {"Host": "127.0.0.1"}),
        ("TOKEN/", {"Origin": "http:" + "//evil.example"}),
        ("TOKEN/", {"Origin": "null"}),
        ("TOKEN/", {"Origin": "https:" + "//127.0.0.1"}),
    ],
)
def test_nothing_without_the_token_or_from_elsewhere(served, path, headers):
    token = "/" + served.address.split("/")[3]
    status, body, answered = get(served, path=path.replace("TOKEN", token), headers=headers)
    assert (status, body) == (404, b"")
    assert "server" not in {name.lower() for name in answered}


def test_only_this_machine_is_listened_to(served):
    assert served._socket.getsockname()[0] == "127.0.0.1"


def test_two_servers_have_two_tokens():
    one, other = (Server(Answers(scene(matrix()))) for _ in range(2))
    assert one.address.split("/")[3] != other.address.split("/")[3]
    assert len(one.address.split("/")[3]) >= 32
    one.stop()
    other.stop()


MALFORMED = [
    ("tile", {}),
    ("tile", {"layer": 0, "head": 0, "cell": 3, "row": 0, "column": 0}),
    ("tile", {"layer": 0, "head": 0, "cell": 0, "row": 0, "column": 0}),
    ("tile", {"layer": 0, "head": 0, "cell": 1, "row": 2, "column": 0}),
    ("tile", {"layer": 0, "head": 0, "cell": 10**30, "row": 0, "column": 0}),
    ("row", {"layer": 0, "head": 0, "query": LENGTH}),
    ("row", {"layer": 0, "head": 0, "query": -1}),
    ("row", {"layer": 0, "head": 0, "query": "1.5"}),
    ("row", {"layer": 0, "head": 0, "query": "٣"}),
    ("row", {"layer": 0, "head": 0, "query": "9" * 5000}),
    ("row", {"layer": 9, "head": 0, "query": 0}),
    ("parts", {"layer": 0, "head": 0, "query": 0, "first": 0, "after": LENGTH}),
    ("parts", {"layer": 0, "head": 0, "query": 0, "first": 5, "after": 5}),
    ("../../etc/passwd"[:2], {}),
    ("__init__", {}),
    ("<script>", {}),
]


@pytest.mark.parametrize(("question", "given"), MALFORMED)
def test_malformed_questions_are_refused_in_words(served, question, given):
    status, body, _ = get(served, question.replace("<", "%3C").replace(">", "%3E"), given)
    assert status == 400
    assert 0 < len(body) < 200
    assert b"/" not in body.replace(b"/script", b"")


def test_methods_that_are_not_understood(served):
    assert get(served, "row", method="POST", body="x")[0] == 405
    assert get(served, "", method="PUT")[0] == 405


def test_what_is_tried(served):
    status, body, _ = get(served, "double", method="POST", body=json.dumps({"number": 21}))
    assert (status, json.loads(body)) == (200, {"twice": 42, "says": "<b>"})
    assert get(served, "double", method="POST", body="[1]")[0] == 400
    assert get(served, "double", method="POST", body="{")[0] == 400
    status, body, _ = get(served, "double", method="POST", body=b'{"number":"' + b"x" * 300_000)
    assert status == 400
    assert b"262144 bytes" in body


def test_no_path_of_the_machine_in_an_answer(served):
    status, body, _ = get(served, "broken", method="POST", body="{}")
    assert (status, body) == (500, b"this could not be computed")
    page = get(served)[1].decode()
    assert not re.search(r"/(home|root|work|usr|tmp|opt)\b", page)


def test_many_at_once_malformed_ones_among_them(served):
    kinds = [("tile", {"layer": 0, "head": n % 2, "cell": 2 ** (n % 6), "row": 0, "column": 0}) for n in range(12)]
    asked = [(kinds + MALFORMED)[n % (len(kinds) + len(MALFORMED))] for n in range(200)]
    before = threading.active_count()
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda one: get(served, one[0].replace("<", "").replace(">", ""), one[1])[0], asked))
    assert set(found) == {200, 400}
    assert found.count(200) == sum(one in kinds for one in asked)
    assert threading.active_count() <= before + 8
    assert numbers(served, "entry", layer=0, head=0, query=0, key=0) == pytest.approx([1])


def test_what_is_kept_does_not_grow_without_end():
    heads = 24
    answers = Answers(scene(matrix(heads=heads, length=80)))
    for head in range(heads):
        answers.answer("tile", {"layer": 0, "head": head, "cell": 16, "row": 0, "column": 0})
        answers.answer("edges", {"layer": 0, "head": head})
    assert sum(key[0] == "levels" for key in answers._found) <= 8


def test_a_websocket_is_not_to_be_had(served):
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"}
    assert get(served, path="/", headers=upgrade)[0] == 404


def test_idle_and_slow_clients_keep_nobody_out(served):
    host, port = re.match(r"http://(.+):(\d+)/", served.address).groups()
    idle = []
    try:
        for number in range(900):
            client = socket.create_connection((host, int(port)), timeout=10)
            if number % 2:
                client.send(b"GET / HTTP/1.1\r\nHost: ")
            idle.append(client)
            if number % 300 == 299:
                since = time.monotonic()
                assert get(served)[0] == 200
                assert time.monotonic() - since < 1
    finally:
        for client in idle:
            client.close()


# --- beginning and end ---


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ValueError, match=f"port={port} is taken: choose another, or 0"):
            Server(Answers(scene(matrix())), port)
    with pytest.raises(ValueError, match="port=70000 can't be used"):
        Server(Answers(scene(matrix())), 70_000)


def test_the_extra_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(RuntimeError, match=r"pip install 'mirada\[view\]', or save the view as a page"):
        mirada.view(matrix()).serve()


PROGRAM = """
import torch, mirada, webbrowser
webbrowser.open = lambda address: False
mirada.view(torch.softmax(torch.randn(2, 5, 5), -1)).serve(say=lambda text: print(text, flush=True))
print("done", flush=True)
"""


def test_ctrl_c_ends_it_cleanly_and_the_address_is_told():
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], text=True, env=os.environ, **pipes) as process:
        _ends_cleanly(process)


def _ends_cleanly(process):
    assert process.stdout is not None
    address = process.stdout.readline().split()[0]
    assert "open this address by hand" in process.stdout.readline()
    host, port = re.match(r"http://(.+):(\d+)/", address).groups()  # type: ignore[union-attr]
    connection = HTTPConnection(host, int(port), timeout=30)
    connection.request("GET", "/" + address.split("/", 3)[3])
    answer = connection.getresponse()
    assert answer.status == 200
    answer.read()
    connection.close()
    since = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (out.strip(), err, process.returncode) == ("done", "", 0)
    assert time.monotonic() - since < 15


# --- in a browser ---


@pytest.mark.browser
def test_the_live_page_shows_the_models_numbers(browser, served):
    complaints, urls = [], []
    page = browser.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: urls.append(request.url))
    page.goto(served.address)
    page.get_by_text("2 of 2 heads").wait_for()
    page.wait_for_function(f"() => {ROOT}.querySelector('.card').ariaLabel")
    page.get_by_role("tab", name="Map").click()
    canvas = page.locator(".map canvas")
    for _ in range(7):
        canvas.press("ArrowDown")
    page.get_by_text("query 7 ").wait_for()
    page.wait_for_function(f"() => {ROOT}.querySelector('.readout').textContent.startsWith('query 7 ')")
    page.locator(".map .readout[data-weight]").wait_for()  # absent while the number is on its way
    weight = float(page.locator(".map .readout").get_attribute("data-weight"))
    assert abs(weight - float(matrix().to_dense()[0, 7, 0])) < 1e-6
    page.get_by_role("tab", name="Tokens").click()
    page.locator(".token").nth(12).hover()
    page.get_by_text("is attended to by").wait_for()
    best = int(matrix().to_dense().mean(0)[12].argmax())
    first = f"{ROOT}.querySelector('.details .listed').textContent"
    page.wait_for_function(f"() => {ROOT}.querySelector('.pointed').textContent.includes('query 12')")
    page.wait_for_function(f"() => {first} === '{best}'")
    page.get_by_role("tab", name="Steps").click()
    page.get_by_text("keys 0–7 of 300").wait_for()
    page.close()
    assert complaints == []
    assert all(url.startswith((served.address, "data:")) for url in urls)


@pytest.mark.browser
def test_a_server_that_has_ended_is_said_to_and_what_is_old_is_greyed(browser):
    server = Server(mirada.view(matrix(length=40)).answers())
    server.start()
    page = browser.new_page()
    try:
        page.goto(server.address)
        page.get_by_role("tab", name="Map", exact=True).click()
        page.locator(".map .readout[data-weight]").wait_for(timeout=10_000)
    finally:
        server.stop()
    page.locator(".map canvas").press("ArrowDown")
    page.get_by_text("The server has ended").first.wait_for()
    assert page.locator(".frame[data-gone]").count() == 1
    assert page.locator(".map .readout").get_attribute("data-weight") is None
    page.close()
