"""Small grey images with labels: the embedded digits, MNIST, Fashion-MNIST. All in memory, one byte a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from mirada.data.files import DataError
from mirada.data.idx import read_idx

Name = Literal["digits", "mnist", "fashion"]

DIGITS = tuple("0123456789")
CLOTHES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")


@dataclass(frozen=True, kw_only=True, eq=False)
class Images:
    """Labelled images: uint8 pixels, 0 dark to 255 bright; int64 labels; the test images apart."""

    train_images: Tensor
    """(N, H, W) uint8."""
    train_labels: Tensor
    """(N,) int64, indices into `classes`."""
    test_images: Tensor
    """(M, H, W) uint8."""
    test_labels: Tensor
    """(M,) int64."""
    classes: tuple[str, ...]
    """What the labels stand for."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of every image, in pixels."""
        height, width = self.train_images.shape[1:]
        return height, width


def load_images(name: Name = "digits", data_dir: str | Path | None = None) -> Images:
    """Load a collection of images whole into memory.

    Args:
        name: "digits": 1,797 embedded images of 8×8 (Alpaydin & Kaynak 1998, from scikit-learn), 299 of them for the
            test. "mnist" (LeCun et al. 1998) and "fashion" (Xiao et al. 2017): 60,000 and 10,000 of 28×28.
        data_dir: folder with the four IDX files of "mnist" or "fashion", gzipped or not. Your own files will do, of any
            size and count: their structure is checked, not their digest. Without it they are downloaded, once.

    Raises:
        DataError: a file is missing, broken, does not fit the others, or can't be downloaded.
        ValueError: unknown name, or a folder given for the embedded digits.

    >>> images = load_images("digits")
    >>> images.train_images.shape, images.test_images.shape, images.train_images.dtype
    (torch.Size([1498, 8, 8]), torch.Size([299, 8, 8]), torch.uint8)
    """
    if name not in get_args(Name):
        raise ValueError(f"data: got {name!r}, wanted one of {', '.join(map(repr, get_args(Name)))}")
    if name == "digits":
        if data_dir is not None:
            raise ValueError(
                f"data_dir: got {str(data_dir)!r}, but the digits are embedded and read no folder: "
                "ask for the data 'mnist' or 'fashion', or leave the folder out"
            )
        return _digits()
    if data_dir is None:
        # Here and not above: with a folder, or the digits, no web client is needed.
        from mirada.data.download import fetch

        data_dir = fetch(name)
    root = "MNIST" if name == "mnist" else "FashionMNIST"
    return _from_folder(Path(data_dir), root, DIGITS if name == "mnist" else CLOTHES)


def split(count: int, seed: int = 42) -> tuple[Tensor, Tensor]:
    """Indices of 5/6 of the items and of the other 1/6, by a seeded permutation.

    >>> [part.tolist() for part in split(12, seed=0)]
    [[8, 0, 5, 9, 7, 4, 2, 10, 3, 1], [11, 6]]
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[: count - count // 6], order[count - count // 6 :]


def _digits() -> Images:
    from sklearn.datasets import load_digits  # a second of import, for those alone who use it

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).mul(255 / 16).round().to(torch.uint8).view(-1, 8, 8)  # 17 grey levels, 0 to 16
    targets = torch.from_numpy(labels).long()
    train, test = split(len(images))
    return Images(
        train_images=images[train],
        train_labels=targets[train],
        test_images=images[test],
        test_labels=targets[test],
        classes=DIGITS,
    )


def _from_folder(folder: Path, root: str, classes: tuple[str, ...]) -> Images:
    train_images, train_labels = _pair(folder, root, "train", classes)
    test_images, test_labels = _pair(folder, root, "t10k", classes)
    if train_images.shape[1:] != test_images.shape[1:]:
        raise DataError(
            f"{folder}: training images are {_size(train_images)} pixels and test images {_size(test_images)}: "
            "put files of one size there"
        )
    return Images(
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        classes=classes,
    )


def _pair(folder: Path, root: str, part: str, classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    images_file = _find(folder, root, f"{part}-images-idx3-ubyte")
    labels_file = _find(folder, root, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(images_file, dimensions=3), read_idx(labels_file, dimensions=1)
    if len(images) != len(labels):
        raise DataError(
            f"{labels_file}: {len(labels)} labels for the {len(images)} images of {images_file.name}: "
            "put two files there that belong together"
        )
    if labels.max() >= len(classes):
        place = int((labels >= len(classes)).nonzero()[0])
        raise DataError(
            f"{labels_file}: label {int(labels[place])} at position {place}, wanted 0 to {len(classes) - 1}: "
            "put the right labels there"
        )
    return images, labels.long()


def _find(folder: Path, root: str, name: str) -> Path:
    """The file of that name, also where torchvision (below its root), Kaggle and 7-Zip leave it."""
    dotted = name.replace("-idx", ".idx")  # the name within the gz, which 7-Zip and WinRAR give to what they unpack
    for place in (folder, folder / root / "raw", folder / "raw"):
        for candidate in (
            *(name, f"{name}.gz", dotted, f"{dotted}.gz"),
            *(f"{name}/{name}", f"{name}/{dotted}", f"{dotted}/{dotted}"),  # each in a folder of its own
        ):
            if (place / candidate).exists() and not (place / candidate).is_dir():
                return place / candidate
    found = "it is no folder" if not folder.is_dir() else "it is not there"
    raise DataError(
        f"{folder}: wanted {name} or {name}.gz, but {found}: "
        "name the folder of the four IDX files, or no folder to have them downloaded"
    )


def _size(images: Tensor) -> str:
    return f"{images.shape[1]}×{images.shape[2]}"
