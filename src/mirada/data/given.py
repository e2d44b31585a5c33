"""Reads the one image that a user asks about: a place in the test images, or a file."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mirada.data.arrays import read_csv, read_npy
from mirada.data.files import DataError, read_at_most
from mirada.data.images import Images

_PICTURE = 1 << 24  # bytes of a .png or .jpg file
_KINDS = "a .png, .jpg, .npy or .csv file"


class GivenImage(NamedTuple):
    """One image that was asked about."""

    pixels: Tensor
    """(H, W) uint8, 0 dark (the paper) to 255 bright (the ink)."""
    label: int | None
    """What it shows, where that is known."""
    note: str = ""
    """What was done to it, to be printed beside the answer."""


def given_image(text: str | Tensor, images: Images) -> GivenImage:
    """The image that a word stands for.

    Args:
        text: a number, taken as an index into the test images, or "random" for any of them; else the path of a .png,
            .jpg, .npy or .csv file with grey levels from 0 to 255, of the size that `images` have; or such a tensor,
            (H, W). Colours, an alpha channel, a palette and 16 bits are turned into grey levels, dark ink on bright
            paper into bright on dark.
        images: the collection that the model was trained on.

    Raises:
        ValueError: no such index, no such file, or one that is not such an image.

    >>> from mirada.data.images import load_images
    >>> image, label, note = given_image("7", load_images("digits"))
    >>> image.shape, label
    (torch.Size([8, 8]), 1)
    """
    if isinstance(text, Tensor):
        return _turned(_checked(text.detach().cpu().float().numpy(), "the tensor", images.size), images)
    if text == "random":
        index = int(torch.randint(len(images.test_images), ()))
        return GivenImage(images.test_images[index], int(images.test_labels[index]), f"random: test image {index}")
    if re.fullmatch(r"[+-]?[0-9]+", text):
        count = len(images.test_images)
        index = int(text) if len(text) < 19 else count
        if not 0 <= index < count:
            shown = text if len(text) < 40 else f"{text[:20]}… ({len(text)} digits)"
            raise ValueError(f"image: index {shown} is not among the {count} test images, wanted 0 to {count - 1}")
        return GivenImage(images.test_images[index], int(images.test_labels[index]))
    pixels, is_turned = _read(Path(text), images.size)
    pixels = _checked(pixels, text, images.size)
    return GivenImage(pixels, None, _NOTE) if is_turned else _turned(pixels, images)


_NOTE = "dark ink on bright paper: turned into bright ink on dark"


def _turned(pixels: Tensor, images: Images) -> GivenImage:
    """The image as the collection has its images: its negative, if its edge is bright and its negative nearer."""
    edge = torch.cat([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    usual = images.train_images[:1000].float().mean(0)  # (H, W)
    distance = (pixels - usual).square().sum()
    if edge.median() > 127 and (255 - pixels - usual).square().sum() < distance:
        return GivenImage(255 - pixels, None, _NOTE)
    return GivenImage(pixels, None)


def _read(path: Path, size: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """The values of a file, and whether ink and paper are turned already."""
    kind = path.suffix.lower()
    try:
        if kind == ".npy":
            return read_npy(path), False
        if kind == ".csv":
            return read_csv(path), False
        if kind in (".png", ".jpg", ".jpeg"):
            return _picture(read_at_most(path, _PICTURE), size)
    except (OSError, MemoryError, ValueError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else getattr(error, "strerror", None)
        reason = reason or " ".join(str(error).removeprefix(f"{path}: ").split()) or type(error).__name__
        raise ValueError(f"image: {path}: {reason}: give an index into the test images, or {_KINDS}") from None
    raise ValueError(f"image: {path} is neither an index into the test images nor {_KINDS}")


def _picture(content: bytes, size: tuple[int, int]) -> tuple[np.ndarray, bool]:
    """The grey levels of a PNG or JPEG, and whether they were turned since its ink lay on transparency."""
    from PIL import Image, ImageOps  # comes with matplotlib

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a size: it is checked here
            # These two formats and no other that Pillow knows: some start programs, others unpack without end.
            image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG"))
            if sorted(image.size) != sorted(size):  # before anything is decoded
                width, height = image.size
                raise DataError(f"has the shape {(height, width)}, wanted {size}: scale or crop it first")
            return _grey(ImageOps.exif_transpose(image))
    except DataError:
        raise
    except Exception as error:  # Pillow raises what its parts raise
        reason = " ".join(str(error).split())
        reason = "neither a PNG nor a JPEG" if isinstance(error, Image.UnidentifiedImageError) else reason
        raise DataError(f"damaged ({reason or type(error).__name__})") from None


def _grey(image) -> tuple[np.ndarray, bool]:
    if image.mode.startswith("I") or image.mode == "F":  # 16 bits; Pillow's own conversion cuts them off at 255
        levels = np.asarray(image).astype(np.float64)
        return np.clip(levels / 257, 0, 255).round(), False
    if "A" not in image.mode.upper() and "transparency" not in image.info:
        return np.asarray(image.convert("L")), False
    both = np.asarray(image.convert("RGBA").convert("LA")).astype(np.float64)
    grey, alpha = both[..., 0], both[..., 1] / 255
    if alpha.min() == 1 or not alpha.any():
        return grey if alpha.any() else grey * 0, False
    # What is transparent is the paper: bright where the ink is dark, and dark where it is bright.
    ink_is_dark = (grey * alpha).sum() < 127.5 * alpha.sum()
    shown = grey * alpha + (255 if ink_is_dark else 0) * (1 - alpha)
    return ((255 - shown) if ink_is_dark else shown).round(), bool(ink_is_dark)


def _checked(pixels: np.ndarray, text: str, size: tuple[int, int]) -> Tensor:
    if pixels.squeeze().shape in (size, (size[0] * size[1],)):  # a channel of its own, or one row of all pixels
        pixels = pixels.reshape(size)
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
