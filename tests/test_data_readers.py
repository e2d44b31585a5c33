"""Files as people have them are read rightly; any other is refused in one line, at once and at no cost."""

from __future__ import annotations

import gzip
import io
import os
import random
import resource
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mirada.data.arrays import read_csv, read_matrix, read_npy
from mirada.data.given import given_image
from mirada.data.idx import read_idx
from mirada.data.images import Images, load_images
from mutations import mutated

COUNT = int(os.environ.get("MIRADA_FUZZ", "150"))
RAMP = np.tile(np.arange(8) * 36, (8, 1)).astype(np.uint8)  # no edge that is bright


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_images("digits")


@pytest.fixture
def read(digits: Images, tmp_path: Path) -> Callable:
    def read(image: Image.Image, name: str = "image.png", **options) -> tuple[np.ndarray, str]:
        image.save(tmp_path / name, **options)
        pixels, _, note = given_image(str(tmp_path / name), digits)
        return pixels.numpy(), note

    return read


# --- pictures ---


def test_sixteen_bits_are_scaled(read):
    assert np.array_equal(read(Image.fromarray(RAMP.astype(np.uint16) * 257))[0], RAMP)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_other_modes_are_turned_into_grey_levels(read, mode):
    pixels, note = read(Image.fromarray(RAMP).convert(mode))
    assert np.array_equal(pixels, RAMP)
    assert note == ""


def test_dark_ink_on_transparency_is_bright_ink(read):
    ink = np.zeros((8, 8, 4), np.uint8)
    ink[..., 3] = RAMP
    pixels, note = read(Image.fromarray(ink))
    assert np.array_equal(pixels, RAMP)
    assert "turned" in note


def test_bright_ink_on_transparency_stays(read):
    ink = np.full((8, 8, 4), 255, np.uint8)
    ink[..., 3] = RAMP
    assert np.array_equal(read(Image.fromarray(ink))[0], RAMP)


def test_a_jpeg_is_read(read, digits):
    image = digits.test_images[3].numpy()
    pixels, _ = read(Image.fromarray(image), "image.jpg", quality=100, subsampling=0)
    assert np.abs(pixels.astype(int) - image).max() < 12


def wrongly_turned(images: Images) -> tuple[int, int]:
    """Of the test images: how many are turned as they lie, how many are not where they are negatives."""
    as_is = sum(bool(given_image(image, images).note) for image in images.test_images)
    negatives = sum(not given_image(255 - image, images).note for image in images.test_images)
    return as_is, negatives


def test_dark_ink_on_bright_paper_is_turned(digits):
    # A digit of 8 × 8 fills its edge to the left and right, so a few can't be told apart: they are left as they are.
    as_is, negatives = wrongly_turned(digits)
    assert as_is == 0
    assert negatives <= 0.05 * len(digits.test_images)


@pytest.mark.mnist
def test_every_digit_of_mnist_is_turned_rightly():
    images = load_images("mnist", os.environ["MIRADA_MNIST"])
    some = Images(
        train_images=images.train_images[:1000],
        train_labels=images.train_labels[:1000],
        test_images=images.test_images[:1000],
        test_labels=images.test_labels[:1000],
        classes=images.classes,
    )
    assert wrongly_turned(some) == (0, 0)


@pytest.mark.parametrize("kind", ["EPS", "GIF", "BMP", "TIFF", "PPM"])
def test_no_other_format_is_read_whatever_its_name(digits, tmp_path, kind):
    Image.fromarray(RAMP).save(tmp_path / "image.png", kind)
    with pytest.raises(ValueError, match=r"image: .*image\.png: damaged \(neither a PNG nor a JPEG\)"):
        given_image(str(tmp_path / "image.png"), digits)


def test_a_picture_is_measured_before_it_is_decoded(digits, tmp_path):
    Image.new("1", (10_000, 10_000)).save(tmp_path / "image.png")  # 100 MB once decoded
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"shape \(10000, 10000\), wanted \(8, 8\)"):
        given_image(str(tmp_path / "image.png"), digits)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_a_tensor_will_do(digits):
    image = digits.test_images[0]
    assert torch.equal(given_image(image, digits).pixels, image)
    with pytest.raises(ValueError, match=r"shape \(2, 2\)"):
        given_image(torch.zeros(2, 2), digits)


# --- text ---


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("1, 2\n3, 4\n", [[1, 2], [3, 4]]),
        ("1 2\n3   4\n", [[1, 2], [3, 4]]),
        ("1;2\n3;4\n", [[1, 2], [3, 4]]),
        ("1,5;2\n3;-4,25\n", [[1.5, 2], [3, -4.25]]),
        ("1,5 2\n3 -4,25\n", [[1.5, 2], [3, -4.25]]),
        ("1,5\t2\n3\t4\n", [[1.5, 2], [3, 4]]),
        ("\ufeff1,2\r\n\r\n3,4", [[1, 2], [3, 4]]),
        ("7", [[7]]),
    ],
)
def test_separators_and_decimal_commas(tmp_path, text, numbers):
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "a.csv").write_bytes(text.removeprefix("\ufeff").encode(encoding))
        assert read_csv(tmp_path / "a.csv").tolist() == numbers


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1e400", "inf"),
        ("1e39", r"1e\+39 at \(0, 0\)"),
        ("1,nan", "nan"),
        ("1_000", "'1_000' is not a number"),
        ("١", "is not a number"),
        ("1,2\n3", "line 2 has 1 numbers, the first has 2"),
        ("1;2\n3;x", "line 2: 'x' is not a number"),
        ("1,,2", "line 1: '' is not a number"),
        ("a" * 9999, "line 1: 'aaaa"),
    ],
)
def test_what_is_no_number(tmp_path, text, fault):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=f"query: .*{fault}") as caught:
        read_matrix(tmp_path / "a.csv", "query")
    assert len(str(caught.value)) < 400


