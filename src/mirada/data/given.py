"""Reads the one image that a user asks about: a place in the test images, or a file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mirada.data.images import Images


def given_image(text: str, images: Images) -> tuple[Tensor, int | None]:
    """The image that a word stands for, and its label where that is known.

    Args:
        text: a number, taken as an index into the test images; else the path of a .png, .npy or .csv file with grey
            levels from 0 (dark, the paper) to 255 (bright, the ink), of the size that `images` have.
        images: the collection that the model was trained on.

    Returns:
        The image, (H, W) uint8, and its label, None for a file.

    Raises:
        ValueError: no such index, no such file, or one that is not such an image.

    >>> from mirada.data.images import load_images
    >>> image, label = given_image("7", load_images("digits"))
    >>> image.shape, label
    (torch.Size([8, 8]), 1)
    """
    if re.fullmatch(r"[+-]?\d+", text):
        index = int(text)
        if not 0 <= index < len(images.test_images):
            raise ValueError(
                f"image: index {index} is not among the {len(images.test_images)} test images, "
                f"wanted 0 to {len(images.test_images) - 1}"
            )
        return images.test_images[index], int(images.test_labels[index])
    return _checked(_read(Path(text)), text, images.size), None


def _read(path: Path) -> np.ndarray:
    kind = path.suffix.lower()
    try:
        if kind == ".npy":
            return np.load(path, allow_pickle=False)
        if kind == ".csv":
            return np.array([line.split(",") for line in path.read_text().splitlines() if line.strip()], dtype=float)
        if kind == ".png":
            from PIL import Image  # comes with matplotlib

            with Image.open(path) as image:
                return np.asarray(image.convert("L"))
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
        raise ValueError(
            f"image: {path}: {reason}: give an index into the test images, or a .png, .npy or .csv file of one image"
        ) from None
    raise ValueError(f"image: {path} is neither an index into the test images nor a .png, .npy or .csv file")


def _checked(pixels: np.ndarray, text: str, size: tuple[int, int]) -> Tensor:
    if pixels.shape != size:
        raise ValueError(
            f"image: {text} has the shape {pixels.shape}, wanted {size}, the size of the images it was trained on: "
            "scale or crop it first"
        )
    if pixels.dtype.kind not in "biuf" or not np.all((pixels >= 0) & (pixels <= 255)):
        raise ValueError(f"image: {text} holds values that are no grey levels, wanted numbers from 0 to 255")
    if 0 < pixels.max() <= 1:
        raise ValueError(f"image: {text} holds values from 0 to 1, wanted grey levels from 0 to 255: multiply by 255")
    return torch.from_numpy(pixels.round().astype(np.uint8))
