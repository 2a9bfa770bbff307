"""Footprints and traces of many cells, each footprint kept in a small square of the field."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy


@dataclass(frozen=True)
class Cells:
    """n cells in a field of `shape` px; cost and memory grow with their number, not with the field times it."""

    shape: tuple[int, int]
    corners: np.ndarray  # (n, 2) row and column of each square's first pixel; may lie outside the field
    crops: np.ndarray  # (n, side, side) float32 footprints, 0 outside the support and the field
    traces: np.ndarray  # (n, frames) float32

    def __len__(self) -> int:
        return len(self.corners)

    @property
    def side(self) -> int:
        return self.crops.shape[1]

    def take(self, which: np.ndarray) -> Cells:
        return replace(self, corners=self.corners[which], crops=self.crops[which], traces=self.traces[which])

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
        index, inside = self._pixels()
        values = np.where(inside, self.crops, 0).reshape(-1)
        rows = np.arange(len(self) + 1) * self.side**2
        made = scipy.sparse.csr_matrix(
            (values, index.reshape(-1), rows), shape=(len(self), self.shape[0] * self.shape[1])
        )
        made.sum_duplicates()
        made.eliminate_zeros()
        return made

    def images(self) -> np.ndarray:
        """(n, rows, columns) float32."""
        return self.matrix().toarray().reshape(len(self), *self.shape)

    def inside(self) -> np.ndarray:
        """Which pixels of the squares lie in the field: (n, side, side)."""
        return self._pixels()[1]

    def _pixels(self) -> tuple[np.ndarray, np.ndarray]:
        at = np.arange(self.side)
        row = (self.corners[:, 0, None] + at)[:, :, None]
        column = (self.corners[:, 1, None] + at)[:, None, :]
        inside = (row >= 0) & (row < self.shape[0]) & (column >= 0) & (column < self.shape[1])
        index = np.clip(row, 0, self.shape[0] - 1) * self.shape[1] + np.clip(column, 0, self.shape[1] - 1)
        return index, inside


def none(shape: tuple[int, int], side: int, n_frames: int) -> Cells:
    return Cells(
        shape, np.zeros((0, 2), int), np.zeros((0, side, side), np.float32), np.zeros((0, n_frames), np.float32)
    )


def join(*several: Cells) -> Cells:
    """The cells of several sets over the same field and frames."""
    return replace(
        several[0],
        corners=np.concatenate([one.corners for one in several]),
        crops=np.concatenate([one.crops for one in several]),
        traces=np.concatenate([one.traces for one in several]),
    )


def shared(a: np.ndarray, b: np.ndarray, side: int) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Where the squares at corners a and b overlap, as slices of each; None where they do not."""
    dy, dx = (b - a).tolist()
    if abs(dy) >= side or abs(dx) >= side:
        return None
    in_a = slice(max(0, dy), side + min(0, dy)), slice(max(0, dx), side + min(0, dx))
    in_b = slice(max(0, -dy), side + min(0, -dy)), slice(max(0, -dx), side + min(0, -dx))
    return in_a, in_b


def neighbours(corners: np.ndarray, side: int) -> list[np.ndarray]:
    """For each cell, the others whose squares overlap its own."""
    near = (np.abs(corners[:, None] - corners[None]) < side).all(axis=2)
    np.fill_diagonal(near, False)
    return [np.flatnonzero(row) for row in near]
