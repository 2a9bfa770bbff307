#!/usr/bin/env python3
"""Compare the cells that were found in a simulated recording with those that are in it. Runs inside the image.

    compare.py CELL_SET TRUTH PICTURE

CELL_SET is a product of a recipe, `.isxd`; TRUTH is what simulate.py left beside the recording. Prints the score as one
line and draws both over each other. A cell is found if, in the best assignment, the cosine between footprints and the
correlation between traces, both smoothed over 0.2 s, are at least 0.5. Rejected cells do not count, nor do those that
are too dim to be seen or lie mostly outside of the field.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import isx
import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import linear_sum_assignment

LEAST = 0.5  # of cosine and of correlation
SMOOTH_S = 0.2
REACH = 6  # px that the corrected field may rest away from where the simulated one began
INSIDE = 0.6  # the share of its light that a cell has in the field


@dataclass(frozen=True)
class Cells:
    footprints: np.ndarray  # (cells, rows, columns)
    traces: np.ndarray  # (cells, samples)


@dataclass(frozen=True)
class Score:
    """How many were found, and how well."""

    true: int
    detected: int
    matched: int
    correlation: float  # median over the matched cells, of traces as they are

    @property
    def precision(self) -> float:
        return self.matched / max(self.detected, 1)

    @property
    def recall(self) -> float:
        return self.matched / max(self.true, 1)

    @property
    def f1(self) -> float:
        return 2 * self.matched / max(self.detected + self.true, 1)

    def __str__(self) -> str:
        return (
            f"{self.matched} of {self.true} cells found, {self.detected - self.matched} false: "
            f"F1 {self.f1:.2f} (precision {self.precision:.2f}, recall {self.recall:.2f}); "
            f"correlation of traces {self.correlation:.2f}"
        )


def read_found(path: Path) -> tuple[Cells, tuple[int, int], float]:
    """The cells that were not rejected, the field's corner (row, column) and the rate in Hz."""
    cells = isx.CellSet.read(str(path))
    chosen = [i for i in range(cells.num_cells) if cells.get_cell_status(i) != "rejected"]
    shape = cells.spacing.num_pixels
    footprints = np.array([cells.get_cell_image_data(i) for i in chosen]).reshape(-1, *shape)
    traces = np.array([cells.get_cell_trace_data(i) for i in chosen]).reshape(-1, cells.timing.num_samples)
    return Cells(footprints, np.nan_to_num(traces)), corner_of(path), 1 / cells.timing.period.secs_float


def corner_of(path: Path) -> tuple[int, int]:
    """Where the field that motion correction left lies in the recording's: its crop rectangle, in the steps' folder."""
    for table in path.parent.glob("steps/*-MC-crop_rect.csv"):
        x, y, *_ = table.read_text().split(",")
        return int(y), int(x)
    return 0, 0


def read_truth(path: Path) -> Cells:
    """The cells that count."""
    truth = np.load(path)
    counted = (truth["inside"] >= INSIDE) & (truth["spikes"].sum(axis=1) > 0)
    return Cells(truth["footprints"][counted], truth["traces"][counted])


def aligned(truth: Cells, cells: Cells, corner: tuple[int, int]) -> Cells:
    """The truth in the field of what was found, moved as a whole to where they agree best."""
    rows, columns = cells.footprints.shape[1:]
    padded = np.pad(truth.footprints, ((0, 0), (REACH, REACH), (REACH, REACH)))
    everything = cells.footprints.sum(axis=0)

    def moved(down: int, right: int) -> np.ndarray:
        top, left = corner[0] + REACH + down, corner[1] + REACH + right
        return padded[:, top : top + rows, left : left + columns]

    reach = range(-REACH, REACH + 1)
    shifts = [(down, right) for down in reach for right in reach if moved(down, right).shape[1:] == (rows, columns)]
    best = max(shifts, key=lambda shift: float((moved(*shift).sum(axis=0) * everything).sum()))
    return Cells(moved(*best), truth.traces)


def match(truth: Cells, cells: Cells, rate_hz: float) -> list[tuple[int, int]]:
    """Pairs of a true cell and the one found for it."""
    if not len(cells.footprints):
        return []
    alike = (
        _units(truth.footprints.reshape(len(truth.footprints), -1))
        @ _units(cells.footprints.reshape(len(cells.footprints), -1)).T
    )
    together = _correlations(*(gaussian_filter1d(those.traces, SMOOTH_S * rate_hz, axis=1) for those in (truth, cells)))
    good = (alike >= LEAST) & (together >= LEAST)
    pairs = zip(*linear_sum_assignment(np.where(good, alike + together, 0), maximize=True))
    return [(int(i), int(j)) for i, j in pairs if good[i, j]]


def score(truth: Cells, cells: Cells, pairs: list[tuple[int, int]]) -> Score:
    correlations = [float(_correlations(truth.traces[[i]], cells.traces[[j]])[0, 0]) for i, j in pairs]
    middle = float(np.median(correlations)) if pairs else float("nan")
    return Score(len(truth.footprints), len(cells.footprints), len(pairs), middle)


def _units(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (traces - traces.mean(axis=1, keepdims=True) for traces in (a, b))
    return _units(a) @ _units(b).T


def draw(picture: Path, truth: Cells, cells: Cells, pairs: list[tuple[int, int]], title: str) -> None:
    """True cells filled, found ones as outlines: green if matched, red if not."""
    rows, columns = cells.footprints.shape[1:]
    figure = Figure(figsize=(8, 8 * rows / columns + 0.6), layout="constrained")
    axes = figure.subplots()
    together = (truth.footprints / truth.footprints.max(axis=(1, 2), keepdims=True)).max(axis=0)
    axes.imshow(together, cmap="Greys", vmax=1.4)
    matched = {j for _, j in pairs}
    for j, footprint in enumerate(cells.footprints):
        colour = "#137333" if j in matched else "#c5221f"
        axes.contour(footprint, [footprint.max() / 2], colors=[colour], linewidths=1.4)
    axes.set(xticks=[], yticks=[], title=title)
    figure.savefig(picture, dpi=100)


def main(cell_set: Path, truth_file: Path, picture: Path) -> None:
    cells, corner, rate_hz = read_found(cell_set)
    truth = aligned(read_truth(truth_file), cells, corner)
    pairs = match(truth, cells, rate_hz)
    result = score(truth, cells, pairs)
    draw(picture, truth, cells, pairs, "grey: true cells; outlines: cells found (green) and false cells (red)")
    print(result)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
