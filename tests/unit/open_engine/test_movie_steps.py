"""spatial_filter, project_movie, dff, trim_movie and interpolate_movie against their definitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import isx
import numpy as np
import pytest
from scipy.ndimage import correlate1d, gaussian_filter
from scipy.special import ive

from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.gaussian import low_passed
from open_engine.steps.dff import dff
from open_engine.steps.interpolate_movie import interpolate_movie
from open_engine.steps.project_movie import project_movie
from open_engine.steps.spatial_filter import spatial_filter
from open_engine.steps.trim_movie import trim_movie
from recording.errors import Unusable
from samples import recordings

GAPS: dict[str, Any] = {"dropped": [2], "cropped": [(4, 5)], "blank": [7]}
STORED = [0, 1, 3, 6, 8, 9, 10, 11]


def read(path: Path) -> np.ndarray:
    with frames.open_movie(path) as movie:
        return movie.read(0, movie.n_frames)


@pytest.fixture
def parts(tmp_path: Path) -> list[str]:
    """A series of two parts with gaps."""
    first = recordings.movie(tmp_path / "a1.isxd", seed=1, **GAPS)
    second = recordings.movie(tmp_path / "a2.isxd", seed=2, start_ms=recordings.START_MS + 600)
    return [str(first), str(second)]


@pytest.fixture
def stored(parts: list[str]) -> np.ndarray:
    """All recorded frames of the series."""
    return np.concatenate([read(Path(parts[0]))[STORED], read(Path(parts[1]))]).astype(float)


def products(parts: list[str], suffix: str) -> list[str]:
    return [part.replace(".isxd", f"-{suffix}.isxd") for part in parts]


# ---- spatial_filter


def grating(v: float, n: int = 64) -> np.ndarray:
    """A grating of v cycles per pixel along x, symmetric at the edges, where the filter mirrors frames."""
    return np.tile(np.cos(2 * np.pi * v * (np.arange(n) + 0.5)), (n, 1)).astype(np.float32)


def passed(v: float, cut_off: float) -> float:
    """By a discrete Gaussian that halves what is at the cut-off."""
    return 0.5 ** ((1 - np.cos(2 * np.pi * v)) / (1 - np.cos(2 * np.pi * cut_off)))


@pytest.mark.parametrize(
    "v, amplitude", [(0.125, 0.5 - passed(0.125, 0.03125)), (0.03125, passed(0.03125, 0.125) - 0.5)]
)
def test_half_the_amplitude_passes_at_a_cut_off(
    tmp_path: Path, context: StepContext, v: float, amplitude: float
) -> None:
    path, target = tmp_path / "a.isxd", tmp_path / "b.isxd"
    recordings.movie_from(path, np.stack([5 + grating(v), 7 + 2 * grating(v)]))
    spatial_filter([path], [target], 0.03125, 0.125, subtract_global_minimum=False, context=context)
    np.testing.assert_allclose(read(target), amplitude * np.stack([grating(v), 2 * grating(v)]), atol=5e-3)


def smoothed(frame: np.ndarray, cut_off: float, least: float = 0) -> np.ndarray:
    """By the kernel that Lindeberg (1990) gives for the discrete Gaussian: exp(-t) I_n(t), at n = ..., -1, 0, 1, ..."""
    kernel = ive(np.abs(np.arange(-300, 301)), np.log(2) / (1 - np.cos(2 * np.pi * cut_off)))
    kernel[kernel < least * kernel.max()] = 0
    for axis in (0, 1):
        frame = correlate1d(frame, kernel / kernel.sum(), axis, mode="reflect")
    return frame


@pytest.mark.parametrize("low, high", [(0.005, 0.5), (0.02, 0.1), (0.2, 0.4)])
@pytest.mark.parametrize("shape", [(64, 80), (131, 197), (5, 7), (300, 16)])
def test_it_is_the_difference_of_two_discrete_gaussians(
    tmp_path: Path, context: StepContext, shape: tuple[int, int], low: float, high: float
) -> None:
    data = recordings.frames(3, *shape, np.float32)
    path, target = recordings.movie_from(tmp_path / "a.isxd", data), tmp_path / "b.isxd"
    spatial_filter([path], [target], low, high, subtract_global_minimum=False, context=context)
    expected = [smoothed(frame.astype(float), high) - smoothed(frame.astype(float), low) for frame in data]
    np.testing.assert_allclose(read(target), expected, atol=0.02 * data.std())


@pytest.mark.parametrize("cut_off, least", [(0.005, 0), (0.01, 0), (0.25, 1e-3), (0.5, 1e-3)])
def test_each_gaussian_is_exact(cut_off: float, least: float) -> None:
    """A wide one altogether; a narrow one is cut off below a thousandth of its centre."""
    frame = recordings.frames(1, 131, 197, np.float32)[0]
    np.testing.assert_allclose(low_passed(frame, cut_off), smoothed(frame.astype(float), cut_off, least), rtol=2e-6)


def test_a_wide_gaussian_is_the_usual_one() -> None:
    frame = recordings.frames(1, 200, 300, np.float32)[0]
    sd = np.sqrt(np.log(2) / 2) / (np.pi * 0.01)
    expected = gaussian_filter(frame.astype(float), sd, mode="reflect", truncate=8)
    np.testing.assert_allclose(low_passed(frame, 0.01), expected, atol=1e-3 * frame.std())


def test_global_minimum_of_all_parts(parts: list[str], context: StepContext) -> None:
    plain, lifted = products(parts, "plain"), products(parts, "BP")
    spatial_filter(parts, plain, subtract_global_minimum=False, context=context)
    spatial_filter(parts, lifted, context=context)
    filtered = [read(Path(plain[0]))[STORED], read(Path(plain[1]))]
    least = min(values.min() for values in filtered)
    for path, values, recorded in zip(lifted, filtered, (STORED, slice(None))):
        with frames.open_movie(path) as movie:
            assert movie.dtype == np.uint16
            np.testing.assert_array_equal(movie.read(0, 12)[recorded], np.rint(values) - np.rint(least))
    with frames.open_movie(plain[0]) as movie:
        assert movie.dtype == np.float32
        assert movie.timing.dropped == (2,)


def test_retain_mean(parts: list[str], stored: np.ndarray, context: StepContext) -> None:
    kept = products(parts, "kept")
    spatial_filter(parts, kept, 0.02, None, True, False, context=context)
    means = np.concatenate([read(Path(kept[0]))[STORED], read(Path(kept[1]))]).mean(axis=(1, 2))
    np.testing.assert_allclose(means, stored.mean(axis=(1, 2)), atol=0.1)


def test_cut_offs_of_none_leave_the_frame_less_its_mean(tmp_path: Path, context: StepContext) -> None:
    data = recordings.frames(3, 20, 30, np.float32)
    data[1, 3, 4] = np.nan
    path, target = recordings.movie_from(tmp_path / "a.isxd", data), tmp_path / "b.isxd"
    spatial_filter([path], [target], None, None, subtract_global_minimum=False, context=context)
    made = read(target)
    np.testing.assert_allclose(made[[0, 2]], data[[0, 2]] - data[[0, 2]].mean(axis=(1, 2), keepdims=True), atol=1e-3)
    assert np.isfinite(made).all()


# ---- project_movie


@pytest.mark.parametrize(
    "stat, expected", [("mean", np.mean), ("min", np.min), ("max", np.max), ("standard_deviation", np.std)]
)
def test_projections(
    parts: list[str], stored: np.ndarray, context: StepContext, stat: str, expected: Callable[..., Any]
) -> None:
    target = products(parts, stat)[0]
    project_movie(parts, target, stat, context=context)
    np.testing.assert_allclose(isx.Image.read(target).get_data(), expected(stored, axis=0), rtol=1e-6)


def test_standard_deviation_does_not_cancel(tmp_path: Path, context: StepContext) -> None:
    data = (60000 + recordings.frames(700, 200, 60) % 7).astype(np.uint16)  # in several blocks
    path, target = recordings.movie_from(tmp_path / "a.isxd", data), tmp_path / "b.isxd"
    project_movie([str(path)], str(target), "standard_deviation", context=context)
    np.testing.assert_allclose(read(target)[0], data.std(axis=0, dtype=float), rtol=1e-6)


# ---- dff


@pytest.mark.parametrize("f0_type, f0", [("mean", np.mean), ("min", np.min)])
def test_dff(parts: list[str], stored: np.ndarray, context: StepContext, f0_type: str, f0: Callable[..., Any]) -> None:
    made = products(parts, "DFF")
    dff(parts, made, f0_type, context=context)
    baseline = f0(stored, axis=0)
    values = np.concatenate([read(Path(made[0]))[STORED], read(Path(made[1]))])
    np.testing.assert_allclose(values, (stored - baseline) / baseline, atol=1e-6)
    with frames.open_movie(made[0]) as movie:
        assert movie.dtype == np.float32
        assert movie.timing.blank == (7,)


def test_dff_of_dark_pixels_is_zero(tmp_path: Path, context: StepContext) -> None:
    data = recordings.frames(5, 20, 30)
    data[:, 3, 4] = 0
    path, target = recordings.movie_from(tmp_path / "a.isxd", data), tmp_path / "b.isxd"
    dff([path], [target], context=context)
    assert not read(target)[:, 3, 4].any()
    assert np.isfinite(read(target)).all()


@pytest.mark.parametrize(
    "step", [lambda a, b, **more: dff([a], [b], **more), lambda a, b, **more: project_movie([a], b, **more)]
)
def test_a_movie_without_frames_is_refused(tmp_path: Path, context: StepContext, step: Callable[..., Any]) -> None:
    path = recordings.movie_from(tmp_path / "a.isxd", np.empty((0, 24, 32), np.uint16), dropped=list(range(12)))
    with pytest.raises(Unusable, match=r"a\.isxd: no frame was recorded"):
        step(str(path), str(tmp_path / "b.isxd"), context=context)
    assert not (tmp_path / "b.isxd").exists()


# ---- trim_movie


def test_trim(tmp_path: Path, context: StepContext) -> None:
    path, target = recordings.movie(tmp_path / "a.isxd", **GAPS), tmp_path / "b.isxd"
    trim_movie(path, target, [[0, 1], [6, 8], [11, 11]], context=context)
    with frames.open_movie(target) as movie:
        assert movie.n_frames == 10
        assert float(movie.timing.start) == recordings.START_MS / 1000 + 0.1
        assert movie.timing.dropped == (0,)
        assert movie.timing.blank == ()
        assert movie.timing.cropped == ((2, 6), (9, 9))
        assert movie.dtype == np.uint16
        np.testing.assert_array_equal(movie.stored(0, 10), read(path)[[3, 9, 10]])
    isx_timing = isx.Movie.read(str(target)).timing
    assert isx_timing.num_samples == 10


def test_trim_can_keep_the_start(tmp_path: Path, context: StepContext) -> None:
    path, target = recordings.movie(tmp_path / "a.isxd"), tmp_path / "b.isxd"
    trim_movie(path, target, [(0, 1)], True, context=context)
    with frames.open_movie(target) as movie:
        assert movie.timing.cropped == ((0, 1),)
        assert float(movie.timing.start) == recordings.START_MS / 1000
        np.testing.assert_array_equal(movie.read(2, 12), read(path)[2:])


@pytest.mark.parametrize("segments, message", [([[5, 12]], "has frames 0 to 11"), ([[0, 11]], "removes all 12 frames")])
def test_trim_refuses(tmp_path: Path, context: StepContext, segments: list[list[int]], message: str) -> None:
    with pytest.raises(Unusable, match=message):
        trim_movie(recordings.movie(tmp_path / "a.isxd"), tmp_path / "b.isxd", segments, context=context)


# ---- interpolate_movie


def test_interpolate(tmp_path: Path, context: StepContext) -> None:
    gaps: dict[str, Any] = {"dropped": [0, 2, 3, 10], "blank": [5], "cropped": [(8, 8)]}
    path, target = recordings.movie(tmp_path / "a.isxd", dtype=np.float32, **gaps), tmp_path / "b.isxd"
    interpolate_movie([path], [target], max_consecutive_invalid_frames=2, context=context)
    data, made = read(path), read(target)
    np.testing.assert_allclose(made[2], (2 * data[1] + data[4]) / 3, rtol=1e-6)
    np.testing.assert_allclose(made[3], (data[1] + 2 * data[4]) / 3, rtol=1e-6)
    np.testing.assert_allclose(made[5], (data[4] + data[6]) / 2, rtol=1e-6)
    with frames.open_movie(target) as movie:
        assert movie.timing.dropped == (0,)  # no frame before it
        assert movie.timing.blank == ()
        assert movie.timing.cropped == ((8, 8),)
        assert movie.extra["idps"]["interpolatedFrames"] == [2, 3, 5, 10]


@pytest.mark.parametrize(
    "parameters, left",
    [
        ({}, {"dropped": (2, 3), "blank": ()}),  # the run is too long
        ({"interpolate_blank": False}, {"dropped": (2, 3), "blank": (5,)}),
        ({"interpolate_dropped": False, "max_consecutive_invalid_frames": 9}, {"dropped": (2, 3), "blank": ()}),
    ],
)
def test_interpolate_only_what_is_asked(
    tmp_path: Path, context: StepContext, parameters: dict[str, Any], left: dict[str, Any]
) -> None:
    path, target = recordings.movie(tmp_path / "a.isxd", dropped=[2, 3], blank=[5]), tmp_path / "b.isxd"
    interpolate_movie([path], [target], context=context, **parameters)
    with frames.open_movie(target) as movie:
        assert {"dropped": movie.timing.dropped, "blank": movie.timing.blank} == left
