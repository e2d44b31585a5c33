"""A survey of a real trained language model finds the heads that copy."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import mirada
from mirada.models import open_model

pytestmark = [pytest.mark.smollm2, pytest.mark.filterwarnings("ignore")]


def test_the_induction_heads_of_smollm2_come_first():
    path = Path(__file__).parents[1] / "examples" / "language_model.py"
    spec = importlib.util.spec_from_file_location("language_model", path)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    opened = open_model(example.folder())
    found = mirada.survey(opened.model, [{"input_ids": example.repeated()}], "induction")["induction"]
    assert found.strongest() == [(18, 6), (17, 3), (17, 4), (18, 7), (17, 5)]
    assert float(found.mean[18, 6]) == pytest.approx(0.46, abs=0.005)
