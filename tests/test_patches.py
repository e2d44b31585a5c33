"""The lesson `patches`: cutting, the five models, their sizes, what they report, draw and answer."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Generator

import mirada
from mirada.data.images import CLOTHES, DIGITS, Images
from mirada.plots import png
from mirada.systems import patches

MODELS = get_args(get_type_hints(patches.Settings)["model"])


def blank(height: int, width: int, count: int = 3) -> Images:
    """Noise in the place of images, for what only depends on their size."""
    pixels = torch.randint(256, (count, height, width), dtype=torch.uint8, generator=Generator().manual_seed(0))
    labels = torch.arange(count) % 10
    return Images(train_images=pixels, train_labels=labels, test_images=pixels, test_labels=labels, classes=CLOTHES)


def built(data: Images, seed: int = 42, **settings: Any) -> Any:
    torch.manual_seed(seed)
    return patches.build(patches.Settings(**settings), data)


@pytest.fixture(scope="module")
def digits() -> Images:
    return patches.load(patches.Settings())


# --- data ---


def test_the_recipe_of_the_write_up_and_the_one_for_few_images():
    settings = patches.Settings(data="mnist")
    assert (settings.epochs, settings.learning_rate, settings.batch_size, settings.schedule) == (
        5,
        0.003,
        64,
        "constant",
    )
    few = patches.Settings()
    assert (few.epochs, few.schedule) == (30, "onecycle")


@pytest.mark.parametrize("options", [{"model": "mlp", "heads": 4}, {"model": "mlp", "patch": 2}, {"blocks": 2}])
def test_an_option_that_the_model_would_ignore_is_refused(options):
    with pytest.raises(ValueError, match=list(options)[-1]):
        patches.Settings(**options)


def test_an_epoch_takes_every_image_once(digits):
    settings = patches.Settings()
    drawn = list(patches.batches(settings, digits)(Generator().manual_seed(0)))
    assert len(drawn) == patches.steps(settings, digits) == 24
    assert sum(len(labels) for _, labels in drawn) == 1498
    assert patches.steps(settings, blank(28, 28, count=60_000 // 100)) == 10
    assert sum(len(labels) for _, labels in patches.held_out(settings, digits)["validation"]()) == 299
    assert patches.final(settings, digits) == {}


def test_mnist_makes_16_patches_of_49_in_reading_order():
    images = blank(28, 28).test_images
    tokens = patches.cut(images, 7)
    assert tokens.shape == (3, 16, 49)
    assert torch.equal(tokens[1, 0], images[1, :7, :7].flatten() / 255)
    assert torch.equal(tokens[1, 3], images[1, :7, 21:].flatten() / 255)
    assert torch.equal(tokens[1, 4], images[1, 7:14, :7].flatten() / 255)
    assert torch.equal(tokens[1, 15], images[1, 21:, 21:].flatten() / 255)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_patches_can_be_laid_together_again(rows, columns, patch):
    images = blank(rows * patch, columns * patch).test_images
    tokens = patches.cut(images, patch)
    together = tokens.view(3, rows, columns, patch, patch).transpose(2, 3).reshape(images.shape)
    assert torch.equal(together * 255, images.float())


# --- models ---


@pytest.mark.parametrize(
    ("model", "parameters"),
    [("mlp", 623_290), ("wide", 163_915), ("narrow", 17_650), ("features", 163_915), ("block", 47_946)],
)
def test_parameters_on_mnist(model, parameters):
    network = built(blank(28, 28), model=model)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [(8, 8), (28, 28), (16, 32), (28, 20)])
def test_sizes_follow_from_the_data(model, size):
    data = blank(*size)
    network = built(data, model=model)
    assert network(data.test_images).shape == (3, 10)
    if model != "mlp":
        (weights,) = network.weights(data.test_images)
        heads = {"wide": 16, "features": 16, "narrow": size[0] // 4, "block": 4}[model]
        pixels = math.prod(network.patch)
        side = pixels if model == "features" else (size[0] * size[1]) // pixels
        assert weights.shape == (3, heads, side, side)
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, heads, side))


def test_wide_written_out():
    """The bare layer in float64, head by head: project, score, softmax, mix, project back, ReLU, classify."""
    data = blank(28, 28)
    model = built(data, model="wide", heads=3)
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}
    x = patches.cut(data.test_images, 7).double()  # (N, P, E)

    def project(name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    query, key, value = (project(f"attend.{name}", x).split(49, dim=-1) for name in ("query", "key", "value"))
    looks = [(q @ k.mT / 7).softmax(-1) for q, k in zip(query, key, strict=True)]
    context = torch.cat([look @ v for look, v in zip(looks, value, strict=True)], dim=-1)  # (N, P, heads·E)
    logits = project("classify", project("attend.out", context).relu().flatten(1))
    torch.testing.assert_close(model(data.test_images).double(), logits, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.weights(data.test_images)[0].double(), torch.stack(looks, 1), rtol=0, atol=1e-6)


def test_features_attend_across_features_as_the_reference_ran():
    """Axes 1 and 3 swapped on (N, P, E, heads): heads of E×E weights over tokens of length P, scaled by 1/√P."""
    torch.manual_seed(0)
    layer = patches.FeatureAttention(embed_dim=6, heads=2).double()
    x = torch.randn(3, 4, 6, dtype=torch.float64)
    query, key, value = (part(x).view(3, 4, 6, 2) for part in (layer.query, layer.key, layer.value))
    weights = (torch.einsum("npeh,npfh->nhef", query, key) / 4**0.5).softmax(-1)
    context = torch.einsum("nhef,npfh->nhep", weights, value)
    output, given_weights = layer(x, need_weights=True)
    torch.testing.assert_close(given_weights, weights)
    torch.testing.assert_close(output, layer.out(context.reshape(3, 4, 12)))
    torch.testing.assert_close(layer(x), output)


def test_a_bare_layer_knows_no_places_and_a_block_does():
    """Patches shuffled: the bare layer's contexts are shuffled with them, the block's are not."""
    order = torch.randperm(16, generator=Generator().manual_seed(1))
    x = torch.rand(2, 16, 49)
    bare = built(blank(28, 28), model="wide").attend
    torch.testing.assert_close(bare(x[:, order]), bare(x)[:, order], rtol=0, atol=1e-5)
    block = built(blank(28, 28), model="block")
    embedded, shuffled = block.embed(x) + block.places, block.embed(x[:, order]) + block.places
    assert not torch.allclose(block.blocks[0](shuffled), block.blocks[0](embedded)[:, order], atol=1e-3)


def test_more_blocks():
    data = blank(28, 28)
    two = built(data, model="block", blocks=2)
    assert len(two.weights(data.test_images)) == 2
    assert sum(parameter.numel() for parameter in two.parameters()) == 47_946 + 256 + 16_640 + 16_576


def test_looking_changes_nothing(digits):
    for model in ("wide", "narrow", "features", "block"):
        network = built(digits, model=model)
        before = network(digits.test_images[:5])
        network.weights(digits.test_images[:5])
        assert torch.equal(network(digits.test_images[:5]), before)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_a_batch_by_heart(digits, model):
    network = built(digits, model=model)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    batch = (digits.train_images[:16], digits.train_labels[:16])
    for _ in range(150):
        sums = patches.measure(network, batch)
        (sums["loss"] / sums["count"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        assert patches.report(patches.measure(network, batch))["accuracy"] == 1


# --- bad settings ---


@pytest.mark.parametrize("name", ["batch_size", "patch", "heads", "blocks"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ValueError, match=rf"{name}=0: .*\b1\b"):
        patches.Settings(model="block", **{name: 0})


def test_patches_need_not_be_square():
    images = blank(8, 12).test_images
    tokens = patches.cut(images, (4, 3))
    assert tokens.shape == (3, 8, 12)
    assert torch.equal(tokens[0, 5], images[0, 4:, 3:6].flatten() / 255)
    network = built(blank(8, 12), patch=4, patch_width=3)
    assert network.weights(images)[0].shape == (3, 16, 8, 8)
    with pytest.raises(
        ValueError, match=r"patch_width=5 does not divide images of 8×12, wanted one of 1, 2, 3, 4, 6, 12$"
    ):
        built(blank(8, 12), patch=4, patch_width=5)


def test_a_patch_that_does_not_divide_the_image():
    with pytest.raises(ValueError, match=r"patch=5 does not divide images of 28×28, wanted one of 1, 2, 4, 7, 14, 28$"):
        built(blank(28, 28), patch=5)


@pytest.mark.parametrize(("model", "features"), [("narrow", 49), ("block", 64)])
def test_heads_that_do_not_divide_the_features(model, features):
    with pytest.raises(ValueError, match=f"heads=6.*{features}"):
        built(blank(28, 28), model=model, heads=6)


# --- what is reported ---


def test_the_report_by_hand():
    class Says0(torch.nn.Module):
        def forward(self, images):
            return torch.tensor([[0.0, 0.0]]).expand(len(images), -1)

    sums = patches.measure(Says0(), (torch.zeros(4, 8, 8), torch.tensor([0, 0, 0, 1])))
    assert patches.report(sums) == pytest.approx({"loss": np.log(2), "accuracy": 0.75, "macro_accuracy": 0.5})


# --- what is drawn and answered ---


def run_of(data: Images, **settings: Any) -> Any:
    """A run as the pictures see it; untrained."""
    metrics = [
        {"epoch": epoch, "split": split, "loss": 1 / epoch, "accuracy": 0.9 + epoch / 100, "seconds": 1.0}
        for epoch in (1, 2)
        for split in ("train", "validation")
    ]
    model = built(data, **settings).eval()
    return SimpleNamespace(model=model, settings=patches.Settings(**settings), data=data, metrics=metrics)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"model": "mlp"}, ["training", "images", "learning", "predictions"]),
        ({"model": "features", "heads": 2}, ["training", "images", "patches", "learning", "predictions", "gaze"]),
        (
            {"model": "block", "blocks": 2},
            ["training", "images", "patches", "learning", "predictions", "gaze-1", "gaze-2"],
        ),
    ],
)
def test_pictures(digits, settings, names):
    run = run_of(digits, **settings)
    drawn = dict(patches.pictures(run))
    assert list(drawn) == names
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    assert f"{parameters:,} parameters, 92.0 %" in drawn["learning"].get_suptitle()
    assert png(drawn[names[-1]])[:4] == b"\x89PNG"


def test_predictions_are_green_when_right_and_red_when_wrong(digits):
    run = run_of(digits, model="mlp")
    with torch.no_grad():
        run.model.classify.weight.zero_()
        run.model.classify.bias.copy_(torch.tensor([0.0] * 3 + [1.0] + [0.0] * 6))  # always a 3
    page = dict(patches.pictures(run))["predictions"]
    colours = {ax.title.get_text(): ax.title.get_color() for ax in page.axes}
    assert set(colours) == {f"{digit}/3" for digit in DIGITS}
    right = colours.pop("3/3")
    assert len(set(colours.values())) == 1
    assert right not in colours.values()
    threes = int((digits.test_labels[:64] == 3).sum())
    assert f"{threes} of 64" in page.get_suptitle()


@pytest.mark.parametrize(("model", "panels"), [("mlp", 2), ("features", 2), ("wide", 4), ("block", 4)])
def test_predict(digits, tmp_path, model, panels):
    run = run_of(digits, model=model)
    file = tmp_path / "image.csv"
    np.savetxt(file, digits.test_images[3].numpy(), delimiter=",")
    text, page = patches.predict(run, ["3", str(file)])
    known, unknown = text.splitlines()
    assert known.startswith("3: ")
    assert known.endswith(("right", f"wrong, it is {digits.test_labels[3]}"))
    assert unknown.removeprefix(f"{file}: ") == known.removeprefix("3: ").split(";")[0]
    assert len(page.axes) == 2 * panels
    first = page.axes[0]
    assert first.get_title(loc="left").startswith(f"3: {digits.test_labels[3]}/")
    assert len(first.texts) == (0 if model == "mlp" else 16)


def test_predict_refuses_an_image_of_the_wrong_size(digits, tmp_path):
    file = tmp_path / "image.npy"
    np.save(file, np.zeros((28, 28)))
    with pytest.raises(ValueError, match=r"\(28, 28\), wanted \(8, 8\)"):
        patches.predict(run_of(digits), [str(file)])


# --- MNIST ---


@pytest.mark.slow
@pytest.mark.mnist
@pytest.mark.parametrize(
    ("model", "schedule", "least"),
    [
        ("mlp", "constant", 0.970),
        ("wide", "constant", 0.960),
        ("features", "constant", 0.965),
        ("wide", "onecycle", 0.973),
        ("block", "onecycle", 0.983),
    ],
)
def test_held_out_accuracy_after_five_epochs(tmp_path, model, schedule, least):
    run = mirada.train(
        "patches",
        out=tmp_path,
        progress=False,
        data="mnist",
        data_dir=os.environ["MIRADA_MNIST"],
        model=model,
        schedule=schedule,
    )
    assert max(line["accuracy"] for line in run.metrics if line["split"] == "validation") >= least
