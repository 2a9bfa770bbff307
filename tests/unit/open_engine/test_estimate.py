"""The size of cells, estimated from raw movies of several makes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench import conditions
from open_engine.cnmfe.estimate import USUAL, Diameter, diameter_of, estimate_cell_diameter
from open_engine.files.frames import open_series
from pipeline.recipe import estimates
from samples import recordings
from samples import simulate as synthetic

MADE = {
    "zhou": {},
    "few": {"cells": 5, "frames": 300, "size": 96},
    "mixed": {},
    "large": {"cells": 7, "size": 110},
}


def stack(movie: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(movie.astype(np.float32), 0, 2))


@pytest.mark.parametrize("name", MADE)
def test_of_recordings_of_other_makes(name: str) -> None:
    what = replace(conditions.CONDITIONS[name], **{"cells": 14, "size": 84, "frames": 160, **MADE[name]})
    made = conditions.simulate(what, seed=5)
    diameter = diameter_of(stack(made["movie"]), what.rate_hz)
    assert diameter.px == pytest.approx(float(made["diameter"]), rel=0.3)
    assert not diameter.doubt


def test_of_the_project_s_own_simulation() -> None:
    made = synthetic.recording(5, 30, (126, 126), 24, diameter_px=18)
    diameter = diameter_of(stack(made.movie), made.rate_hz)
    assert diameter.px == pytest.approx(18, rel=0.3)
    assert diameter_of(stack(made.movie), made.rate_hz, threads=3) == diameter


def test_where_nothing_stands_out_it_is_no_failure(tmp_path: Path) -> None:
    movie = np.random.default_rng(0).normal(1000, 10, (60, 40, 44)).astype(np.float32)
    path = recordings.movie_from(tmp_path / "movie.isxd", movie)
    with open_series([str(path)]) as series:
        assert estimate_cell_diameter(series) == Diameter(USUAL, "nothing as large as a cell stands out from the noise")


def flashing(size: int, width: float, places: list[tuple[int, int]]) -> np.ndarray:
    """A movie of 100 frames in which round cells flash, one after the other, shape (frames, size, size)."""
    rng = np.random.default_rng(2)
    movie = rng.normal(1000, 10, (100, size, size))
    y, x = np.mgrid[:size, :size]
    for i, (row, column) in enumerate(places):
        body = np.exp(-np.log(2) * ((y - row) ** 2 + (x - column) ** 2) / (width / 2) ** 2)
        for t in (20 + 5 * i % 70, 25 + 11 * i % 70):
            movie[t : t + 6] += 60 * body * np.exp(-np.arange(6) / 6)[:, None, None]
    return movie.astype(np.float32)


FAR_APART = [(row, column) for row in (40, 140, 240, 340) for column in (50, 190, 330)]


@pytest.mark.parametrize(
    ("size", "width", "places", "doubt"),
    [
        (380, 30, FAR_APART, ""),  # three of them in the middle, where it begins to look
        (380, 8, FAR_APART, ""),
        (100, 12, [(50, 40)], "only 1 place stands out from the noise"),
        (100, 12, [(30, 30), (60, 70)], "only 2 places stand out from the noise"),
    ],
)
def test_of_few_cells(tmp_path: Path, size: int, width: float, places: list[tuple[int, int]], doubt: str) -> None:
    path = recordings.movie_from(tmp_path / "movie.isxd", flashing(size, width, places))
    with open_series([str(path)]) as series:
        diameter = estimate_cell_diameter(series)
    assert diameter == Diameter(pytest.approx(width, rel=0.3), doubt)


@pytest.mark.parametrize("shape", [(0, 40, 40), (5, 40, 40), (60, 6, 6)])
def test_too_small_to_tell(shape: tuple[int, ...]) -> None:
    assert diameter_of(stack(np.ones(shape)), 10) == Diameter(USUAL, "the movie is too small or too short to tell")


def test_of_a_published_movie() -> None:
    """Inscopix's movie_part2_108x123x63.isxd, of its toolbox for CaImAn: its cells are 6 to 8 px wide."""
    given = os.environ.get("PUBLISHED_MOVIE")
    if not given:
        pytest.skip("PUBLISHED_MOVIE names no file")
    with open_series([given]) as series:
        diameter = estimate_cell_diameter(series)
    assert 5 <= diameter.px <= 9
    assert not diameter.doubt


AUTO = {"spatial_downsample_factor": "auto", "cell_diameter": "auto"}


@pytest.mark.parametrize(
    ("measured", "factor", "diameter", "warnings"),
    [
        (Diameter(6.4), 1, 6, []),
        (Diameter(15.4), 2, 8, []),
        (Diameter(25.0), 3, 8, []),
        (
            Diameter(20.0, "only 2 places stand out from the noise"),
            1,
            20,
            [
                "the size of cells is in doubt, because only 2 places stand out from the noise: 20 px is used; "
                "set cell_diameter if you know it"
            ],
        ),
    ],
)
def test_the_recipe_estimates_once_and_is_careful(
    measured: Diameter, factor: int, diameter: int, warnings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [measured]
    monkeypatch.setattr(estimates, "estimate_cell_diameter", lambda series, threads: made.pop())
    path = str(recordings.movie_from(tmp_path / "movie.isxd", np.ones((30, 9, 9), np.float32)))
    said: list[str] = []
    before = estimates.Movie([path], [path], 1, said.append)
    assert estimates.estimate("preprocess", AUTO, before) == {"spatial_downsample_factor": factor}
    after = replace(before, factor=factor)
    assert estimates.estimate("run_cnmfe", AUTO, after) == {"cell_diameter": diameter}
    assert said == warnings


def test_pieces_too_short_to_compare_frames_in_leave_the_size_in_doubt() -> None:
    """No frame has another one a second before it."""
    movie = np.random.default_rng(1).normal(size=(40, 40, 24)).astype(np.float32)
    assert diameter_of(movie, 10.0, stretches=(8, 8, 8)).doubt
