"""An image that a model has looked at, and the grid of its patches."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Picture:
    """Pixels, and where each token lies in them."""

    png: bytes
    size: tuple[int, int]
    """Height and width in pixels."""
    grid: tuple[int, int]
    """Rows and columns of patches."""
    first: int
    """The token of the first patch: those before it (a class token) have no place in the image."""

    def uri(self) -> str:
        """The image as an address that carries it."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def as_picture(image: Tensor, patch: int | None, tokens: int) -> Picture:
    """Read an image and find the patches.

    Args:
        image: (H, W), (1, H, W), (3, H, W) or (H, W, 3); uint8, or floating and then stretched from its least to its
            largest value.
        patch: side of a patch in pixels; None: the one that gives as many patches as there are tokens, or a few less.
        tokens: how many tokens the model had.

    Raises:
        ValueError: no such image, or no grid of patches that fits the tokens.
    """
    pixels = _pixels(image)
    height, width = pixels.shape[:2]
    side = patch if patch is not None else _side(height, width, tokens)
    if side is None or side < 1 or height % side or width % side:
        asked = "no patch" if side is None else f"patch={side}"
        raise ValueError(f"image: {asked} divides {height}×{width} pixels into {tokens} tokens; give patch= in pixels")
    grid = (height // side, width // side)
    if math.prod(grid) > tokens:
        raise ValueError(f"image: patch={side} makes {math.prod(grid)} patches of it, there are only {tokens} tokens")
    return Picture(_png(pixels), (height, width), grid, tokens - math.prod(grid))


def _side(height: int, width: int, tokens: int) -> int | None:
    """The patch that uses the most tokens; a few may be no patches (class and register tokens)."""
    sides = (n for n in range(1, min(height, width) + 1) if height % n == 0 and width % n == 0)
    counts = {side: height * width // side**2 for side in sides}
    return next((side for side, count in counts.items() if max(tokens - 8, tokens / 2) <= count <= tokens), None)


def _pixels(image: Tensor) -> np.ndarray:
    array = np.asarray(image.detach().cpu().float() if hasattr(image, "detach") else image)
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3):
        array = np.moveaxis(array, 0, -1)
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[-1] != 3):
        raise ValueError(f"image must be (H, W), (1, H, W), (3, H, W) or (H, W, 3), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("image: it holds NaN or infinite pixels")
    if getattr(image, "dtype", None) is not None and "uint8" in str(image.dtype):
        return array.astype(np.uint8)
    least, span = array.min(), array.max() - array.min()
    return np.round((array - least) / (span or 1) * 255).astype(np.uint8)


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
