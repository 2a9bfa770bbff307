"""Large fields are worked on in square patches that overlap, so that memory does not grow with the field."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from open_engine.cnmfe import gate
from open_engine.cnmfe.cells import Cells, Footprints, join
from open_engine.cnmfe.extraction import Extracted, Settings, extract
from open_engine.files.frames import Series, chunks, in_order

READ_MB = 64  # of float32 frames at a time


@dataclass(frozen=True)
class Tile:
    """A patch: rows and columns of the field, and the part of it whose cells it answers for."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    core_rows: tuple[float, float]
    core_columns: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows[1] - self.rows[0], self.columns[1] - self.columns[0]


def tiles(shape: tuple[int, int], size: int, overlap: int) -> list[Tile]:
    """Patches of at most size x size px that overlap by at least `overlap`, as few and as even as that allows."""
    down, across = (_spans(length, size, overlap) for length in shape)
    return [
        Tile(rows, columns, *cores) for rows, core in down for columns, other in across for cores in [(core, other)]
    ]


def _spans(length: int, size: int, overlap: int) -> list[tuple[tuple[int, int], tuple[float, float]]]:
    n = 1 if length <= size else math.ceil((length - overlap) / (size - overlap))
    width = min(size, math.ceil((length + (n - 1) * overlap) / n))
    starts = [round(i * (length - width) / max(1, n - 1)) for i in range(n)]
    middles = [(a + width + b) / 2 for a, b in zip(starts, starts[1:])]
    edges = [-math.inf, *middles, math.inf]
    return [((start, start + width), core) for start, core in zip(starts, zip(edges, edges[1:]))]


def read(series: Series, wanted: list[Tile], movies: list[np.ndarray], threads: int = 1) -> Iterator[np.ndarray]:
    """Fill the movies of several patches, (rows, columns, recorded frames) float32 each, in one pass over their rows.

    What is not a number reads as the patch's mean in that frame. The list is emptied on the way.
    """
    top, bottom = _span([tile.rows for tile in wanted])
    left, right = _span([tile.columns for tile in wanted])

    def fill(cut: tuple[int, int]) -> None:
        frames = series.stored(*cut, (top, bottom))[:, :, left:right]
        first = int(series.valid[: cut[0]].sum())
        here = slice(first, first + len(frames))
        if frames.dtype.kind == "f" and not np.isfinite(frames).all():
            for movie, tile in zip(movies, wanted):
                (first_row, last_row), (first_column, last_column) = tile.rows, tile.columns
                part = frames[:, first_row - top : last_row - top, first_column - left : last_column - left]
                movie[:, :, here] = np.moveaxis(_finite(part), 0, 2)
            return
        for row in range(top, bottom):
            still = np.ascontiguousarray(frames[:, row - top])  # what is transposed stays in the processor's cache
            courses = still.T.astype(np.float32, order="C")
            for movie, tile in zip(movies, wanted):
                if tile.rows[0] <= row < tile.rows[1]:
                    movie[row - tile.rows[0], :, here] = courses[tile.columns[0] - left : tile.columns[1] - left]

    for _ in in_order(fill, chunks(series, READ_MB * series.shape[0] / (bottom - top)), threads):
        pass
    while movies:
        yield movies.pop(0)


def _span(spans: list[tuple[int, int]]) -> tuple[int, int]:
    return min(first for first, _ in spans), max(end for _, end in spans)


def _finite(frames: np.ndarray) -> np.ndarray:
    good = np.isfinite(frames)
    if good.all():
        return frames
    mean = np.where(good, frames, 0).sum(axis=(1, 2)) / np.maximum(good.sum(axis=(1, 2)), 1)
    return np.where(good, frames, mean[:, None, None]).astype(np.float32)


def cells_of(movie: np.ndarray, tile: Tile, shape: tuple[int, int], settings: Settings) -> Extracted:
    """The cells that a patch answers for, found in its movie, in the coordinates of a field of that shape."""
    return in_field(extract(movie, settings), tile, shape, 0.25 * settings.diameter)


def in_field(extracted: Extracted, tile: Tile, shape: tuple[int, int], margin: float) -> Extracted:
    """The cells that a patch answers for, with `margin` px to spare, in the coordinates of the whole field."""
    corners = extracted.cells.corners + np.array([tile.rows[0], tile.columns[0]])
    cells = Cells(Footprints(shape, corners, extracted.cells.crops), extracted.cells.traces)
    row, column = cells.centres().T if len(cells) else np.zeros((2, 0))
    (top, bottom), (left, right) = tile.core_rows, tile.core_columns
    mine = (row >= top - margin) & (row < bottom + margin) & (column >= left - margin) & (column < right + margin)
    mine = np.flatnonzero(mine)
    return replace(extracted, cells=cells).take(mine)


def together(several: list[Extracted]) -> Extracted:
    """The cells of several patches, as one."""
    noise, doubts, merged = (
        np.concatenate([getattr(of_patch, name) for of_patch in several]) for name in ("noise", "doubts", "merged")
    )
    return Extracted(join(*(of_patch.cells for of_patch in several)), noise, doubts, merged)


def joined(several: list[Extracted]) -> Extracted:
    """The cells of all patches; of those that two patches found, the one with the better peak to noise."""
    everything = together(several)
    source = np.repeat(np.arange(len(several)), [len(one.cells) for one in several])
    quality = everything.cells.traces.max(axis=1, initial=0) / np.maximum(everything.noise, 1e-30)
    dropped = np.zeros(len(everything.cells), bool)
    for i, j in _twins(everything.cells, source):
        if not (dropped[i] or dropped[j]):
            dropped[i if quality[i] < quality[j] else j] = True
    return everything.take(np.flatnonzero(~dropped))


def unlike(candidates: Extracted, cells: Cells) -> Extracted:
    """Those candidates that are not one of these cells again; one that was merged with a cell is like it, but for its
    place."""
    if not len(candidates.cells) or not len(cells):
        return candidates
    n = len(cells)
    both = join(cells, candidates.cells)
    twins = _twins(both, np.repeat([0, 1], [n, len(candidates.cells)]))
    again = np.isin(np.arange(len(candidates.cells)), [j - n for _, j in twins])
    same_place = gate.cosines(both)[:n, n:].max(axis=0).toarray().ravel() > gate.SAME_PLACE
    return candidates.take(np.flatnonzero(~np.where(candidates.merged, same_place, again)))


def _twins(cells: Cells, source: np.ndarray) -> list[tuple[int, int]]:
    if len(cells) < 2 or source[0] == source[-1]:
        return []
    alike = gate.cosines(cells).tocoo()
    pairs = []
    for i, j, cosine in zip(alike.row, alike.col, alike.data):
        if i < j and source[i] != source[j] and cosine > gate.TWICE:
            r = gate.correlations(cells.traces[[i, j]])[0, 1]
            if r > gate.TWICE:
                pairs.append((int(i), int(j)))
    return sorted(pairs)
