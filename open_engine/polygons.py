"""Regions that are drawn as polygons of [x, y] in px."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw


def contains(corners: Sequence[Sequence[float]], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Whether points lie in a polygon, by the even-odd rule; bool, of the shape of x and y."""
    inside = np.zeros(x.shape, bool)
    for (x0, y0), (x1, y1) in zip(corners, [*corners[1:], corners[0]]):
        if y0 != y1:
            inside ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return inside


def mask(corners: Sequence[Sequence[int]], shape: tuple[int, int]) -> np.ndarray:
    """1 where the pixel's centre is inside a polygon or its border passes through the pixel, else 0.

    Float32, of this shape (rows, columns).
    """
    drawn = np.zeros(shape, np.float32)
    x, y = np.array(corners).T
    left, top = max(x.min(), 0), max(y.min(), 0)
    right, bottom = min(x.max(), shape[1] - 1), min(y.max(), shape[0] - 1)
    if left > right or top > bottom:
        return drawn
    row, column = np.mgrid[top : bottom + 1, left : right + 1]
    border = Image.new("1", (row.shape[1], row.shape[0]))
    closed = np.column_stack([np.append(x, x[0]) - left, np.append(y, y[0]) - top])
    ImageDraw.Draw(border).line([tuple(corner) for corner in closed.tolist()], fill=1)
    drawn[top : bottom + 1, left : right + 1] = contains(np.array(corners).tolist(), column, row) | np.asarray(border)
    return drawn
