"""What the counting promises: the shortcut is the layer, the query finds 2 and 4, and ten digits are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Generator
from torch.nn.functional import binary_cross_entropy

import mirada
from mirada.systems import counting
from mirada.systems.counting import Counter, Settings


def test_looking_up_ten_digits_is_the_layer_itself():
    model, digits = Counter(), torch.randint(10, (7, 10))
    logits, weights = model(digits)
    context, wanted = model.attention(model.embed(digits), need_weights=True)
    torch.testing.assert_close(weights, wanted)
    torch.testing.assert_close(logits, model.judge(context[:, 0]))
    parameters = list(model.parameters())
    grads = torch.autograd.grad(logits.square().sum(), parameters)
    wanted_grads = torch.autograd.grad(model.judge(context[:, 0]).square().sum(), parameters)
    torch.testing.assert_close(grads, wanted_grads, rtol=1e-4, atol=1e-6)


def test_shapes_and_sizes():
    model = Counter()
    sizes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert sizes["embed.weight"] == (10, 5)
    assert sizes["attention.query"] == (1, 5)
    assert sizes["attention.value.weight"] == (1, 5)
    assert sizes["judge.0.weight"] == (200, 1)
    logits, weights = model(torch.randint(10, (7, 10)))
    assert logits.shape == (7, 1)
    assert weights.shape == (7, 1, 10)


def test_what_is_measured():
    model, (digits, answer) = Counter(), counting.generate(50, Generator().manual_seed(0))
    with torch.no_grad():
        sums = counting.measure(model, (digits, answer))
        probability = model(digits)[0].sigmoid()
    told = counting.report(sums)
    assert told["loss"] == pytest.approx(float(binary_cross_entropy(probability, answer)), rel=1e-5)
    assert told["accuracy"] == pytest.approx(float(((probability > 0.5) == (answer == 1)).float().mean()))


def test_every_step_draws_fresh_sequences():
    settings = Settings(steps_per_epoch=3, batch_size=4)
    data, generator = counting.load(settings), Generator().manual_seed(0)
    drawn = [digits for _ in range(2) for digits, _ in counting.batches(settings, data)(generator)]
    assert len(drawn) == 2 * counting.steps(settings, data)
    assert len({tuple(digits.flatten().tolist()) for digits in drawn}) == 6
    assert [len(data.validation[0]), len(data.test[0])] == [10_000, 100_000]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> mirada.Run:
    """In a hurry: a hundred times the learning rate, a twentieth of the steps."""
    folder = tmp_path_factory.mktemp("runs") / "counting"
    return mirada.train("counting", out=folder, epochs=2, steps_per_epoch=250, learning_rate=5e-3, progress=False)


def test_it_learns_to_count(run):
    assert run.metrics[-1]["split"] == "test"
    assert run.metrics[-1]["accuracy"] > 0.99
    assert run.evaluate()["test"]["accuracy"] == pytest.approx(run.metrics[-1]["accuracy"])


def test_pictures(run):
    assert {path.stem for path in run.plot()} == {"learning", "ten-digits", "attention", "values", "three"}


def test_the_loss_of_every_step_is_kept_and_drawn(run):
    assert len(run.losses) == 2 * 250
    train = [line["loss"] for line in run.metrics if line["split"] == "train"]
    assert run.losses.view(2, 250).mean(1).tolist() == pytest.approx(train, rel=1e-4)
    page = dict(counting.pictures(run))["three"]
    left, middle, right = page.axes
    assert len(left.texts) == 120
    assert right.lines[0].get_ydata().tolist() == run.losses.tolist()
    values = middle.images[0].get_array()
    assert all(bool(text.get_text()) for text in middle.texts)
    assert len(middle.texts) == int((values != 0).sum())


@pytest.mark.parametrize("inputs", [list("2024192356"), ["2024192356"], ["20241", "92 356"]])
def test_predict(run, inputs):
    text, figure = run.predict(inputs)
    assert text.startswith("more 2s than 4s? yes")
    assert [label.get_text() for label in figure.axes[0].texts] == list("2024192356")


def test_predict_says_no(run):
    assert run.predict(["2444444444"])[0].startswith("more 2s than 4s? no")


@pytest.mark.parametrize("inputs", [[], ["202419235"], ["20241923567"], ["202419235x"], ["٢٠٢٤١٩٢٣٥٢"], ["-202419235"]])
def test_bad_digits(run, inputs):
    with pytest.raises(ValueError, match="wanted 10 digits"):
        run.predict(inputs)


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="steps_per_epoch=0: at least 1"):
        Settings(steps_per_epoch=0)


@pytest.mark.slow
def test_the_recipe_finds_what_matters(tmp_path: Path):
    run = mirada.train("counting", out=tmp_path / "run", progress=False)
    assert run.metrics[-1]["accuracy"] >= 0.999
    with torch.no_grad():
        _, weights = run.model(torch.arange(10)[None])
    assert counting.share(weights) >= 0.75
