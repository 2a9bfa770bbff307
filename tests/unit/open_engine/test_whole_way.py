"""The recipe `cells` on a movie that Inscopix publishes, or on one made after Zhou et al. 2018 where it is not here."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench import accuracy, conditions
from open_engine.files.cellsets import read_cell_set
from samples import simulate as synthetic

ROOT = Path(__file__).resolve().parents[3]


def made(folder: Path) -> Path:
    """As short as the published movie, and as full of cells."""
    what = replace(conditions.CONDITIONS["zhou"], frames=90, size=96, cells=20, bursts_hz=(0.3, 0.5))
    nothing = np.zeros((0, 0))
    movie = conditions.simulate(what, seed=3)["movie"]
    recording = synthetic.Recording(movie, nothing, nothing, nothing, nothing, nothing, what.rate_hz, 7, 2.0)
    return synthetic.write(folder, "movie", recording)[0]


def test_cells_are_found_and_none_on_the_border(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    published = os.environ.get("PUBLISHED_MOVIE")
    movie = source / Path(published).name if published else made(source)
    if published:
        movie.write_bytes(Path(published).read_bytes())
    environment = {**os.environ, "INPUT_DIR": str(source), "OUTPUT_DIR": str(out), "RECIPE": "cells", "ENGINE": "open"}
    environment["EXPECTED_OUTPUT_FILE"] = str(out / "done.marker")
    done = subprocess.run(
        [sys.executable, ROOT / "bootstrap.py"], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (path,) = out.rglob("steps/*-AR.isxd")
    cells = read_cell_set([path])
    accepted = [cells.images[i] for i, status in enumerate(cells.statuses) if status == "accepted"]
    assert 12 <= len(accepted) <= 50
    for image in accepted:
        power = np.maximum(image, 0) ** 2
        at = [np.average(np.arange(n), weights=power.sum(axis=1 - axis)) for axis, n in enumerate(image.shape)]
        assert all(0.5 < place < n - 1.5 for place, n in zip(at, image.shape)), "on the border of the field"


def test_cells_are_found_in_a_lens(tmp_path: Path) -> None:
    """The edge of a lens stands still and is brighter than anything in the tissue, which moves."""
    what = replace(conditions.CONDITIONS["lens"], frames=250, size=120, cells=26, lens=0.4)
    kept = conditions.simulate(what, seed=8)
    fields = ("A", "C", "S", "counted", "shifts", "inside")
    truth = accuracy.Truth(*(kept[field] for field in fields), what.rate_hz, float(kept["diameter"]))
    figures = accuracy.whole_way(kept["movie"], truth, tmp_path)
    assert figures["accepted"] >= 8
    assert figures["f1"] >= 0.8
    assert figures["event_f1"] >= 0.8
