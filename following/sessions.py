"""A session's cells, as they come in, and what aligning and matching need of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

CUT = 0.2  # of its maximum, below which a footprint counts as 0: those of PCA-ICA have a faint background
WINDOWS = (1.0, 0.7, 0.5, 0.4, 0.4, 0.4)  # diameters: standard deviations of the window around a cell's centre


@dataclass(frozen=True)
class Session:
    """Footprints of one session. Cells that should not be followed are left out by whoever makes it."""

    name: str
    footprints: sparse.csr_array  # (cells, rows x columns), pixels in row-major order
    shape: tuple[int, int]  # rows, columns
    names: Sequence[str]  # of the cells
    image: np.ndarray | None = None  # (rows, columns): a mean image, whose vessels help to align
    traces: np.ndarray | None = None  # (cells, samples)
    pixel: float = 1.0  # side of a pixel; any unit that all sessions share

    @classmethod
    def of_images(cls, name: str, images: np.ndarray, names: Sequence[str] = (), **more: object) -> Session:
        """A session from footprint images of shape (cells, rows, columns)."""
        cells, rows, columns = images.shape
        flat = sparse.csr_array(np.nan_to_num(images, nan=0, posinf=0, neginf=0).reshape(cells, rows * columns))
        return cls(name, flat, (rows, columns), names or [f"C{i:03d}" for i in range(cells)], **more)

    @cached_property
    def cut(self) -> sparse.csr_array:
        """Footprints without what is below `CUT` of their maximum, up to 1; float32."""
        rows = sparse.csr_array(self.footprints, dtype=np.float32, copy=True)
        rows.data[~np.isfinite(rows.data)] = 0
        rows.sort_indices()
        peaks = np.maximum(rows.max(axis=1).toarray().ravel(), 0)
        peaks[peaks == 0] = 1
        rows.data /= np.repeat(peaks, np.diff(rows.indptr))
        rows.data[rows.data < CUT] = 0
        rows.eliminate_zeros()
        return rows

    @cached_property
    def usable(self) -> np.ndarray:
        """Indices of the cells whose footprint is not empty."""
        return np.flatnonzero(np.diff(self.cut.indptr))

    @cached_property
    def centres(self) -> np.ndarray:
        """(cells, 2): x, y in px, of each footprint's brightest body; NaN if empty.

        A footprint may hold some of a neighbour, which would draw a plain centroid towards it: the window in which the
        light counts shrinks around the centroid of what was in it before, to about the size of a cell.
        """
        rows = self.cut
        y, x = np.divmod(rows.indices, self.shape[1])
        cell = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        light = rows.data.astype(float) ** 2
        weight, places = light, np.full((rows.shape[0], 2), np.nan)
        for window in (None, *(width * self.diameter for width in WINDOWS)):
            if window is not None:
                square = (x - places[cell, 0]) ** 2 + (y - places[cell, 1]) ** 2
                weight = light * np.exp(-0.5 * square / window**2)
            total = np.bincount(cell, weight, rows.shape[0])
            with np.errstate(invalid="ignore"):
                places = np.column_stack([np.bincount(cell, weight * along, rows.shape[0]) / total for along in (x, y)])
        return places

    @cached_property
    def diameter(self) -> float:
        """Median of the cells, px: of a disc of the size of what reaches half the peak. NaN without cells."""
        rows = self.cut
        cell = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        areas = np.bincount(cell, rows.data >= 0.5, rows.shape[0])[self.usable]
        return 2 * math.sqrt(float(np.median(areas)) / math.pi) if len(areas) else math.nan
