"""A session in which a recipe drops a true cell: its peaks are below what the recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from open_engine.files.cellsets import edit_footer
from recording import formats
from samples import recordings

SHAPE, N, DIAMETER = (64, 84), 300, 8.0
BRIGHT, FAINT = [(18, 18), (18, 62), (44, 24)], (44, 60)  # row, column
RECIPE = """version = 1
group = "series"
keep = "{keep}"
[[step]]
use = "run_cnmfe"
cell_diameter = 8
min_pnr = 22
[[step]]
use = "detect_transients"
[[step]]
use = "accept_cells"
"""


def footprint(row: float, column: float) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * (DIAMETER / 2.4) ** 2))


def movie(seed: int, bright: Sequence[tuple[int, int]]) -> np.ndarray:
    """Bright cells, and one whose peaks are below what the recipe asks for."""
    rng = np.random.default_rng(seed)
    scene = np.full((N, *SHAPE), 800.0)
    for height, (row, column) in [*((220.0, at) for at in bright), (32.0, FAINT)]:
        spikes = rng.random(N) < 0.03
        spikes[20 + int(column)] = True
        course = np.convolve(spikes, np.exp(-np.arange(40) / 6))[:N]
        scene += height * course[:, None, None] * footprint(row, column)
    return np.clip(scene + rng.normal(0, 20, scene.shape), 0, 4095).astype(np.uint16)


def later(recording: Path, seconds: int) -> None:
    timing = formats.read_footer(recording)["timingInfo"]
    start = timing["start"]["secsSinceEpoch"]
    start["num"] += seconds * start["den"]
    edit_footer(recording, timingInfo=timing)


def session(folder: Path, bright: Sequence[tuple[int, int]] = BRIGHT) -> None:
    """Two parts, 60 s apart."""
    for part in (1, 2):
        later(recordings.movie_from(folder / f"m_part{part}.isxd", movie(part, bright)), 60 * part)
