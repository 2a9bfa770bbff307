from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import isx
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from open_engine.cnmfe import patches
from open_engine.context import StepContext
from open_engine.files.cellsets import candidates_of, read_cell_set, reasons_of
from open_engine.files.frames import open_series
from open_engine.steps.run_cnmfe import CANNOT, run_cnmfe
from recording.errors import Unusable
from samples import recordings
from samples import simulate as synthetic

DIAMETER = 10


@pytest.fixture(scope="module")
def made() -> synthetic.Recording:
    return synthetic.recording(
        seed=11, seconds=50, shape=(72, 96), n_cells=20, diameter_px=DIAMETER, motion_px=0, brightness=1
    )


@pytest.fixture(scope="module")
def movie(made: synthetic.Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write(tmp_path_factory.mktemp("movie"), "movie", made)[0]


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    cells = isx.CellSet.read(str(path))
    images = [cells.get_cell_image_data(i) for i in range(cells.num_cells)]
    return np.stack(images), np.stack([cells.get_cell_trace_data(i) for i in range(cells.num_cells)])


def run(movie: Path, out: Path, context: StepContext, **given: Any) -> tuple[np.ndarray, np.ndarray]:
    run_cnmfe([str(movie)], [str(out)], **{"cell_diameter": DIAMETER, **given}, context=context)
    return read(out)


def agreement(made: synthetic.Recording, images: np.ndarray, traces: np.ndarray) -> tuple[float, float, float]:
    """Precision, recall and the median r of matched cells, of those that fire and lie in the field."""

    def unit(x: np.ndarray) -> np.ndarray:
        x = x.reshape(len(x), -1).astype(float)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    counted = (made.inside > 0.6) & (made.spikes.sum(axis=1) > 1)
    cosine = unit(images) @ unit(made.footprints).T
    r = (
        unit(traces - traces.mean(axis=1, keepdims=True))
        @ unit(made.traces - made.traces.mean(axis=1)[:, None] + 1e-9).T
    )
    good = (cosine >= 0.5) & (r >= 0.5)
    matched, true = linear_sum_assignment(-np.where(good, cosine + r, 0))
    matched, true = matched[good[matched, true]], true[good[matched, true]]
    hits = counted[true].sum()
    precision = hits / (len(images) - (len(true) - hits))
    return precision, hits / counted.sum(), float(np.median(r[matched, true]))


def test_finds_the_cells(made: synthetic.Recording, movie: Path, tmp_path: Path, context: StepContext) -> None:
    images, traces = run(movie, tmp_path / "out.isxd", context)
    precision, recall, r = agreement(made, images, traces)
    assert precision >= 0.7
    assert recall >= 0.85
    assert r >= 0.93
    np.testing.assert_allclose(images.max(axis=(1, 2)), 1, rtol=1e-6)


def test_same_bytes_whatever_the_threads(movie: Path, tmp_path: Path, context: StepContext) -> None:
    tiled = {"patch_size": 56, "patch_overlap": 20}
    written = []
    for name, threads, mode in (
        ("a", 1, "parallel_patches"),
        ("b", 2, "parallel_patches"),
        ("c", 2, "sequential_patches"),
    ):
        out = tmp_path / f"{name}.isxd"
        run(movie, out, replace(context, threads=threads), num_threads=threads, processing_mode=mode, **tiled)
        written.append(out.read_bytes())
    assert written[0] == written[1] == written[2]


def test_patches_find_what_the_whole_field_does(
    made: synthetic.Recording, movie: Path, tmp_path: Path, context: StepContext
) -> None:
    images, traces = run(movie, tmp_path / "p.isxd", context, patch_size=60, patch_overlap=24)
    _, recall, r = agreement(made, images, traces)
    assert recall >= 0.8
    assert r >= 0.9
    gram = np.corrcoef(images.reshape(len(images), -1))
    assert (gram[~np.eye(len(gram), dtype=bool)] < 0.9).all(), "a cell on a border is there twice"


def test_units(movie: Path, tmp_path: Path, context: StepContext) -> None:
    images, df = run(movie, tmp_path / "df.isxd", context, output_unit_type="df")
    same, over_noise = run(movie, tmp_path / "noise.isxd", context)
    np.testing.assert_array_equal(images, same)
    ratio = df / over_noise
    np.testing.assert_allclose(ratio, np.broadcast_to(np.median(ratio, axis=1)[:, None], ratio.shape), rtol=1e-3)
    high = np.diff(over_noise, axis=1)
    assert 0.3 < np.median(1.4826 * np.median(np.abs(high), axis=1) / np.sqrt(2)) < 1.5


def test_a_series_gives_one_cell_set_over_all_parts(
    made: synthetic.Recording, tmp_path: Path, context: StepContext
) -> None:
    parts = [str(path) for path in synthetic.write(tmp_path, "series", made, n_parts=2)]
    out = [str(tmp_path / f"out{i}.isxd") for i in range(2)]
    run_cnmfe(parts, out, cell_diameter=DIAMETER, context=context)
    (first, before), (second, after) = read(Path(out[0])), read(Path(out[1]))
    np.testing.assert_array_equal(first, second)
    assert before.shape[1] + after.shape[1] == len(made.movie)
    assert agreement(made, first, np.concatenate([before, after], axis=1))[1] >= 0.85


def noisy(n: int = 60, shape: tuple[int, int] = (40, 44), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(1000, 10, (n, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("data", "given", "message"),
    [
        (noisy(), {}, "no cells found in movie.isxd: check cell_diameter"),
        (noisy() * 0 + 7, {}, "no cells found"),
        (noisy() * 0 + 65535, {}, "no cells found"),
        (noisy() * np.nan, {}, "no cells found"),
        (noisy(n=12), {}, "12 recorded frames: run_cnmfe needs 30"),
        (noisy(shape=(12, 12)), {}, "too small, 12 x 12 px, for cells of 10 px"),
        (noisy(), {"gaussian_kernel_size": 3}, "does not offer run_cnmfe's gaussian_kernel_size = 3"),
        (noisy(), {"closing_kernel_size": 3}, "does not offer run_cnmfe's closing_kernel_size = 3"),
    ],
)
def test_says_why_there_are_no_cells(
    data: np.ndarray, given: dict[str, Any], message: str, tmp_path: Path, context: StepContext
) -> None:
    path = recordings.movie_from(tmp_path / "movie.isxd", data)
    with pytest.raises(Unusable, match=message):
        run(path, tmp_path / "out.isxd", context, **given)
    assert not (tmp_path / "out.isxd").exists()


def test_all_frames_dropped(tmp_path: Path, context: StepContext) -> None:
    path = recordings.movie_from(tmp_path / "movie.isxd", noisy(n=1)[:0], dropped=range(50))
    with pytest.raises(Unusable, match="0 recorded frames"):
        run(path, tmp_path / "out.isxd", context)


def test_one_cell_among_pixels_that_are_no_numbers_or_stuck(tmp_path: Path, context: StepContext) -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:44, :48]
    footprint = np.exp(-((y - 20) ** 2 + (x - 25) ** 2) / (2 * 4.2**2))
    trace = np.convolve(rng.random(300) < 0.02, np.exp(-np.arange(60) / 12))[:300] * 150
    data = (rng.normal(1000, 20, (300, 44, 48)) + trace[:, None, None] * footprint).astype(np.float32)
    data[:, 5, 7] = np.nan
    data[:, 40, 3] = 4095
    data[7, 30:34] = np.inf
    images, traces = run(recordings.movie_from(tmp_path / "movie.isxd", data), tmp_path / "out.isxd", context)
    assert len(images) == 1
    assert np.corrcoef(traces[0], trace)[0, 1] > 0.97
    assert np.unravel_index(images[0].argmax(), images[0].shape) == pytest.approx((20, 25), abs=1.5)


def test_tiles_cover_the_field_and_every_place_belongs_to_one() -> None:
    for shape in ((80, 80), (81, 200), (640, 400), (30, 95)):
        made = patches.tiles(shape, 80, 20)
        assert all(max(tile.shape) <= 80 for tile in made)
        owners = np.zeros(shape, int)
        for tile in made:
            rows, columns = np.ogrid[: shape[0], : shape[1]]
            (top, bottom), (left, right) = tile.core_rows, tile.core_columns
            owners += (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        assert (owners == 1).all()
    assert set(CANNOT) == {"gaussian_kernel_size", "closing_kernel_size"}


@pytest.mark.parametrize("threads", [1, 3])
def test_patches_are_read_from_their_rows(tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "READ_MB", 0.1)
    data = noisy(n=37, shape=(90, 130))
    data[5, 60, 70] = np.nan
    paths = [str(recordings.movie_from(tmp_path / f"{i}.isxd", data, dropped=[i, 9])) for i in range(2)]
    tiles = patches.tiles((90, 130), 50, 10)
    with open_series(paths) as series:
        whole = series.read(0, series.n_frames)[series.valid]
        for group in (tiles[1:2], tiles[2:5], tiles):
            movies = [np.empty((*tile.shape, len(whole)), np.float32) for tile in group]
            for tile, movie in zip(group, patches.read(series, group, movies, threads)):
                expected = np.moveaxis(whole[:, slice(*tile.rows), slice(*tile.columns)], 0, 2)
                known = np.isfinite(expected)
                np.testing.assert_array_equal(movie[known], expected[known])
                assert np.isfinite(movie).all()


def test_a_neuron_that_was_merged_with_another_one_is_a_candidate(tmp_path: Path, context: StepContext) -> None:
    """With the reason, its own place and its own activity."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:60, :70]

    def course() -> np.ndarray:
        return np.convolve(rng.random(400) < 0.03, np.exp(-np.arange(50) / 8))[:400]

    together, own = course(), [course(), course()]
    neurons = {22: 0.6 * together + 0.4 * own[0], 28: 0.6 * together + 0.4 * own[1], 56: course()}
    data = rng.normal(1000, 15, (400, 60, 70))
    for column, trace in neurons.items():
        data += 250 * trace[:, None, None] * np.exp(-((y - 30) ** 2 + (x - column) ** 2) / (2 * 4.2**2))
    movie = recordings.movie_from(tmp_path / "movie.isxd", data.astype(np.float32))
    images, _ = run(movie, tmp_path / "merged.isxd", context, merge_threshold=0.3)
    assert len(images) == 2, "one of both, and the one that lies alone"
    candidates = read_cell_set(candidates_of(tmp_path / "merged.isxd"))
    places = [np.unravel_index(image.argmax(), image.shape) for image in candidates.images]
    i = int(np.argmin([abs(row - 30) + abs(column - 28) for row, column in places]))
    assert places[i] == pytest.approx((30, 28), abs=1.5) and candidates.statuses[i] == "rejected"
    said = r"merged with another cell: their traces correlate \(r = 0\.\d\d, merge_threshold 0\.3\), "
    said += r"their footprints overlap \(cosine 0\.\d\d\)"
    assert re.fullmatch(said, reasons_of(candidates.footer)[i])
    r = [np.corrcoef(candidates.traces[i], trace)[0, 1] for trace in neurons.values()]
    assert r[1] > 0.8 and r[1] > r[0] + 0.2, r
    run(movie, tmp_path / "apart.isxd", context, merge_threshold=0.95)
    beside = candidates_of(tmp_path / "apart.isxd")
    reasons = reasons_of(read_cell_set(beside).footer) if beside.exists() else []
    assert not any("merged" in reason for reason in reasons), reasons


def test_few_frames_are_warned_of(
    made: synthetic.Recording, tmp_path: Path, context: StepContext, warnings: list[str]
) -> None:
    run(recordings.movie_from(tmp_path / "short.isxd", made.movie[:150]), tmp_path / "out.isxd", context)
    assert len(warnings) == 1
    assert warnings[0].startswith("short.isxd has only 150 recorded frames: noise is mistaken for cells more often")
