"""Lesson 4, many heads: patches of an image, features divided among heads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mirada.check.answers import (
    AnswerError,
    call,
    compare,
    draw,
    exercise,
    expect_shape,
    tensor,
)


@exercise
def patches(answer: Callable[[Tensor, int], Tensor]) -> str:
    """Cut images (N, H, W) into patches (N, P, side²), both in reading order.

    >>> patches(lambda images, side: images.reshape(len(images), -1, side * side))
    not yet: these are pieces of rows: a patch holds neighbours from several rows
    """
    images, side = torch.arange(48.0).view(2, 4, 6), 2
    found = tensor("the patches", call(answer, images.clone(), side))
    tiles = images.view(2, 2, side, 3, side)  # (N, H/side, side, W/side, side)
    right = tiles.transpose(2, 3).reshape(2, 6, 4)
    expect_shape("the patches", found, (2, 6, 4), "one row a patch, side² numbers each")
    slips = [
        (images.reshape(2, 6, 4), "these are pieces of rows: a patch holds neighbours from several rows"),
        (
            tiles.permute(0, 3, 1, 2, 4).reshape(2, 6, 4),
            "the patches run down the columns: reading order is row by row",
        ),
        (
            tiles.permute(0, 1, 3, 4, 2).reshape(2, 6, 4),
            "the pixels within a patch run down: reading order is row by row",
        ),
        (tiles.permute(0, 3, 1, 4, 2).reshape(2, 6, 4), "patches and pixels run down the columns, not row by row"),
        (right / 255, "the numbers are divided by 255: leave them as they are"),
    ]
    compare("the patches", found, right, slips)
    return "2 images (4, 6) become 6 patches of 2 × 2 pixels each"


@exercise
def split_heads(answer: Callable[[Tensor, int], Tensor]) -> str:
    """Divide features (N, P, H · E) among H heads, (N, H, P, E): head 1 gets the first E, head 2 the next.

    >>> split_heads(lambda x, heads: x.view(len(x), heads, x.shape[1], -1))
    not yet: the shape is right, but patches were mixed: split the last dimension first, then move the heads forward
    """
    x, heads = draw(2, 4, 6), 3
    found = tensor("the heads", call(answer, x.clone(), heads))
    right = x.view(2, 4, heads, 2).transpose(1, 2)  # (2, 3, 4, 2)
    if found.shape == (2, 3, 2, 4):
        raise AnswerError("two axes are swapped: (N, H, E, P) lets features attend to each other, wanted (N, H, P, E)")
    if found.shape == (2, 4, 3, 2):
        raise AnswerError("the heads are split, but stand behind the patches: move them forward, transpose(1, 2)")
    expect_shape("the heads", found, (2, 3, 4, 2), "(N, H, P, E)")
    slips = [
        (
            x.reshape(2, 3, 4, 2),
            "the shape is right, but patches were mixed: split the last dimension first, then move the heads forward",
        ),
        (
            x.view(2, 4, 2, heads).permute(0, 3, 1, 2),
            "each head gets every third feature: the first E features are head 1's, the next E head 2's",
        ),
    ]
    compare("the heads", found, right, slips)
    return "(2, 4, 6) becomes (2, 3, 4, 2): 3 heads of 4 patches with 2 features"
