"""The fast pass against NumPy's own definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from open_engine import statistics
from open_engine.files.movies import open_frames
from recording import formats
from recording.errors import BadRecording
from samples import recordings

# Sums of integers are exact, so means differ by one rounding. Squares are summed in float32 (24 bits), of at most some
# thousand terms at a time.
MEAN = {"rtol": 1e-14, "atol": 0}
STD = {"rtol": 2e-6, "atol": 0}
MEAN_OF_FLOATS = {"rtol": 2e-7, "atol": 0}


def naive(data: np.ndarray) -> dict[str, np.ndarray]:
    exact = data.astype(np.float64)
    return {
        "frame_mean": exact.mean(axis=(1, 2)),
        "frame_std": exact.std(axis=(1, 2)),
        "frame_min": data.min(axis=(1, 2)),
        "frame_max": data.max(axis=(1, 2)),
        "mean": exact.mean(axis=0),
        "std": exact.std(axis=0),
        "min": data.min(axis=0),
        "max": data.max(axis=0),
    }


def of(path: Path, *options: Any, **more: Any) -> statistics.MovieStatistics:
    with open_frames(path) as frames:
        return statistics.movie_statistics(frames, *options, **more)


def compare(path: Path, data: np.ndarray, threads: int = 1) -> statistics.MovieStatistics:
    ours, expected = of(path, threads), naive(data)
    mean = MEAN_OF_FLOATS if data.dtype == np.float32 else MEAN
    for name in ("frame_min", "frame_max", "min", "max"):
        np.testing.assert_array_equal(getattr(ours, name), expected[name], err_msg=name)
        assert getattr(ours, name).dtype == data.dtype
    for name in ("frame_mean", "mean"):
        np.testing.assert_allclose(getattr(ours, name), expected[name], err_msg=name, **mean)
    for name in ("frame_std", "std"):
        scale = STD["rtol"] * np.abs(expected[name]).max()  # of pixels that hardly change
        np.testing.assert_allclose(getattr(ours, name), expected[name], rtol=STD["rtol"], atol=scale, err_msg=name)
    return ours


def random(dtype: str, shape: tuple[int, int, int], low: float, high: float) -> np.ndarray:
    return np.random.default_rng(1).uniform(low, high, shape).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("uint16", 300, 3000),  # as a sensor of 12 bits
        ("uint16", 0, 65535),  # the whole range, where differences do not fit 16 bits
        ("uint16", 30000, 36000),  # around the sign of 16 bits
        ("uint8", 0, 255),
        ("float32", -0.1, 0.5),  # ΔF/F
        ("float32", 1e6, 1e6 + 100),  # little change on a large value
    ],
)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 5), (45, 17, 31), (25, 90, 100)])
def test_the_same_as_numpy(tmp_path, dtype, low, high, shape):
    data = random(dtype, shape, low, high)
    compare(recordings.movie_from(tmp_path / "m.isxd", data), data)


def test_frames_larger_than_a_band_and_slabs_larger_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "SLAB_BYTES", 1)
    data = random("uint16", (50, 130, 140), 100, 4095)  # three bands, the last one short; three slabs
    compare(recordings.movie_from(tmp_path / "m.isxd", data), data)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_several_processes_find_the_same_as_one(tmp_path, monkeypatch, dtype):
    data = random(dtype, (30, 150, 170), 100, 4000)
    path = recordings.movie_from(tmp_path / "m.isxd", data)
    monkeypatch.setattr(statistics, "PROCESS_BYTES", 1)
    compare(path, data, threads=2)


def test_a_step_in_brightness_loses_no_precision(tmp_path):
    """A dark first half: the frame that happens to be first is no measure for the others."""
    data = random("uint16", (60, 40, 50), 2000, 2010)
    data[:25] //= 40
    compare(recordings.movie_from(tmp_path / "m.isxd", data), data)


def test_frames_between_sensor_headers(tmp_path):
    data = random("uint16", (10, 8, 1280), 100, 4000)
    compare(recordings.movie_from(tmp_path / "m.isxd", data, np.arange(10) * 50_000), data)


def test_only_stored_frames_count(tmp_path):
    data = random("uint16", (9, 20, 20), 100, 4000)
    path = recordings.movie_from(tmp_path / "m.isxd", data, dropped=[3], cropped=[(5, 7)], blank=[12])
    assert formats.movie_layout(path).n_samples == 14
    compare(path, data)


def test_what_is_not_finite_stays_where_it_is(tmp_path):
    data = random("float32", (12, 10, 10), 0, 1)
    data[4, 2, 3] = np.nan
    path = recordings.movie_from(tmp_path / "m.isxd", data)
    ours = of(path)
    assert np.isnan(ours.mean[2, 3]) and np.isnan(ours.frame_mean[4])
    assert np.isfinite(np.delete(ours.mean.ravel(), 23)).all() and np.isfinite(np.delete(ours.frame_std, 4)).all()


@pytest.mark.parametrize(
    ("dtype", "highest", "level", "fraction"),
    [
        ("uint16", 4095, 4095, 0.06),
        ("uint16", 65535, 65535, 0.06),
        ("uint16", 5000, 65535, 0),
        ("uint8", 255, 255, 0.06),
    ],
)
def test_saturation(tmp_path, dtype, highest, level, fraction):
    data = random(dtype, (5, 10, 10), 10, 200)
    data[2, :2, :3] = highest
    ours = compare(recordings.movie_from(tmp_path / "m.isxd", data), data)
    assert ours.saturation_level == level
    np.testing.assert_array_equal(ours.frame_saturated, [0, 0, fraction, 0, 0])


def test_float_movies_have_no_saturation(tmp_path):
    data = random("float32", (5, 10, 10), 0, 1)
    ours = compare(recordings.movie_from(tmp_path / "m.isxd", data), data)
    assert ours.saturation_level is None and np.isnan(ours.frame_saturated).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_file_that_becomes_shorter(tmp_path, monkeypatch, threads):
    monkeypatch.setattr(statistics, "PROCESS_BYTES", 1)
    data = random("uint16", (30, 150, 170), 100, 4000)
    path = recordings.movie_from(tmp_path / "m.isxd", data)
    with open_frames(path) as frames:
        with path.open("r+b") as file:
            file.truncate(frames.layout.n_stored // 2 * frames.layout.stride)
        with pytest.raises(BadRecording, match="became shorter"):
            statistics.movie_statistics(frames, threads)


def test_progress_reaches_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "SLAB_BYTES", 1)
    data = random("uint16", (50, 20, 20), 100, 4000)
    path = recordings.movie_from(tmp_path / "m.isxd", data)
    told: list[float] = []
    of(path, progress=told.append)
    assert told == sorted(told) and told[-1] == 1 and len(told) == 3
