"""An image as a model takes it, and where its patches stand among the tokens."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_SIDE = 16  # pixels of a patch where the model's own picture is not known


@dataclass(frozen=True)
class Patches:
    """The patches of an image, among the tokens of a layer."""

    grid: tuple[int, int]
    """Rows and columns."""
    block: int = 1
    """Patches stand in blocks of so many rows and columns, block after block; 1: in reading order."""

    @property
    def count(self) -> int:
        """Rows times columns."""
        return math.prod(self.grid)

    def places(self) -> list[tuple[int, int]]:
        """Row and column of each patch, in the order of the tokens."""
        rows, columns = self.grid
        side = self.block
        return [
            (top + down, left + right)
            for top in range(0, rows, side)
            for left in range(0, columns, side)
            for down in range(side)
            for right in range(side)
        ]

    def labels(self, tokens: int) -> list[str] | None:
        """Labels of a layer's tokens: some of the model's own (a class token), then the patches; None: no fit."""
        if tokens == 1:
            return ["[pooled]"]
        own = tokens - self.count
        if not 0 <= own <= 16:
            return None
        names = ["[class]", *(f"[register {n}]" for n in range(1, own))] if own else []
        return [*names, *(f"{row},{column}" for row, column in self.places())]


def read(source: Any, name: str = "image") -> Any:
    """An image as PIL has it, from a file, a PIL image, or pixels (H, W), (H, W, 3) or (3, H, W).

    Raises:
        ValueError: no file, or no image in it.
    """
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, Image.Image):
        return source.convert("RGB")
    if isinstance(source, str | os.PathLike):
        try:
            with Image.open(Path(source)) as image:
                return image.convert("RGB")
        except FileNotFoundError:
            raise ValueError(f"{source}: no such file") from None
        except IsADirectoryError:
            raise ValueError(f"{source}: a folder, wanted an image") from None
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"{source}: not an image that can be read ({type(error).__name__})") from None
    pixels = torch.as_tensor(source)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[-1] not in (1, 3):
        pixels = pixels.permute(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or 0 in pixels.shape or (pixels.ndim == 3 and pixels.shape[-1] != 3):
        raise ValueError(
            f"{name}: wanted a file, a PIL image, or pixels (H, W), (H, W, 3), (3, H, W), got {tuple(pixels.shape)}"
        )
    if pixels.is_floating_point():
        pixels = (pixels.clamp(0, 1) * 255).round()
    return Image.fromarray(pixels.to(torch.uint8).numpy()).convert("RGB")


def patches(config: Any, inputs: dict[str, Tensor]) -> Patches | None:
    """The grid that the model cuts its image into, by its config and the pixels it is given."""
    vision = getattr(config, "vision_config", None) or config
    side = getattr(vision, "patch_size", None) or getattr(vision, "spatial_patch_size", None)
    if "image_grid_thw" in inputs:  # patches of one image, in a row: (frames, rows, columns)
        _, rows, columns = inputs["image_grid_thw"][0].tolist()
        return Patches((int(rows), int(columns)), getattr(vision, "spatial_merge_size", 1))
    pixels = inputs.get("pixel_values")
    if side is None or pixels is None or pixels.ndim < 4:
        return None
    tall, wide = (side, side) if isinstance(side, int) else tuple(side)[-2:]
    return Patches((pixels.shape[-2] // tall, pixels.shape[-1] // wide))


def placeholders(config: Any, ids: Tensor) -> tuple[int, int] | None:
    """The first of the image's tokens within a text (L,), and how many there are."""
    token = next(
        (
            getattr(config, name)
            for name in ("image_token_id", "image_token_index")
            if getattr(config, name, None) is not None
        ),
        None,
    )
    if token is None:
        return None
    at = (ids == token).nonzero()[:, 0]
    return (int(at[0]), len(at)) if len(at) else None


def pixels_of(image: Any, inputs: dict[str, Tensor], grid: Patches | None = None) -> Tensor | None:
    """The picture (3, H, W) to draw under the patches, in the crop that the model was given; None: none is known."""
    pixels = inputs.get("pixel_values")
    if pixels is not None and pixels.ndim in (4, 5):
        shown = pixels.reshape(-1, *pixels.shape[-3:])[0].float().cpu()
        if shown.shape[0] in (1, 3):
            return shown.expand(3, *shown.shape[-2:])
    if image is None:
        return None
    import numpy as np

    if grid is not None:  # the model was given patches in a row: of an image of this shape
        rows, columns = grid.grid
        image = image.resize((columns * _SIDE, rows * _SIDE))
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
