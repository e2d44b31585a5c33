"""Downloads: verified, cached, never half a file; mirrors in turn; a way out when there is no network."""

from __future__ import annotations

import functools
import gzip
import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mirada.data.download import SOURCES, Source, cache, fetch, md5_of_file, sha256_of_content
from mirada.data.files import DataError

CONTENT = {"train": b"the training images" * 9999, "test": b"the test images" * 99}


class Mirrors(BaseHTTPRequestHandler):
    """Under /good/ what was asked for, under /cut/ half of it, under /false/ something else, elsewhere nothing."""

    def __init__(self, asked: list[str], *args) -> None:
        self.asked = asked
        super().__init__(*args)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        _, kind, file = self.path.split("/")
        body = gzip.compress(CONTENT[file.removesuffix(".gz")] if kind != "false" else b"another file", mtime=0)
        self.send_response(200 if kind in ("good", "cut", "false") else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if kind == "cut" else body)

    def log_message(self, *args) -> None:
        """Silence."""


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def address(asked) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Mirrors, asked)) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MIRADA_CACHE", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "toy"


def source(address: str, *mirrors: str) -> Source:
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    return Source(tuple(f"{address}/{mirror}/" for mirror in mirrors), digests, sha256_of_content)


def test_downloads_once(address, asked, home):
    for _ in range(2):
        assert fetch("toy", source(address, "good")) == home
    assert asked == ["/good/train.gz", "/good/test.gz"]
    assert {path.name: gzip.decompress(path.read_bytes()) for path in home.iterdir()} == {
        f"{name}.gz": content for name, content in CONTENT.items()
    }


@pytest.mark.parametrize("bad", ["cut", "false", "gone"])
def test_the_next_mirror_is_asked(address, asked, home, bad):
    fetch("toy", source(address, bad, "good"))
    assert asked == [f"/{bad}/train.gz", "/good/train.gz", f"/{bad}/test.gz", "/good/test.gz"]
    assert sorted(path.name for path in home.iterdir()) == ["test.gz", "train.gz"]


def test_a_cached_file_gone_bad_is_fetched_anew(address, asked, home):
    fetch("toy", source(address, "good"))
    file = home / "test.gz"
    file.write_bytes(file.read_bytes()[:20])
    fetch("toy", source(address, "good"))
    assert asked[2:] == ["/good/test.gz"]
    assert gzip.decompress(file.read_bytes()) == CONTENT["test"]


@pytest.mark.parametrize(("bad", "reason"), [("cut", ""), ("false", "not the genuine file"), ("gone", "404")])
def test_when_no_mirror_has_it(address, home, bad, reason):
    with pytest.raises(DataError, match=rf"^toy: [^\n]*train.gz [^\n]*127.0.0.1:\d+: {reason}[^\n]*--data-dir$"):
        fetch("toy", source(address, bad))
    assert list(home.iterdir()) == []


def test_offline():
    with pytest.raises(DataError, match=r"ConnectionError.*connect and try again.*--data-dir"):
        fetch("toy", source("http://127.0.0.1:9", "good"))


def test_an_interruption_leaves_nothing(address, home, monkeypatch):
    def interrupted(path: Path) -> str:
        assert path.read_bytes()  # there is something to leave behind
        raise KeyboardInterrupt

    toy = source(address, "good")
    with pytest.raises(KeyboardInterrupt):
        fetch("toy", Source(toy.mirrors, toy.digests, interrupted))
    assert list(home.iterdir()) == []


def test_what_a_killed_download_left_is_removed_by_the_next(address, home):
    home.mkdir(parents=True, exist_ok=True)
    (home / ".train.gz.999999999.ab12.part").write_bytes(b"half")
    fetch("toy", source(address, "good"))
    assert sorted(path.name for path in home.iterdir()) == ["test.gz", "train.gz"]


def test_the_cache_is_the_users(monkeypatch):
    monkeypatch.delenv("MIRADA_CACHE")
    assert "mirada" in str(cache())
    assert cache().is_absolute()


def test_md5_is_of_the_file_as_it_lies_there(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"abc")
    assert md5_of_file(file) == "900150983cd24fb0d6963f7d28e17f72"  # RFC 1321


@pytest.mark.mnist
def test_mnist_is_known_by_its_content():
    mnist = SOURCES["mnist"]
    folder = Path(os.environ["MIRADA_MNIST"])
    assert {name: sha256_of_content(folder / f"{name}.gz") for name in mnist.digests} == mnist.digests


@pytest.mark.network
@pytest.mark.parametrize("name", ["mnist", "fashion"])
@pytest.mark.parametrize("mirror", [0, 1])
def test_every_mirror_serves_the_genuine_files(name, mirror):
    real = SOURCES[name]
    if mirror < len(real.mirrors):
        fetch(name, Source(real.mirrors[mirror : mirror + 1], real.digests, real.digest))
