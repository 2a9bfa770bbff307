"""Write a few small sample recordings, inside the image: python sample_recordings.py FOLDER.

They are a synthetic miniscope recording in the Inscopix format (thirty cells with calcium transients in a vignetted
field of view), its cell set (traces and footprints) and its event set. With them, the image can be tried without data.
"""

from __future__ import annotations

import sys
from pathlib import Path

import isx
import numpy as np

ROWS, COLUMNS, FRAMES, CELLS, RATE_HZ = 180, 240, 300, 30, 10.0
DECAY_S = 0.7
DROPPED = [40, 41, 187]


def cells(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Footprints (cells, rows, columns), traces (cells, frames) and event trains (cells, frames)."""
    y, x = np.mgrid[:ROWS, :COLUMNS].astype(np.float32)
    centres = random.uniform((20, 20), (ROWS - 20, COLUMNS - 20), (CELLS, 2))
    widths = random.uniform(3, 4.5, CELLS)
    footprints = np.stack([np.exp(-((y - r) ** 2 + (x - c) ** 2) / (2 * w * w)) for (r, c), w in zip(centres, widths)])
    events = (random.random((CELLS, FRAMES)) < 0.02) * random.uniform(0.5, 1.5, (CELLS, FRAMES))
    kernel = np.exp(-np.arange(60) / (DECAY_S * RATE_HZ))
    traces = np.stack([np.convolve(train, kernel)[:FRAMES] for train in events])
    return footprints.astype(np.float32), traces.astype(np.float32), events.astype(np.float32)


def write(folder: Path) -> None:
    random = np.random.default_rng(1)
    footprints, traces, events = cells(random)
    baselines = footprints.sum(0) * 60
    timing = isx.Timing(num_samples=FRAMES, period=isx.Duration.from_msecs(1000 / RATE_HZ), dropped=DROPPED)
    spacing = isx.Spacing(num_pixels=(ROWS, COLUMNS))
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    background = 300 + 250 * np.exp(-(x**2 + y**2))

    movie = isx.Movie.write(str(folder / "sample.isxd"), timing, spacing, np.uint16)
    for frame in set(range(FRAMES)) - set(DROPPED):
        light = background + baselines + 400 * np.tensordot(traces[:, frame], footprints, 1)
        movie.set_frame_data(frame, random.poisson(light).astype(np.uint16))
    movie.flush()

    cell_set = isx.CellSet.write(str(folder / "sample-cells.isxd"), timing, spacing)
    for cell in range(CELLS):
        noise = random.normal(0, 0.05, FRAMES).astype(np.float32)
        cell_set.set_cell_data(cell, footprints[cell], traces[cell] + noise, f"C{cell:02d}")
    for cell in range(CELLS):
        cell_set.set_cell_status(cell, "rejected" if cell % 7 == 6 else "accepted" if cell % 7 < 4 else "undecided")
    cell_set.flush()

    names = [f"C{cell:02d}" for cell in range(CELLS)]
    event_set = isx.EventSet.write(str(folder / "sample-events.isxd"), timing, names)
    for cell in range(CELLS):
        frames = np.flatnonzero(events[cell])
        offsets = (frames * 1e6 / RATE_HZ).astype(np.uint64)
        event_set.set_cell_data(cell, offsets, events[cell, frames])
    event_set.flush()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
