"""What is said before a training: shapes and sizes of the model itself; no random number of the run is drawn."""

from __future__ import annotations

import pytest
import torch

import mirada
from mirada.cli import main
from mirada.systems import get
from mirada.tables import plain_text
from mirada.training.summary import parts, summary


def told(name: str, **settings) -> tuple[torch.nn.Module, str]:
    system = get(name)
    recipe = system.Settings(**settings)
    data = system.load(recipe)
    model = system.build(recipe, data)
    batch = next(iter(system.batches(recipe, data)(torch.Generator().manual_seed(0))))
    splits = system.held_out(recipe, data) | system.final(recipe, data)
    lines = summary(
        model, batch, measure=system.measure, place=torch.device("cpu"), steps=system.steps(recipe, data), splits=splits
    )
    return model, plain_text(lines, width=120)


@pytest.mark.parametrize("name", ["counting", "pixels", "patches", "squares"])
def test_the_learned_numbers_add_up(name):
    model, text = told(name)
    rows = [line.split() for line in text.splitlines()]
    start = next(n for n, row in enumerate(rows) if row[:2] == ["part", "type"])
    counts = [int(row[-1].replace(",", "")) for row in rows[start + 1 :]]
    assert sum(counts[:-1]) == counts[-1] == sum(parameter.numel() for parameter in model.parameters())


def test_batch_splits_and_shapes():
    _, text = told("patches", model="block", blocks=2)
    assert "24 steps an epoch; a batch is 64 × 8 × 8 uint8, 64 int64" in text
    assert "299 examples" in text
    assert "blocks.1" in text
    assert "64 × 16 × 64" in text


def test_it_leaves_the_model_and_the_random_numbers_as_they_were():
    system, recipe = get("squares"), get("squares").Settings(teacher_forcing=0.5)
    data = system.load(recipe)
    model = system.build(recipe, data).train()
    batch = next(iter(system.batches(recipe, data)(torch.Generator().manual_seed(0))))
    before = torch.get_rng_state()
    parts(model, batch, system.measure)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert not model.encoder._forward_hooks


def test_train_says_what_it_trains_and_what_can_be_done_next(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "squares", "--epochs", "1", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.index("EncoderDecoder") < said.index("epoch 1/1") < said.index("next:")
    commands = [line.split("  ")[1] for line in said[said.index("next:") :].splitlines()[1:]]
    assert f"mirada predict {out} -1,-1 -1,1" in commands
    assert main(commands[0].split()[1:]) == 0
    assert main(commands[1].split()[1:]) == 0


def test_without_progress_nothing_is_said(tmp_path, capsys):
    mirada.train("squares", out=tmp_path / "run", epochs=1, progress=False)
    assert capsys.readouterr().out == ""
