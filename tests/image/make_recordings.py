"""Make small recordings with isx; runs inside the image: make_recordings.py FOLDER."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import isx
import numpy as np

FRAMES = np.arange(12 * 24 * 32, dtype=np.uint16).reshape(12, 24, 32)
TIMING = isx.Timing(num_samples=len(FRAMES), period=isx.Duration.from_msecs(50))
SPACING = isx.Spacing(num_pixels=FRAMES.shape[1:])


def make_movie(path: Path) -> None:
    movie = isx.Movie.write(str(path), TIMING, SPACING, np.uint16)
    for number, frame in enumerate(FRAMES):
        movie.set_frame_data(number, frame)
    movie.flush()


def make_cell_set(path: Path) -> None:
    cells = isx.CellSet.write(str(path), TIMING, SPACING)
    for number in range(2):
        footprint = np.zeros(FRAMES.shape[1:], np.float32)
        footprint[4 + 8 * number : 8 + 8 * number, 4:8] = 1
        cells.set_cell_data(number, footprint, np.arange(len(FRAMES), dtype=np.float32), f"C{number}")
    cells.flush()


def make_event_set(path: Path) -> None:
    events = isx.EventSet.write(str(path), TIMING, ["C0"])
    events.set_cell_data(0, np.array([100_000, 300_000], np.uint64), np.array([1, 2], np.float32))
    events.flush()


def main(folder: Path) -> None:
    make_movie(folder / "movie.isxd")
    awkward = folder / "Maus 7, größte Pause"
    awkward.mkdir()
    shutil.copy(folder / "movie.isxd", awkward / "réponse ß & co.isxd")
    make_cell_set(folder / "cells.isxd")
    make_event_set(folder / "events.isxd")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
