"""A survey on several processes, killed and resumed: the same table, whatever happens."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mirada
from mirada.cli import main
from mirada.surveys import Survey
from model_folders import WORDS, tokenizer
from surveyed import batched, llama, texts
from test_survey_folder import assert_same

pytestmark = [pytest.mark.transformers, pytest.mark.filterwarnings("ignore")]
SCRIPTS = Path(__file__).parent / "scripts"
ASK = ["--ask", "entropy", "--ask", "induction", "--ask", "attention_by_distance", "--importance", "--every", "16"]


def started(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def ended(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors[-3000:]
    return output


def sharded(out: Path, how: str) -> subprocess.Popen[str]:
    """Two processes with parts of a model, or with two models."""
    return started(*torchrun(2), str(SCRIPTS / "survey_sharded.py"), str(out), how)


def torchrun(processes: int) -> list[str]:
    return ["-m", "torch.distributed.run", "--nproc-per-node", str(processes)]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A model's folder and texts, with one line that is broken."""
    path = tmp_path_factory.mktemp("given")
    llama().save_pretrained(path / "model")
    tokenizer().save_pretrained(path / "model")
    torch.manual_seed(0)
    lines = [json.dumps({"text": " ".join(WORDS[n] for n in torch.randint(0, len(WORDS), (size,)))})
             for size in torch.randint(1, 50, (50,)).tolist()]  # fmt: skip
    (path / "texts.jsonl").write_text("\n".join([*lines[:20], "{broken", *lines[20:]]))
    return path


@pytest.fixture(scope="module")
def alone(given):
    assert main(["survey", *command(given, "alone")]) == 0
    return Survey.load(given / "alone")


def command(given: Path, out: str) -> list[str]:
    return [str(given / "model"), str(given / "texts.jsonl"), "--out", str(given / out), "--length", "32", *ASK]


NEAR = {"rtol": 1e-9, "atol": 1e-9}


@pytest.mark.parametrize("processes", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3, 4))])
def test_any_number_of_processes_gives_the_table_of_one(given, alone, processes):
    said = ended(started(*torchrun(processes), "-m", "mirada", "survey", *command(given, str(processes))))
    found = Survey.load(given / str(processes))
    assert_same(found, alone, **NEAR)
    assert found.skipped == alone.skipped == [("line 21", "not JSON")]
    assert found.examples("induction", 1, 0) == alone.examples("induction", 1, 0)
    assert said.count("strongest heads") == 1  # one process speaks


@pytest.mark.slow
def test_two_machines_give_the_table_of_one(given, alone):
    """Two agents of torchrun that meet on this machine, with two processes each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meet = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "survey"]
    survey = [*torchrun(2), *meet, "-m", "mirada", "survey", *command(given, "agents")]
    agents = [started(*survey) for _ in range(2)]
    for agent in agents:
        ended(agent)
    assert_same(Survey.load(given / "agents"), alone, **NEAR)


@pytest.mark.parametrize("count", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_goes_on_with_another_number_of_processes(tmp_path, count):
    told = json.loads(ended(started(str(SCRIPTS / "survey_kills.py"), str(tmp_path), str(count))))
    assert len(told) == count
    for one in told:
        assert set(one["status"]) == {0}, one
        assert one["same counts"], one
        assert one["apart"] <= 1e-9, one
    assert any(-9 in one["killed"] for one in told)
    assert any(0 < one["done"] < 90 for one in told)


@pytest.mark.parametrize("how", ["fsdp", "tensor"])
def test_a_model_that_is_sharded_gives_the_table_of_the_whole_one(tmp_path, how):
    """FSDP2 and tensor parallel on two processes; of three batches one process has none of its own at the end."""
    ended(sharded(tmp_path / how, how))
    found = Survey.load(tmp_path / how)
    ask = ["entropy", "sink", "induction", "attention_by_distance"]
    assert_same(found, mirada.survey(llama(), batched(texts(20), 4), ask, every=3), rtol=1e-5, atol=1e-6)


def test_processes_with_different_models_are_refused_and_nothing_is_lost(tmp_path):
    mirada.survey(llama(), batched(texts(9), 3), "sink").save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    both = sharded(tmp_path, "others")
    _, errors = both.communicate(timeout=500)
    assert both.returncode != 0
    assert errors.count("ValueError: process 1 differs from process 0 in parameters: start all with the same") == 2
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
