"""A survey's folder: what is read is what was kept; what is damaged or another's is refused and left alone."""

from __future__ import annotations

import csv
import json

import pytest
import torch

import mirada
from mirada.surveys import Survey
from surveyed import batched, llama, texts

pytestmark = pytest.mark.transformers
ASK = ["entropy", "sink", "attention_by_distance", {"mine": lambda record: mirada.summaries.sink(record)}]


@pytest.fixture(scope="module")
def model():
    return llama()


@pytest.fixture(scope="module")
def survey(model):
    return mirada.survey(model, batched(texts(9), 3), ask=ASK)


def assert_same(one: Survey, other: Survey, **near: float):
    assert (one.layers, one.texts, one.tokens, one.names()) == (other.layers, other.texts, other.tokens, other.names())
    near = near or {"rtol": 0.0, "atol": 0.0}
    for name in one:
        for what in ("mean", "std", "stderr", "min", "max"):
            found, wanted = getattr(one[name], what), getattr(other[name], what)
            torch.testing.assert_close(found, wanted, **near, equal_nan=True, msg=f"{name} {what}")
        for what in ("count", "texts", "histogram"):
            assert torch.equal(getattr(one[name], what), getattr(other[name], what)), (name, what)


def test_what_is_read_is_what_was_kept(survey, tmp_path):
    survey.save(tmp_path / "s")
    read = Survey.load(tmp_path / "s")
    assert_same(read, survey)
    assert str(read) == str(survey)
    assert read.examples("sink", 1, 0) == survey.examples("sink", 1, 0)
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"survey.json", "heads.csv", "sums.safetensors"}


def test_the_table_has_a_row_for_each_head(survey, tmp_path):
    survey.save(tmp_path)
    with (tmp_path / "heads.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    sink = [row for row in rows if row["summary"] == "sink"]
    assert [(row["layer"], row["head"]) for row in sink] == [(str(n), str(h)) for n in range(2) for h in range(4)]
    assert float(sink[5]["mean"]) == pytest.approx(float(survey["sink"].mean[1, 1]))
    curve = [row for row in rows if row["summary"] == "attention_by_distance" and row["layer"] == row["head"] == "0"]
    assert [row["bin"] for row in curve][:2] == ["0", "−1"]
    about = json.loads((tmp_path / "survey.json").read_text())
    assert (about["complete"], about["counted"]["texts"]) == (True, 9)


def test_a_folder_that_holds_another_survey_is_left_alone(survey, model, tmp_path):
    survey.save(tmp_path)
    other = mirada.survey(model, batched(texts(9), 3), ask="sink")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="another survey"):
        other.save(tmp_path)
    with pytest.raises(ValueError, match="holds a survey already"):
        mirada.survey(model, batched(texts(9), 3), ask=ASK, out=tmp_path)
    with pytest.raises(ValueError, match=r"holds another survey: ask was 'entropy.*now 'sink'"):
        mirada.survey(model, batched(texts(9), 3), ask="sink", out=tmp_path, resume=True)
    layer = torch.nn.TransformerEncoderLayer(8, 2)
    with pytest.raises(ValueError, match="parameters was"):
        mirada.survey(layer, [torch.ones(1, 2, 8)], ask=ASK, out=tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_no_survey_there(tmp_path):
    with pytest.raises(ValueError, match="is no survey's folder"):
        Survey.load(tmp_path)


@pytest.mark.parametrize("name", ["survey.json", "sums.safetensors"])
@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"\xff\xfe", "half"])
def test_a_damaged_file_is_named(survey, tmp_path, name, damage):
    survey.save(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "half" else damage)
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        Survey.load(tmp_path)


def test_a_name_that_was_not_asked(survey):
    with pytest.raises(KeyError, match="did you mean 'entropy'"):
        survey["entropi"]


@pytest.mark.parametrize("rounds", [0, 1, 2, 3])
def test_what_was_broken_off_goes_on(model, tmp_path, rounds):
    """After so many rounds the batches end with an error; the survey goes on from there, and counts none twice."""
    given = batched(texts(40), 3)

    def broken():
        yield from given[: 4 * rounds + 2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mirada.survey(model, broken(), ask=ASK, out=tmp_path, every=4)
    found = mirada.survey(model, given, ask=ASK, out=tmp_path, every=4, resume=True)
    assert_same(found, mirada.survey(model, given, ask=ASK, every=4))
    assert_same(Survey.load(tmp_path), found)
    again = mirada.survey(model, given, ask=ASK, out=tmp_path, every=4, resume=True)  # nothing is left to count
    assert_same(again, found)


def test_a_folder_in_which_nothing_was_kept_is_free_again(model, tmp_path):
    with pytest.raises(ValueError, match="could be counted"):
        mirada.survey(model, [{"input_ids": torch.full((1, 3), 9999)}], ask="sink", out=tmp_path / "s")
    mirada.survey(model, batched(texts(3), 3), ask="sink", out=tmp_path / "s")
