"""``A.explain(question)`` names the kernel that answers, on the CPU and on a second device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import explaining
from mirada import AttentionMatrix, kernels, masks
from mirada.kernels.tuning import changed


@pytest.mark.parametrize("name", explaining.PROBLEMS)
@pytest.mark.parametrize("question", explaining.QUESTIONS)
def test_what_is_explained_is_what_runs(question: str, name: str):
    assert explaining.explained_and_ran(question, name, "cpu") is None


def test_what_is_explained_is_what_runs_on_a_second_device():
    # In a process of its own, which knows of a device that is made of the CPU and keeps apart from it (far.py).
    script = Path(__file__).parent / "scripts" / "explain_far.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=300)
    *differences, count = done.stdout.splitlines()
    assert not differences
    assert int(count) == len(explaining.QUESTIONS) * len(explaining.PROBLEMS)


def test_every_question_of_the_table_is_asked():
    assert set(explaining.QUESTIONS) == set(kernels.TABLE) - {"grouped"}  # which tiles ask


def test_every_refusal_is_said_with_its_reason():
    query, key = torch.randn(2, 3, 300, 8), torch.randn(2, 3, 300, 8)
    lines = AttentionMatrix(query, key, masks.causal(300), softcap=5.0).explain("context").splitlines()
    assert lines == [
        "chunked: a chunk of rows at a time",
        "  not chebyshev: it is for one channel, these are 8",
        "  not sdpa: it knows no softcap",
        "  not reference: 540,000 weights, formed where they are at most 65,536",
        "  not flash_cpu: it knows no softcap",
    ]


def test_what_only_an_answer_shows_is_said_too():
    query, key = torch.randn(1, 2, 300, 8), torch.randn(1, 2, 300, 8).index_fill(2, torch.tensor([299]), torch.nan)
    with changed(few_weights=0):
        said = AttentionMatrix(query, key, masks.causal(300)).explain("context")
    assert said.startswith("chunked")
    assert "not sdpa: NaN or inf came through" in said
    assert "not flash_cpu: NaN or inf may stand behind the mask" in said


def test_a_learned_mask_needs_the_whole_matrix():
    bias = torch.zeros(300, 300, requires_grad=True)
    matrix = AttentionMatrix(torch.randn(2, 300, 8), torch.randn(2, 300, 8), bias)
    for question in ("context", "entropy", "transpose", "topk"):
        said = matrix.explain(question)
        assert said.startswith("reference: the weights are formed")
        assert "the mask is learned" in said


def test_an_unknown_question_is_named():
    with pytest.raises(ValueError, match=r"question must be one of context, attention, .*, got 'entropie'"):
        AttentionMatrix(torch.ones(2, 2), torch.ones(3, 2)).explain("entropie")
