"""What holds for the project as a whole: its public names, what importing costs, what its texts may name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import mirada

ROOT = Path(__file__).parents[1]
HOSTS = {
    "arxiv.org", "doi.org", "semver.org", "keepachangelog.com", "www.apache.org",
    "ossci-datasets.s3.amazonaws.com", "storage.googleapis.com", "fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    "www.w3.org", "127.0.0.1", "pytorch.org",
}  # fmt: skip


def texts() -> list[Path]:
    """Every text of the project's own."""
    kinds = {".py", ".md", ".toml", ".txt", ".cff", ".html", ".css", ".js", ".svg", ".json", ""}
    rooms = [ROOT / name for name in ("src", "tests", "benchmarks", "docs", "examples", ".ci")]
    found = [path for room in rooms for path in room.rglob("*")] + list(ROOT.iterdir())
    return [
        path
        for path in found
        if path.is_file() and path.suffix in kinds and not {"__pycache__", "LICENSE", ".git"} & set(path.parts)
    ]


def python(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout


def test_every_public_name_is_there():
    assert {"AttentionMatrix", "attention", "trace", "masks", "nn", "systems", "train", "load"} <= set(mirada.__all__)
    for name in mirada.__all__:
        assert getattr(mirada, name) is not None


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="no attribute 'atention'"):
        mirada.atention  # noqa: B018


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["tour", "--uot"], ["trian"]])
def test_help_and_misspelt_commands_load_no_torch(arguments):
    program = f"import sys; from mirada.cli import main; main({arguments}); print('torch' in sys.modules)"
    assert python("-c", program).splitlines()[-1] == "False"


def test_importing_mirada_loads_nothing_heavy():
    program = "import sys, mirada; print([m for m in ('torch', 'numpy', 'matplotlib', 'rich') if m in sys.modules])"
    assert python("-c", program).strip() == "[]"


def test_the_version_is_the_same_everywhere():
    said = {
        re.search(pattern, (ROOT / name).read_text(), re.MULTILINE)[1]  # type: ignore[index]
        for name, pattern in {
            "pyproject.toml": r'^version = "(.+)"',
            "CITATION.cff": r"^version: (.+)$",
            "CHANGELOG.md": r"^## (\S+)",
        }.items()
    }
    assert said == {mirada.__version__}


def test_ci_runs_the_readmes_test_command():
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if "[test]" in line]
    assert len(lines) == 1
    assert lines[0].startswith(".venv/bin/pip install")
    assert lines[0].endswith("&& .venv/bin/pytest")


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert programs
    exec(compile("\n".join(programs), "README.md", "exec"), {})


@pytest.mark.parametrize(
    ("text", "house"),
    [("docs/architecture.md", r"^\| (`.+?) \|"), ("CONTRIBUTING.md", r"^ ([a-z]+(?: · [a-z]+)*)  ")],
)
def test_each_module_has_its_place_in_the_house(text, house):
    named = set(re.findall(r"\w+", " ".join(re.findall(house, (ROOT / text).read_text(), re.MULTILINE))))
    modules = {path.stem for path in (ROOT / "src" / "mirada").iterdir() if path.is_dir() or path.suffix == ".py"}
    assert named == modules - {"__init__", "__main__", "__pycache__"}


def test_every_file_that_a_text_links_to_is_there():
    for path in ROOT.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", path.read_text()):
            assert (ROOT / target).exists(), f"{path.name} links to {target}"


def test_texts_name_no_machine_and_no_paper_that_is_not_here():
    """No path of anybody's machine, no host but those that a reader needs, no document that isn't in the project."""
    for path in texts():
        text = path.read_text()
        assert not re.findall(r"(?<![\w.<])/(?:home|root|opt|work|Users)/", text), path
        assert set(re.findall(r"https?://([\w.-]+\w)", text)) <= HOSTS, path
        for name in re.findall(r"(?<![\w/])[A-Z]{4,}\.md\b", text):
            assert (ROOT / name).exists(), f"{path} names {name}"


@pytest.mark.parametrize(
    "word",
    [
        "nobody", "somebody", "anybody", "whoever", "looks on", r"(are|is) no numbers?\b", "as dear", "sighting",
        "a touch too kind", "glance", "the reference", r"(front|own|which) door",
    ],
)  # fmt: skip
def test_the_library_speaks_the_terms_of_the_field(word):
    """Outside the tour and the lessons no private word stands where the field has a term."""
    package = ROOT / "src" / "mirada"
    lessons = (package / "tour", package / "systems")
    for path in [*package.rglob("*.py"), *package.rglob("*.js")]:
        if not any(path.is_relative_to(folder) for folder in lessons):
            assert not re.findall(rf"\b{word}", path.read_text(encoding="utf-8"), re.IGNORECASE), path
