"""`mirada survey` on files of texts: streaming, windows, texts that fail, progress, what is refused."""

from __future__ import annotations

import json
import random

import pytest
import torch

import mirada
from mirada.cli import main
from mirada.surveys import Survey
from model_folders import WORDS, tokenizer
from surveyed import llama

pytestmark = [pytest.mark.transformers, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    llama().save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def corpus():
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 60))) for _ in range(40)]


def in_file(path, corpus):
    if path.suffix == ".txt":
        path.write_text("\n\n".join(corpus))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in corpus))
    else:
        import pyarrow
        from pyarrow import parquet

        parquet.write_table(pyarrow.table({"text": corpus, "n": list(range(len(corpus)))}), path)
    return path


@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet"])
def test_each_kind_of_file_gives_what_each_text_gives_alone(folder, corpus, tmp_path, capsys, kind):
    path = in_file(tmp_path / f"texts.{kind}", corpus)
    ask = ["--ask", "sink", "--ask", "induction"]
    out = tmp_path / "out"
    assert main(["survey", str(folder), str(path), "--out", str(out), "--length", "32", "--every", "16", *ask]) == 0
    found = Survey.load(out)
    model, words = llama(), tokenizer()
    windows = []
    for text in corpus:
        ids = words(text, add_special_tokens=False)["input_ids"]
        windows += [[1, *ids[at : at + 30], 2] for at in range(0, len(ids), 30)]
    alone = mirada.survey(model, [{"input_ids": torch.tensor([ids])} for ids in windows], ["sink", "induction"])
    assert (found.texts, found.tokens) == (len(windows), sum(map(len, windows)))
    for name in found:
        torch.testing.assert_close(found[name].mean, alone[name].mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[name].stderr, alone[name].stderr, rtol=1e-4, atol=1e-6)
        assert torch.equal(found[name].count, alone[name].count)
    said = capsys.readouterr()
    assert "strongest heads" in said.out
    assert "tokens/s" in said.err
    assert "left" in said.err


def test_texts_that_fail_are_named_and_counted(folder, corpus, tmp_path, capsys):
    path = tmp_path / "texts.jsonl"
    lines = [json.dumps({"text": text}).encode() for text in corpus[:6]]
    lines[1:1] = [b"{broken", b'{"txt": 1}', b'{"text": "  "}', b'{"text": "\\ud800"}', b"\xff\xfe"]
    path.write_bytes(b"\n".join(lines))
    assert main(["survey", str(folder), str(path), "--out", str(tmp_path / "out"), "--ask", "sink"]) == 0
    found = Survey.load(tmp_path / "out")
    assert found.texts == 6
    assert [name for name, _ in found.skipped] == [f"line {number}" for number in range(2, 7)]
    assert [why for _, why in found.skipped] == [
        "not JSON", 'no "text" in it', "empty", "not UTF-8 (half of a surrogate pair)", "not JSON",
    ]  # fmt: skip
    assert "5 texts skipped: line 2: not JSON" in capsys.readouterr().out


def test_importance_and_ablated_heads(folder, corpus, tmp_path):
    path = in_file(tmp_path / "texts.txt", corpus[:8])
    out = str(tmp_path / "out")
    assert main(["survey", str(folder), str(path), "--out", out, "--importance", "--ablate", "1.2"]) == 0
    found = Survey.load(out)
    assert (found["importance"].mean > 0).all()
    assert found["ablation"].mean.isnan().sum() == 7
    assert not found["ablation"].mean[1, 2].isnan()


def test_two_surveys_are_compared(folder, corpus, tmp_path, capsys):
    for name, part in (("a", corpus[:20]), ("b", corpus[20:])):
        path = in_file(tmp_path / f"{name}.txt", part)
        assert main(["survey", str(folder), str(path), "--out", str(tmp_path / name), "--ask", "sink"]) == 0
    assert main(["survey", "--compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert "of 8 heads differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "needs a model and texts"),
        (["MODEL"], "needs a model and texts"),
        (["MODEL", "missing.jsonl"], "missing.jsonl"),
        (["MODEL", "texts.csv"], "wanted a .txt, .jsonl or .parquet"),
        (["MODEL", "empty.txt"], "nothing to count"),
        (["MODEL", "blank.jsonl"], "none of the first 2 could be counted; line 1: empty"),
        (["MODEL", "no.parquet"], "not a Parquet file"),
        (["MODEL", "texts.txt", "--ask", "sinc"], "did you mean 'sink'"),
        (["MODEL", "texts.txt", "--length", "9999"], "takes 512 tokens at the most"),
        (["MODEL", "texts.txt", "--length", "2"], "length must be more than the 2 special tokens"),
        (["MODEL", "texts.txt", "--ablate", "six"], "wanted LAYER.HEAD"),
        (["MODEL", "texts.txt", "--every", "0"], "must be at least 1"),
        (["--compare", "a", "b"], "is no survey's folder"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(folder, tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("the cat sat\n")
    (tmp_path / "texts.csv").write_text("the cat sat\n")
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "no.parquet").write_text("nothing of the kind")
    (tmp_path / "blank.jsonl").write_text('{"text": ""}\n{"text": " "}\n')
    assert main(["survey", *[str(folder) if one == "MODEL" else one for one in arguments]]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert says in said[-1]
    assert said[-1].startswith("mirada: ")
