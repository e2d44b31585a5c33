"""The lesson `pixels`: its data, the bare mechanism, what it reports, what it draws and answers."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Generator

from mirada.plots import png
from mirada.systems import pixels


@pytest.fixture(scope="module")
def settings() -> pixels.Settings:
    return pixels.Settings()


@pytest.fixture(scope="module")
def data(settings) -> pixels.Data:
    return pixels.load(settings)


def model_for(settings: pixels.Settings, data: pixels.Data, seed: int = 42) -> pixels.Pixels:
    torch.manual_seed(seed)
    return pixels.build(settings, data)


@pytest.fixture(scope="module")
def run(settings, data) -> Any:
    """A run as the pictures see it; how well it was trained is no matter here."""
    model = model_for(settings, data)
    with torch.no_grad():
        model.attend.query.weight.fill_(30.0)
        model.attend.key.weight.fill_(30.0)
    metrics = [
        {"epoch": epoch, "split": split, "loss": 1 / epoch, "bits": 1.44 / epoch, "accuracy": 0.9, "seconds": 1.0}
        for epoch in (1, 2)
        for split in ("train", "validation")
    ]
    return SimpleNamespace(model=model.eval(), settings=settings, data=data, metrics=metrics)


# --- data ---


def test_the_recipe_of_the_write_up_and_the_one_for_few_images(settings):
    assert (settings.epochs, settings.scaling) == (30, "std")
    settings = pixels.Settings(data="mnist")
    assert (settings.epochs, settings.learning_rate, settings.batch_size) == (128, 0.01, 16)
    assert (settings.scaling, settings.schedule, settings.seed) == ("writeup", "constant", 42)


def test_five_sixths_train_and_a_sixth_validates(data):
    assert len(data.train[0]) == 1249
    assert len(data.validation[0]) == 249
    assert len(data.test[0]) == 299
    seen = {tuple(image.flatten().tolist()) for image in data.train[0]}
    assert not any(tuple(image.flatten().tolist()) in seen for image in data.validation[0])


def test_batches_are_as_many_as_promised_and_seeded(settings, data):
    epoch = pixels.batches(settings, data)
    first, again = (list(epoch(Generator().manual_seed(1))) for _ in range(2))
    assert len(first) == pixels.steps(settings, data) == 78
    assert all(images.shape == (16, 8, 8) and images.dtype == torch.uint8 for images, _ in first)
    assert all(torch.equal(a, b) for a, b in zip(first[-1], again[-1], strict=True))


def test_held_out_and_test_images_come_once_each(settings, data):
    (validation,), (test,) = pixels.held_out(settings, data).values(), pixels.final(settings, data).values()
    assert sum(len(labels) for _, labels in validation()) == 249
    assert sum(len(labels) for _, labels in test()) == 299


def test_statistics_by_hand():
    # Two pixels, two images: means 10 and 100; deviations ±10 and ±100, so variances 200 and 20,000 (of a sample).
    images = torch.tensor([[[0, 0]], [[20, 200]]], dtype=torch.uint8)
    mean, scale = pixels.statistics(images, "writeup")
    assert mean.tolist() == [[10.0, 100.0]]
    assert scale.item() == pytest.approx(19_800 / math.sqrt(2))
    assert pixels.statistics(images, "std")[1].item() == pytest.approx(math.sqrt((2 * 100 + 2 * 10_000) / 3))


# --- model ---


def test_three_numbers_and_a_linear_layer(settings, data):
    model = model_for(settings, data)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    assert shapes == {
        "attend.query.weight": (1, 1),
        "attend.key.weight": (1, 1),
        "attend.value.weight": (1, 1),
        "classify.weight": (10, 64),
        "classify.bias": (10,),
    }


def test_query_key_and_value_are_drawn_from_plus_minus_one(settings, data):
    drawn = torch.stack([model_for(settings, data, seed).attend.query.weight for seed in range(300)])
    assert drawn.abs().max() <= 1
    assert drawn.var().item() == pytest.approx(1 / 3, rel=0.15)


def test_the_model_is_what_the_lesson_says(settings, data):
    """Every step written out in float64."""
    model = model_for(settings, data)
    images = data.test[0][:3]
    centred = (images.double() - data.train[0].double().mean(0)) / model.scale.double()
    x = centred.flatten(1)  # (N, L)
    q, k, v = (layer.weight.double().item() * x for layer in (model.attend.query, model.attend.key, model.attend.value))
    weights = (q[:, :, None] * k[:, None, :]).softmax(-1)  # (N, L, L), scaled by 1/√1
    context = (weights @ v[..., None])[..., 0]  # (N, L)
    logits = context @ model.classify.weight.double().T + model.classify.bias.double()
    torch.testing.assert_close(model(images).double(), logits, rtol=0, atol=1e-6)
    torch.testing.assert_close(model.weights(images).double(), weights, rtol=0, atol=1e-6)


def test_a_pixel_as_usual_looks_everywhere_alike(run):
    image = run.data.test[0][0]
    usual = pixels.chosen(run.model, image)["as usual"]
    assert run.model.sequence(image[None]).flatten()[usual].abs() < 1e-4
    row = run.model.weights(image[None])[0, usual]
    torch.testing.assert_close(row, torch.full_like(row, 1 / 64), rtol=1e-2, atol=0)


# --- what is reported ---


def test_the_report_by_hand():
    """Three images of class 0, all right; one of class 1, wrong: half of the classes, not three quarters."""

    class Always0(torch.nn.Module):
        def forward(self, images):
            return torch.tensor([[math.log(3), 0.0, 0.0]]).expand(len(images), -1)  # softmax: 3/5, 1/5, 1/5

    sums = pixels.measure(Always0().eval(), (torch.zeros(4, 8, 8), torch.tensor([0, 0, 0, 1])))
    nats = (3 * math.log(5 / 3) + math.log(5)) / 4
    assert pixels.report(sums) == pytest.approx(
        {"loss": nats, "bits": nats / math.log(2), "accuracy": 0.5, "batch_accuracy": 0.5}
    )


def test_the_training_accuracy_of_the_write_up_by_hand():
    """The mean over batches of each batch's mean over classes: (1/2 + 1) / 2, where 4 of 5 images are right."""

    class Always0(torch.nn.Module):
        def forward(self, images):
            return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(images), -1)

    model = Always0().train()
    two = [pixels.measure(model, (torch.zeros(len(of), 8, 8), torch.tensor(of))) for of in ([0, 0, 0, 1], [0])]
    report = pixels.report({key: two[0][key] + two[1][key] for key in two[0]})
    assert (report["accuracy"], report["batch_accuracy"]) == (0.5, 0.75)
    held_out = pixels.report(pixels.measure(model.eval(), (torch.zeros(2, 8, 8), torch.tensor([0, 1]))))
    assert held_out["batch_accuracy"] == held_out["accuracy"] == 0.5


