"""A model by its hub name, from a stand-in hub on loopback: what is fetched, what is refused, what works offline."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from model_folders import save

pytestmark = [pytest.mark.transformers, pytest.mark.filterwarnings("ignore")]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does: what a model's files are, and their bytes."""

    repositories: dict = {}  # noqa: RUF012 - set by the fixture
    asked: list = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append(self.path)
        kind, *rest = self.path.split("?")[0].strip("/").split("/")
        if kind == "api":
            owner_and_name, revision = "/".join(rest[1:3]), rest[4] if len(rest) > 4 else "main"
            return self._listed(owner_and_name, revision)
        return self._file("/".join((kind, rest[0])), "/".join(rest[3:]))

    do_HEAD = do_GET  # noqa: N815

    def _listed(self, name, revision):
        folder = self.repositories.get(name)
        if folder is None:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if revision not in ("main", COMMIT):
            return self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
        if "/tree/" in self.path:
            told = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": "0" * 40}
                for name, path in files.items()
            ]
            return self._send(200, json.dumps(told).encode())
        siblings = [{"rfilename": file} for file in files]
        return self._send(200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings, "private": False}).encode())

    def _file(self, name, file):
        path = self.repositories.get(name, None) and self.repositories[name] / file
        if path is None or not path.is_file():
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        body = path.read_bytes()
        return self._send(200, body, {"ETag": f'"{hashlib.sha256(body).hexdigest()}"', "X-Repo-Commit": COMMIT})

    def _send(self, status, body, headers=()):
        self.send_response(status)
        for key, value in dict(headers).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    good = save("Llama", root / "good")
    (good / "modeling_own.py").write_text("raise SystemExit('executed')")
    (good / "pytorch_model.bin").write_bytes(b"pickled")
    pickled = save("GPT-2", root / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    own = save("GPT-2", root / "own")
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": {"AutoModel": "own.Own"}}))
    Hub.repositories = {"somebody/good": good, "somebody/pickled": pickled, "somebody/own": own}
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(tmp_path):
    """Runs `mirada look` in a process of its own with a cache of its own."""

    def look(*arguments, endpoint, **environment):
        given = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_DISABLE_XET": "1"}
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            given.pop(name, None)
        command = [sys.executable, "-m", "mirada", "look", *arguments, "--no-page"]
        return subprocess.run(command, env=given | environment, capture_output=True, text=True, timeout=120)

    return look


def nowhere():
    """An address at which no server listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def told(done):
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    return done.stderr.strip().splitlines()[-1]


def test_a_hub_name_is_fetched_once_and_then_works_without_any_network(hub, run):
    Hub.asked.clear()
    first = run("somebody/good", "the cat sat", endpoint=hub)
    assert first.returncode == 0, first.stderr
    assert "model.layers.1.self_attn" in first.stdout
    fetched = [path for path in Hub.asked if "/resolve/" in path]
    assert any(path.endswith("model.safetensors") for path in fetched)
    assert not any(path.endswith((".py", ".bin")) for path in fetched)
    offline = run("somebody/good", "the cat sat", endpoint=nowhere())
    assert offline.stdout == first.stdout, offline.stderr
    switched_off = run("somebody/good", "the cat sat", endpoint=hub, HF_HUB_OFFLINE="1")
    assert switched_off.stdout == first.stdout, switched_off.stderr


def test_what_the_hub_has_not_or_should_not_have(hub, run):
    assert "no such model on the hub" in told(run("somebody/nothing", "the cat", endpoint=hub))
    assert "no revision 'other'" in told(run("somebody/good", "the cat", "--revision", "other", endpoint=hub))
    assert "needs its own code (own.Own)" in told(run("somebody/own", "the cat", endpoint=hub))
    Hub.asked.clear()
    assert "pickled (pytorch_model.bin)" in told(run("somebody/pickled", "the cat", endpoint=hub))
    assert not any("/resolve/" in path for path in Hub.asked)


def test_a_folder_needs_no_network(hub, run):
    done = run(str(Hub.repositories["somebody/good"]), "the cat sat", endpoint=nowhere())
    assert done.returncode == 0, done.stderr


def test_no_network(run):
    line = told(run("somebody/good", "the cat", endpoint=nowhere()))
    assert line == "mirada: somebody/good: no such folder, not in the hub's cache, and the hub can't be reached"
    assert "the hub can't be reached" in told(run("somebody/good", "the cat", endpoint=nowhere(), HF_HUB_OFFLINE="1"))
    assert "no such" in told(run("a//b", "the cat", endpoint=nowhere()))
