"""The size of pixels, where names go on a picture, and how long scale bars are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SENSOR, TISSUE = "on the sensor", "in the tissue"


class PixelSize(tuple):
    """Width and height in µm; `where` says which: on the sensor, or in the tissue, if the file states the lens."""

    where: str

    def __new__(cls, width: float, height: float, where: str = SENSOR) -> PixelSize:
        size = super().__new__(cls, (width, height))
        size.where = where
        return size


def nice_length(largest: float) -> float:
    """The largest of 1, 2, 5, 10, ... that is not larger."""
    decade = 10 ** math.floor(math.log10(largest))
    return max(step * decade for step in (1, 2, 5) if step * decade <= largest * (1 + 1e-9))


def place_labels(
    names: Sequence[str], boxes: np.ndarray, letter: float, line: float, extent: tuple[float, float, float, float]
) -> list[tuple[float, float]]:
    """Where the middle of each name goes: into its box if it fits there, else beside it, where it covers no other.

    `boxes` (n, 4) are left, top, right, bottom, y downwards; `letter` and `line` are the width of a letter and the
    height of a line, `extent` is left, top, right, bottom of the picture: all in one unit.
    """
    taken = np.empty((0, 4))
    for name, (left, top, right, bottom) in zip(names, boxes):
        wide, high = letter * max(1, len(name)), line
        x, y = (left + right) / 2, (top + bottom) / 2
        beside, above = (right - left + wide) / 2, (bottom - top + high) / 2
        places = [(x + beside, y), (x - beside, y), (x, y - above), (x, y + above)]
        places += [(x + i * beside, y + j * above) for i, j in ((1, -1), (1, 1), (-1, -1), (-1, 1))]
        places += [(x + 2 * i * beside, y + 2 * j * above) for i, j in ((1, 0), (-1, 0), (0, -1), (0, 1))]
        if wide <= 1.15 * (right - left) and high <= 1.15 * (bottom - top):
            places.insert(0, (x, y))
        spots = [(a - wide / 2, b - high / 2, a + wide / 2, b + high / 2) for a, b in places]
        spots = np.array([spot for spot in spots if _within(spot, extent)] or [spots[0]])
        taken = np.vstack([taken, spots[_shared(spots, taken).argmin()]])
    return [((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in taken.tolist()]


def _within(inner: tuple[float, ...], outer: tuple[float, ...]) -> bool:
    return inner[0] >= outer[0] and inner[1] >= outer[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def _shared(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The area of each box (n, 4) that others cover: (n,)"""
    boxes = boxes[:, np.newaxis]
    sides = np.minimum(boxes[..., 2:], others[:, 2:]) - np.maximum(boxes[..., :2], others[:, :2])
    return np.maximum(sides, 0).prod(axis=2).sum(axis=1)
