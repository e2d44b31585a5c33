"""Images: what is in them, how they are split, and what happens to files that do not fit each other."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mirada.data.files import DataError
from mirada.data.given import given_image
from mirada.data.images import Images, load_images, split

FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def write(folder: Path, name: str, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    (folder / name).write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six training and three test images of 4×5 pixels."""
    for part, count in (("train", 6), ("t10k", 3)):
        write(tmp_path, f"{part}-images-idx3-ubyte", np.arange(count * 20).reshape(count, 4, 5))
        write(tmp_path, f"{part}-labels-idx1-ubyte", np.arange(count))
    return tmp_path


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_images("digits")


def test_digits(digits):
    assert digits.train_images.shape == (1498, 8, 8)
    assert digits.test_images.shape == (299, 8, 8)
    assert digits.train_images.dtype == torch.uint8
    assert digits.train_labels.dtype == torch.int64
    assert digits.size == (8, 8)
    assert digits.classes == tuple("0123456789")
    together = torch.cat([digits.train_images, digits.test_images])
    assert together.min() == 0
    assert together.max() == 255
    assert len(together.unique()) == 17  # the 17 grey levels of the original, spread over a byte
    assert torch.cat([digits.train_labels, digits.test_labels]).bincount().tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
    ]  # fmt: skip


def test_digits_are_split_the_same_way_every_time(digits):
    assert torch.equal(load_images("digits").test_images, digits.test_images)


def test_digits_read_no_folder(tmp_path):
    with pytest.raises(ValueError, match=r"data_dir.*embedded.*'mnist'"):
        load_images("digits", tmp_path)


def test_unknown_name():
    with pytest.raises(ValueError, match="'minst', wanted one of 'digits', 'mnist', 'fashion'"):
        load_images("minst")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("count", [1, 5, 6, 11, 60, 1797])
def test_split_shares_out_every_item_once(count):
    train, validation = split(count)
    assert len(validation) == count // 6
    assert torch.cat([train, validation]).sort().values.tolist() == list(range(count))


def test_split_is_seeded():
    assert torch.equal(split(100)[0], split(100, seed=42)[0])
    assert not torch.equal(split(100)[0], split(100, seed=43)[0])


def test_own_files_of_any_size(folder):
    images = load_images("mnist", folder)
    assert images.size == (4, 5)
    assert images.train_images.shape == (6, 4, 5)
    assert images.test_labels.tolist() == [0, 1, 2]
    assert images.train_images[1, 0].tolist() == [20, 21, 22, 23, 24]


def test_zipped_and_plain_files_may_lie_together(folder):
    plain = folder / FILES[0]
    zipped = folder / f"{FILES[0]}.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert load_images("fashion", folder).train_images.shape == (6, 4, 5)


def test_fashion_has_names(folder):
    assert load_images("fashion", folder).classes[9] == "boot"


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name}.*not there.*folder"):
        load_images("mnist", folder)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.*no folder"):
        load_images("mnist", tmp_path / "nowhere")


def test_labels_that_do_not_match_the_images(folder):
    write(folder, FILES[1], np.arange(5))
    with pytest.raises(DataError, match=r"5 labels for the 6 images of train-images"):
        load_images("mnist", folder)


def test_a_label_out_of_range(folder):
    write(folder, FILES[1], np.array([1, 2, 3, 10, 4, 5]))
    with pytest.raises(DataError, match=r"label 10 at position 3, wanted 0 to 9"):
        load_images("mnist", folder)


def test_test_images_of_another_size(folder):
    write(folder, FILES[2], np.zeros((3, 5, 5)))
    with pytest.raises(DataError, match=r"4×5 pixels and test images 5×5"):
        load_images("mnist", folder)


# --- the image that a user asks about ---


def test_an_index_is_a_test_image(digits):
    image, label, _ = given_image("298", digits)
    assert torch.equal(image, digits.test_images[298])
    assert label == int(digits.test_labels[298])


