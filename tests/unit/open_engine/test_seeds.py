"""Where cells begin: at every place of the field, and in strong neuropil."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from open_engine.cell_shape import doubts
from open_engine.cnmfe import seeds
from open_engine.cnmfe.extraction import Extracted, Settings, extract
from samples import simulate as synthetic

DIAMETER, RATE_HZ = 7.0, 10.0


@pytest.mark.parametrize("row", [0, 5, 11])
@pytest.mark.parametrize("column", [0, 6, 15])
@pytest.mark.parametrize("frame", [0, 1, 20, 38, 39])
def test_a_transient_is_one_wherever_it_is(row: int, column: int, frame: int) -> None:
    z = np.random.default_rng(1).uniform(0, 1, (12, 16, 40))
    z[row, column, frame] = 2 * seeds.THRESHOLD
    at, height = seeds.transients(z)
    assert at.tolist() == [[row, column, frame]]
    assert height.tolist() == [2 * seeds.THRESHOLD]


def test_two_samples_of_one_height_are_one_transient() -> None:
    z = np.zeros((12, 16, 40))
    z[4, 5, 20:22] = 2 * seeds.THRESHOLD
    at, _ = seeds.transients(z)
    assert len(at) == 1


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_cells_are_found_in_strong_neuropil(seed: int) -> None:
    """Neuropil and dendrites follow the cells in part, and vessels make both as sharp as cells are."""
    made = synthetic.recording(
        seed=seed, seconds=60, shape=(120, 160), n_cells=14, diameter_px=14, motion_px=0, endless=True
    )
    movie = np.moveaxis(_in_bins(made.movie.astype(np.float32)), 0, 2)
    seen = extract(np.ascontiguousarray(movie), Settings(DIAMETER, RATE_HZ)).believed
    images = seen.cells.images()
    accepted = [not doubt for doubt in doubts(images, seen.cells.traces.max(axis=1), DIAMETER)]
    true = _true(seen, made)[accepted]
    assert true.any(axis=0).mean() > 0.9, "cells are missed"
    assert true.any(axis=1).mean() > 0.8, "what is no cell is accepted"


def test_bright_cells_do_not_count_as_background() -> None:
    """Two cells a quarter wider than the diameter taken for them: nothing but them makes the background."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:60, :70]
    movie = rng.normal(0, 15, (60, 70, 400))
    for column in (20, 50):
        trace = np.convolve(rng.random(400) < 0.03, np.exp(-np.arange(50) / 8))[:400]
        movie += 250 * trace * np.exp(-((y - 30) ** 2 + (x - column) ** 2) / (2 * 4.2**2))[:, :, None]
    seen = extract(movie.astype(np.float32), Settings(8.0, RATE_HZ)).believed
    assert sorted(round(column) for _, column in seen.cells.centres()) == [20, 50]


def _in_bins(images: np.ndarray) -> np.ndarray:
    n, rows, columns = images.shape
    return images.reshape(n, rows // 2, 2, columns // 2, 2).mean(axis=(2, 4))


def _true(seen: Extracted, made: synthetic.Recording) -> np.ndarray:
    """Which of what was seen is which of the cells, (seen, cells)."""

    def unit(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1).astype(float)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    cosine = unit(seen.cells.images()) @ unit(_in_bins(made.footprints)).T
    r = np.corrcoef(seen.cells.traces, made.traces)[: len(cosine), len(cosine) :]
    good = (cosine >= 0.5) & (r >= 0.5)
    matched = np.zeros(good.shape, bool)
    matched[linear_sum_assignment(-np.where(good, cosine + r, 0))] = True
    return matched & good