def test_sums_add_over_batches(run):
    images, labels = run.data.validation
    with torch.no_grad():
        whole = pixels.measure(run.model, (images, labels))
        parts = [pixels.measure(run.model, (images[part], labels[part])) for part in (slice(0, 7), slice(7, None))]
    added = {key: parts[0][key] + parts[1][key] for key in whole}
    assert pixels.report(added) == pytest.approx(pixels.report(whole), rel=1e-5)


# --- what is drawn and answered ---


def test_pictures(run):
    drawn = dict(pixels.pictures(run))
    assert list(drawn) == ["learning", "gaze", "rule"]
    assert [ax.get_ylabel() for ax in drawn["learning"].axes] == ["bits", "accuracy"]
    assert len(drawn["gaze"].axes) == 16
    assert all(png(page)[:4] == b"\x89PNG" for page in drawn.values())


def test_predict(run, tmp_path):
    file = tmp_path / "image.npy"
    np.save(file, run.data.test[0][5].numpy())
    text, page = pixels.predict(run, ["5", str(file)])
    known, unknown = text.splitlines()
    assert known.startswith("5: ")
    assert known.endswith(("right", f"wrong, it is {run.data.test[1][5]}"))
    assert unknown.startswith(f"{file}: ")
    assert "right" not in unknown
    assert "wrong" not in unknown
    assert len(page.axes) == 10


def test_predict_refuses_an_image_of_the_wrong_size(run, tmp_path):
    file = tmp_path / "image.npy"
    np.save(file, np.zeros((28, 28)))
    with pytest.raises(ValueError, match=r"\(28, 28\), wanted \(8, 8\)"):
        pixels.predict(run, [str(file)])
    with pytest.raises(ValueError, match="none given"):
        pixels.predict(run, [])


# --- MNIST ---


@pytest.mark.mnist
def test_mnist_has_the_steps_and_the_scale_of_the_reference():
    settings = pixels.Settings(data="mnist", data_dir=os.environ["MIRADA_MNIST"])  # pyright: ignore[reportArgumentType]
    data = pixels.load(settings)
    assert pixels.steps(settings, data) == 3125
    assert len(data.validation[0]) == 10_000
    model = model_for(settings, data)
    assert model.scale.item() == pytest.approx(4978.2358, abs=5e-5)
    assert sum(parameter.numel() for parameter in model.parameters()) == 3 + 784 * 10 + 10
    std = pixels.Settings(data="mnist", scaling="std")
    assert pixels.build(std, data).scale.item() == pytest.approx(66.1444, abs=5e-5)
