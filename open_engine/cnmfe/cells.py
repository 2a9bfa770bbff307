"""Footprints and traces of many cells, each footprint kept in a small square of the field."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import scipy

Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class Footprints:
    """Footprints of n cells in a field of `shape` px; memory grows with their number, not with the field times it."""

    shape: tuple[int, int]
    corners: np.ndarray  # (n, 2) row and column of each square's first pixel; may lie outside the field
    crops: np.ndarray  # (n, side, side) float32, 0 outside the support and the field
    worked_out: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Each as an image of the field, float32."""
        for corner, crop in zip(self.corners, self.crops):
            image = np.zeros(self.shape, np.float32)
            field, square = in_field(corner, len(crop), self.shape)
            image[field] = crop[square]
            yield image

    def once(self, name: str, make: Callable[[], Made]) -> Made:
        """What is made of these footprints, worked out when it is first asked for."""
        if name not in self.worked_out:
            self.worked_out[name] = make()
        return self.worked_out[name]

    @property
    def matrix(self) -> scipy.sparse.csr_matrix:
        """(n, pixels) of the field."""
        return self.once("matrix", self._matrix)

    def _matrix(self) -> scipy.sparse.csr_matrix:
        n, side = self.crops.shape[:2]
        index, inside = self.pixels
        values = np.where(inside, self.crops, 0).reshape(-1)
        shape = n, self.shape[0] * self.shape[1]
        made = scipy.sparse.csr_matrix((values, index.reshape(-1), np.arange(n + 1) * side**2), shape=shape)
        made.sum_duplicates()
        made.eliminate_zeros()
        return made

    @property
    def pixels(self) -> tuple[np.ndarray, np.ndarray]:
        """The pixel of the field at each of the squares, and whether it lies in the field: (n, side, side) each."""
        at = np.arange(self.crops.shape[1])
        row = (self.corners[:, 0, None] + at)[:, :, None]
        column = (self.corners[:, 1, None] + at)[:, None, :]
        inside = (row >= 0) & (row < self.shape[0]) & (column >= 0) & (column < self.shape[1])
        index = np.clip(row, 0, self.shape[0] - 1) * self.shape[1] + np.clip(column, 0, self.shape[1] - 1)
        return index, inside


@dataclass(frozen=True)
class Cells:
    """Footprints and traces of n cells."""

    footprints: Footprints
    traces: np.ndarray  # (n, frames) float32

    def __len__(self) -> int:
        return len(self.corners)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the field."""
        return self.footprints.shape

    @property
    def corners(self) -> np.ndarray:
        return self.footprints.corners

    @property
    def crops(self) -> np.ndarray:
        return self.footprints.crops

    @property
    def side(self) -> int:
        return self.crops.shape[1]

    def take(self, which: np.ndarray) -> Cells:
        if np.array_equal(which, np.arange(len(self))):
            return self
        return Cells(Footprints(self.shape, self.corners[which], self.crops[which]), self.traces[which])

    def reshaped(self, crops: np.ndarray, corners: np.ndarray | None = None) -> Cells:
        """With other footprints, perhaps elsewhere."""
        corners = self.corners if corners is None else corners
        return replace(self, footprints=Footprints(self.shape, corners, crops))

    @property
    def centred(self) -> np.ndarray:
        """The traces less their means, as the movie's pixels are."""
        return self.traces - self.traces.mean(axis=1, keepdims=True)

    def centres(self) -> np.ndarray:
        """Centre of mass of each footprint, (n, 2) px."""
        mass = np.maximum(self.crops.sum(axis=(1, 2)), 1e-12)
        at = np.arange(self.side)
        row, column = self.crops.sum(axis=2) @ at / mass, self.crops.sum(axis=1) @ at / mass
        return self.corners + np.stack([row, column], axis=1)

    def matrix(self) -> scipy.sparse.csr_matrix:
        """(n, pixels) of the field."""
        return self.footprints.matrix

    def images(self) -> np.ndarray:
        """(n, rows, columns) float32."""
        return np.array([*self.footprints], np.float32).reshape(len(self), *self.shape)

    def inside(self) -> np.ndarray:
        """Which pixels of the squares lie in the field: (n, side, side)."""
        return self.footprints.pixels[1]


def none(shape: tuple[int, int], side: int, n_frames: int) -> Cells:
    nowhere = Footprints(shape, np.zeros((0, 2), int), np.zeros((0, side, side), np.float32))
    return Cells(nowhere, np.zeros((0, n_frames), np.float32))


def join(*several: Cells) -> Cells:
    """The cells of several sets over the same field and frames."""
    corners, crops, traces = (
        np.concatenate([getattr(one, name) for one in several]) for name in ("corners", "crops", "traces")
    )
    return Cells(Footprints(several[0].shape, corners, crops), traces)


def in_field(corner: np.ndarray, side: int, shape: tuple[int, int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The part of a square that lies in the field: slices of the field, slices of the square."""
    first = np.maximum(corner, 0)
    last = np.minimum(corner + side, shape)
    field = tuple(slice(int(a), int(b)) for a, b in zip(first, last))
    square = tuple(slice(int(a - c), int(b - c)) for a, b, c in zip(first, last, corner))
    return field, square


Part = tuple[slice, slice]  # of a square


@functools.lru_cache(maxsize=4096)
def shared(dy: int, dx: int, side: int) -> tuple[Part, Part] | None:
    """What a square shares with one that is so many px further, as a part of each; None where they do not overlap."""
    if abs(dy) >= side or abs(dx) >= side:
        return None
    here = slice(max(0, dy), side + min(0, dy)), slice(max(0, dx), side + min(0, dx))
    there = slice(max(0, -dy), side + min(0, -dy)), slice(max(0, -dx), side + min(0, -dx))
    return here, there


def overlaps(corners: np.ndarray, side: int) -> list[list[tuple[int, Part, Part]]]:
    """For each cell, the others whose squares overlap its own, and the parts of its square and theirs that do."""
    at = corners.tolist()
    return [
        [(j, *shared(at[j][0] - y, at[j][1] - x, side)) for j in near.tolist()]
        for (y, x), near in zip(at, neighbours(corners, side))
    ]


def neighbours(corners: np.ndarray, side: int) -> list[np.ndarray]:
    """For each cell, the others whose squares overlap its own."""
    near = (np.abs(corners[:, None] - corners[None]) < side).all(axis=2)
    np.fill_diagonal(near, False)
    return [np.flatnonzero(row) for row in near]