@pytest.mark.parametrize("index", ["299", "-1", "123456789012345678901234567890"])
def test_an_index_out_of_range(digits, index):
    with pytest.raises(ValueError, match=rf"image: index {index} .*wanted 0 to 298"):
        given_image(index, digits)


@pytest.mark.parametrize("kind", ["png", "npy", "csv"])
def test_a_file_is_read_as_it_was_saved(digits, tmp_path, kind):
    pixels = digits.test_images[5].numpy()
    path = tmp_path / f"image.{kind}"
    if kind == "png":
        Image.fromarray(pixels).save(path)
    elif kind == "npy":
        np.save(path, pixels)
    else:
        np.savetxt(path, pixels, delimiter=",", fmt="%d")
    image, label, _ = given_image(str(path), digits)
    assert label is None
    assert image.dtype == torch.uint8
    assert np.array_equal(image.numpy(), pixels)


@pytest.mark.parametrize(
    ("pixels", "fault"),
    [
        (np.zeros((28, 28)), r"shape \(28, 28\), wanted \(8, 8\)"),
        (np.zeros((8, 8, 3)), r"shape \(8, 8, 3\)"),
        (np.full((8, 8), 256), "no grey levels"),
        (np.full((8, 8), -1), "no grey levels"),
        (np.full((8, 8), np.nan), "no grey levels"),
        (np.full((8, 8), "a"), "no grey levels"),
        (np.full((8, 8), 0.5), "multiply by 255"),
        (np.full((8, 8), None), "pickle"),
    ],
)
def test_arrays_that_are_no_such_image(digits, tmp_path, pixels, fault):
    path = tmp_path / "image.npy"
    np.save(path, pixels)
    with pytest.raises(ValueError, match=f"image: .*{fault}"):
        given_image(str(path), digits)


@pytest.mark.parametrize("name", ["image.png", "image.npy", "image.csv"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff nonsense", b"1,2\n3"])
def test_files_that_are_no_image(digits, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"image: [^\n]*\.(png|npy|csv)[^\n]*$"):
        given_image(str(tmp_path / name), digits)


@pytest.mark.parametrize(("text", "fault"), [("seven", "neither"), ("seven.png", "no such file"), ("a.gif", "neither")])
def test_words_that_are_no_image(digits, text, fault):
    with pytest.raises(ValueError, match=f"image: {text}.*{fault}"):
        given_image(text, digits)


# --- MNIST itself ---


@pytest.mark.mnist
def test_mnist_and_the_number_that_tells_its_split():
    images = load_images("mnist", os.environ["MIRADA_MNIST"])
    assert images.train_images.shape == (60_000, 28, 28)
    assert images.test_images.shape == (10_000, 28, 28)
    share = images.train_images.flatten().bincount(minlength=256) / images.train_images.numel()
    levels = torch.arange(256).double()
    mean = (share * levels).sum()
    assert mean.item() == pytest.approx(33.3184, abs=5e-4)
    assert (share * (levels - mean) ** 2).sum().sqrt().item() == pytest.approx(78.5675, abs=5e-4)
    # Which permutation the reference used is told by one number: the deviation, over pixels, of per-pixel variances.
    train, validation = split(60_000)
    assert (len(train), len(validation)) == (50_000, 10_000)
    assert images.train_images[train].float().var(0).std().item() == pytest.approx(4978.2358, abs=5e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (8, 8, 1), (64,), (1, 64)])
def test_an_image_with_a_channel_of_its_own_or_in_one_row(digits, tmp_path, shape):
    np.save(tmp_path / "image.npy", digits.test_images[3].numpy().reshape(shape))
    assert torch.equal(given_image(str(tmp_path / "image.npy"), digits).pixels, digits.test_images[3])


def test_any_image_at_random(digits):
    image, label, note = given_image("random", digits)
    index = int(note.rsplit(" ", 1)[1])
    assert torch.equal(image, digits.test_images[index])
    assert label == int(digits.test_labels[index])
