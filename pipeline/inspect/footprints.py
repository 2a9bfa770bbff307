"""Where footprints are, as the pixels that reach half of their maximum, and which of two sets are in the same place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from open_engine import polygons

SAME_PLACE = 0.5  # of the pixels that either of two footprints has, those that both have
LARGEST = 4096  # px: no field of view is larger
MOST_WORK = 50_000_000  # pixels times points of an outline, which may be anybody's
POINT = re.compile(r"(-?\d+(?:\.\d+)?)[ ,](-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Core:
    """Pixels of a footprint, in the rectangle around them."""

    row: int
    column: int
    pixels: np.ndarray  # (rows, columns), bool


def around(footprint: np.ndarray, margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns of the rectangle around the pixels that are not 0, with a margin in px if the field has it.

    Most footprints are a thousandth of the field: what is measured in the rectangle takes as much less time. Without
    such pixels it is empty.
    """
    rows = np.flatnonzero((footprint != 0).any(axis=1))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    columns = np.flatnonzero((footprint[rows[0] : rows[-1] + 1] != 0).any(axis=0))
    down, across = (slice(max(0, lit[0] - margin), lit[-1] + 1 + margin) for lit in (rows, columns))
    return down, across


def core(footprint: np.ndarray) -> Core:
    """The pixels of a footprint, shape (rows, columns), that reach half of its maximum."""
    rows, columns = around(footprint)
    values = np.nan_to_num(np.maximum(footprint[rows, columns], 0))
    inside = values >= values.max(initial=0) / 2 if values.max(initial=0) > 0 else np.zeros(values.shape, bool)
    return _cut(inside, int(rows.start), int(columns.start))


def core_of(outline: str) -> Core | None:
    """The pixels inside an outline: an SVG path of closed polygons, in px. None if the path has no polygon."""
    parts = [[(float(x), float(y)) for x, y in POINT.findall(part)] for part in outline.split("M")]
    parts = [part for part in parts if len(part) > 2]
    points = np.array([point for part in parts for point in part])
    if not len(points) or np.abs(points).max() > LARGEST:
        return None
    left, top = np.floor(points.min(axis=0)).astype(int)
    right, bottom = np.ceil(points.max(axis=0)).astype(int)
    if (right - left + 1) * (bottom - top + 1) * len(points) > MOST_WORK:
        return None
    y, x = np.mgrid[top : bottom + 1, left : right + 1]
    inside = np.zeros(x.shape, bool)
    for part in parts:
        inside ^= polygons.contains(part, x, y)
    return _cut(inside, int(top), int(left))


def _cut(inside: np.ndarray, row: int, column: int) -> Core:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        return Core(row, column, np.zeros((0, 0), bool))
    pixels = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Core(row + int(rows[0]), column + int(columns[0]), pixels.copy())


def shared(a: Core, b: Core) -> float:
    """Jaccard index of two cells: pixels in both over pixels in either, 0 to 1."""
    top, left = max(a.row, b.row), max(a.column, b.column)
    bottom = min(a.row + a.pixels.shape[0], b.row + b.pixels.shape[0])
    right = min(a.column + a.pixels.shape[1], b.column + b.pixels.shape[1])
    if bottom <= top or right <= left:
        return 0.0
    both = np.count_nonzero(
        a.pixels[top - a.row : bottom - a.row, left - a.column : right - a.column]
        & b.pixels[top - b.row : bottom - b.row, left - b.column : right - b.column]
    )
    return both / (np.count_nonzero(a.pixels) + np.count_nonzero(b.pixels) - both)


def matches(first: Sequence[Core], second: Sequence[Core]) -> list[tuple[int, int, float]]:
    """Indices of those in the same place and the share of their pixels, each once at most, the best first."""
    pairs = [(shared(a, b), i, j) for i, a in enumerate(first) for j, b in enumerate(second)]
    best, taken = [], (set(), set())
    for share, i, j in sorted((pair for pair in pairs if pair[0] >= SAME_PLACE), key=lambda pair: -pair[0]):
        if i not in taken[0] and j not in taken[1]:
            best.append((i, j, share))
            taken[0].add(i)
            taken[1].add(j)
    return best
