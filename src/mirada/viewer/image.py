"""An image that a model has attended to, and the grid of its patches."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mirada.checks import patch_sides

_OTHERS = 5
"""Class, distillation and register tokens stand before the patches; more others than these may stand anywhere."""


@dataclass(frozen=True)
class Picture:
    """Pixels, and where each token lies in them."""

    png: bytes
    size: tuple[int, int]
    """Height and width in pixels."""
    grid: tuple[int, int]
    """Rows and columns of patches."""
    first: int
    """The token of the first patch; tokens before it and after the last patch have no place in the image."""

    def uri(self) -> str:
        """The image as an address that carries it."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode()}"


def as_picture(image: Tensor, patch: int | tuple[int, int] | None, tokens: int, first: int | None = None) -> Picture:
    """Read an image and find the patches.

    Args:
        image: (H, W), (1, H, W), (3, H, W) or (H, W, 3); uint8, or floating and then stretched from its least to its
            largest value.
        patch: side of a patch in pixels, or its height and width; None: the square one that gives as many patches as
            there are tokens, or a few less.
        tokens: how many tokens the model had.
        first: the token of the first patch; None: the patches are the last tokens, after at most a few others.

    Raises:
        ValueError: no such image, or no grid of patches that fits the tokens.
    """
    pixels = _pixels(image)
    height, width = pixels.shape[:2]
    side = patch if patch is not None else _side(height, width, tokens)
    high, wide = side if isinstance(side, tuple) else (side or 0, side or 0)
    if min(high, wide) < 1 or height % high or width % wide:
        asked = "no patch" if side is None else f"patch={side}"
        raise ValueError(f"image: {asked} divides {height}×{width} pixels into {tokens} tokens; give patch= in pixels")
    grid = (height // high, width // wide)
    if math.prod(grid) > tokens:
        raise ValueError(f"image: patch={side} makes {math.prod(grid)} patches of it, there are only {tokens} tokens")
    others = tokens - math.prod(grid)
    if first is None and others > _OTHERS:
        raise ValueError(
            f"image: {math.prod(grid)} patches and {others} other tokens: first= says which token is the first patch"
        )
    if first is not None and not 0 <= first <= others:
        raise ValueError(
            f"first={first}: {math.prod(grid)} patches from there don't lie in {tokens} tokens, wanted 0 to {others}"
        )
    return Picture(_png(pixels), (height, width), grid, others if first is None else first)


def _side(height: int, width: int, tokens: int) -> int | None:
    """The patch that uses the most tokens; a few may be no patches (class and register tokens)."""
    counts = {side: height * width // side**2 for side in patch_sides(height, width)}
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
