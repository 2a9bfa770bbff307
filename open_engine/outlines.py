"""Outlines of footprints: the polygons through the centres of the border pixels of each connected component.

Components are connected by edges or corners (8-connected). Borders are followed as by Suzuki and Abe (1985, Computer
Vision, Graphics, and Image Processing 30:32), the outer ones alone, as IDPS does: an L of three pixels has the area
1/2, two pixels side by side have none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

# Neighbours of a pixel in clockwise order (rows grow downwards), from the one on its left: row, column.
AROUND = ((0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1))


@dataclass(frozen=True)
class Outline:
    """The outline of one component: its corners and what follows from them, in px."""

    points: np.ndarray  # (points, 2): x, y, whole numbers

    @property
    def area(self) -> float:
        """Area of the polygon, px²."""
        x, y = self.points.T
        return abs(float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())) / 2

    @property
    def center(self) -> tuple[float, float]:
        """x, y of the polygon's centroid; of its points where it has no area."""
        x, y = self.points.T.astype(float)
        cross = x * np.roll(y, -1) - np.roll(x, -1) * y
        if cross.sum() == 0:
            return float(x.mean()), float(y.mean())
        weights = cross / (3 * cross.sum())
        return float(((x + np.roll(x, -1)) * weights).sum()), float(((y + np.roll(y, -1)) * weights).sum())


def outlines(footprint: np.ndarray, threshold: float, rectify_first: bool = True) -> list[Outline]:
    """Outlines of components where a footprint exceeds `threshold` of its maximum, from the top; none if it is empty.

    With `rectify_first`, negative values count as 0. Pixels that are not a number are outside.
    """
    image = np.nan_to_num(np.asarray(footprint, np.float64), nan=0, posinf=0, neginf=0)
    if rectify_first:
        image = np.maximum(image, 0)
    if not image.max(initial=0) > 0:
        return []
    labels, n = scipy.ndimage.label(image > threshold * image.max(), np.ones((3, 3)))
    borders = []
    for number, place in enumerate(scipy.ndimage.find_objects(labels, n), 1):
        points = _border(np.pad(labels[place] == number, 1))
        corner = (place[1].start - 1, place[0].start - 1)
        borders.append(Outline(points + np.array(corner)))
    return borders


def greatest_distance(points: np.ndarray) -> float:
    """Greatest distance, px, between any two of these points, shape (points, 2)."""
    rows = np.unique(points[:, 1])
    ends = [points[points[:, 1] == row, 0] for row in rows]  # the two farthest are at the ends of rows
    left, right = (np.array([end(x) for x in ends]) for end in (np.min, np.max))
    x, y = np.concatenate([left, right]).astype(float), np.concatenate([rows, rows]).astype(float)
    squares = ((x[i] - x[i:]) ** 2 + (y[i] - y[i:]) ** 2 for i in range(len(x)))
    return float(np.sqrt(max(from_one.max() for from_one in squares)))


def _border(mask: np.ndarray) -> np.ndarray:
    """The outer border of the one component in a padded mask: x, y, in the order in which one walks along it."""
    row, column = np.unravel_index(mask.argmax(), mask.shape)
    first = (int(row), int(column))  # what is left of it is outside
    inside = [i for i in range(8) if mask[first[0] + AROUND[i][0], first[1] + AROUND[i][1]]]
    if not inside:
        return np.array([[first[1], first[0]]])
    last = _neighbour(first, inside[0])
    points, before, here = [], last, first
    while True:
        towards = AROUND.index((before[0] - here[0], before[1] - here[1]))
        turn = next(k for k in range(1, 9) if mask[_neighbour(here, (towards - k) % 8)])
        ahead = _neighbour(here, (towards - turn) % 8)
        points.append((here[1], here[0]))
        if ahead == first and here == last:
            return np.array(points)
        before, here = here, ahead


def _neighbour(pixel: tuple[int, int], direction: int) -> tuple[int, int]:
    return pixel[0] + AROUND[direction][0], pixel[1] + AROUND[direction][1]