# --- arrays ---


def npy(header: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + body


@pytest.mark.parametrize(
    "content",
    [
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999999999999, 9), }\n"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 9), }\n"),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (True, 9), }\n"),
        npy("{'descr': [('a', 'O')], 'fortran_order': False, 'shape': (1,), }\n"),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"),
        npy("{'descr': '|V0', 'fortran_order': False, 'shape': (1,), }\n"),
        npy("{'descr': 'zz', 'fortran_order': False, 'shape': (1,), }\n"),
        npy("(" * 4000),
        npy("[" * 50),
        npy("{'a"),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        b"\x93NUMPY",
    ],
)
def test_headers_that_lie(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy: ") as caught:
        read_npy(tmp_path / "a.npy")
    assert "\n" not in str(caught.value)
    assert "allow_pickle" not in str(caught.value)


def test_arrays_of_either_order_come_back(tmp_path):
    numbers = np.arange(12.0).reshape(3, 4)
    for array in (numbers, np.asfortranarray(numbers), numbers.astype(">i2")):
        np.save(tmp_path / "a.npy", array)
        assert np.array_equal(read_npy(tmp_path / "a.npy"), numbers)


# --- what is no file, and what unpacks without end ---


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a.csv"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_at_once(digits, tmp_path, name, kind):
    path = tmp_path / name
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
    since = time.monotonic()
    with pytest.raises(ValueError, match="a folder" if kind == "folder" else "not a regular file"):
        given_image(str(path), digits)
    with pytest.raises(ValueError, match=r"a folder|not a regular file"):
        read_idx(path, 3)
    assert time.monotonic() - since < 1


def test_a_gzip_is_unpacked_no_further_than_its_header_announces(tmp_path):
    zeros = bytes(1 << 20)
    with gzip.open(tmp_path / "images", "wb", 1) as file:
        file.write(bytes([0, 0, 8, 1]) + struct.pack(">I", 100))
        for _ in range(300):
            file.write(zeros)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="announces 100 = 100 bytes but holds more"):
        read_idx(tmp_path / "images", 1)
    with gzip.open(tmp_path / "images", "wb") as file:
        file.write(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**32 - 1))
    with pytest.raises(ValueError, match="announces 4294967295 = 4294967295 bytes, wanted at most 134217728"):
        read_idx(tmp_path / "images", 1)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize("kind", ["kaggle", "7-zip", "7-zip to folders", "torchvision"])
def test_folders_as_others_leave_them(tmp_path, kind):
    for part in ("train", "t10k"):
        for what, shape in (("images-idx3", (6, 4, 5)), ("labels-idx1", (6,))):
            name = f"{part}-{what}-ubyte"
            dotted = name.replace("-idx", ".idx")
            places = {"kaggle": f"{name}/{name}", "7-zip": dotted, "7-zip to folders": f"{name}/{dotted}"}
            place = places.get(kind, f"MNIST/raw/{name}")
            path = tmp_path / place
            path.parent.mkdir(parents=True, exist_ok=True)
            header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
            path.write_bytes(header + bytes(np.prod(shape)))
    assert load_images("mnist", tmp_path).train_images.shape == (6, 4, 5)


# --- mutations: MIRADA_FUZZ=20000 asks for a longer hunt ---


def seeds(kind: str) -> list[bytes]:
    """Valid files of a kind."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (8, 8)).astype(np.uint8)
    found = []
    if kind in ("png", "jpg"):
        for mode in ("L", "RGB", "P", "LA", "RGBA", "1", "I;16") if kind == "png" else ("L", "RGB", "CMYK"):
            buffer = io.BytesIO()
            image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey)
            (image if mode == "I;16" else image.convert(mode)).save(buffer, "PNG" if kind == "png" else "JPEG")
            found.append(buffer.getvalue())
    elif kind == "npy":
        for array in (grey, grey.astype(float), grey.astype(">i4"), np.asfortranarray(grey), grey.astype("f2")):
            buffer = io.BytesIO()
            np.save(buffer, array)
            found.append(buffer.getvalue())
    elif kind == "csv":
        found += ["\n".join(mark.join(map(str, row)) for row in grey.tolist()).encode() for mark in ",; \t"]
    else:
        content = bytes([0, 0, 8, 3]) + struct.pack(">3I", 1, 8, 8) + grey.tobytes()
        found += [content, gzip.compress(content, mtime=0)]
    return found


def refusal(read: Callable[[], torch.Tensor]) -> str:
    """What a reader says against a file; nothing where it reads it."""
    try:
        assert read().isfinite().all()
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["png", "jpg", "npy", "csv", "idx"])
def test_a_mutated_file_is_read_or_refused_in_one_line(digits, tmp_path, kind):
    rng, valid, path = random.Random(kind), seeds(kind), tmp_path / f"file.{kind}"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = (lambda: read_idx(path, 3)) if kind == "idx" else lambda: given_image(str(path), digits).pixels
    for _ in range(COUNT):
        path.write_bytes(mutated(rng.choice(valid), rng))
        refused = refusal(read)
        assert "\n" not in refused
        assert not refused or path.name in refused
        assert "pickle=True" not in refused
        assert len(refused) < 700
        if kind in ("npy", "csv"):
            assert "\n" not in refusal(lambda: read_matrix(path, "query"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
