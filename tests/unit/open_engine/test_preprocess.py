"""preprocess against its definition."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from open_engine.binning import binned_timing
from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.steps.preprocess import preprocess
from recording import formats
from recording.errors import Unusable
from samples import recordings

AS_IS = {"fix_defective_pixels": False, "trim_early_frames": False}


def seen(n: int) -> np.ndarray:
    """Frames as optics show them: blurred over pixels, then with noise."""
    blurred = gaussian_filter(recordings.frames(n, 24, 32, np.float32), (0, 2, 2))
    return np.rint(blurred + np.random.default_rng(1).normal(0, 20, blurred.shape)).astype(np.uint16)


def run(source: Path, context: StepContext, **parameters: Any) -> tuple[frames.Movie, np.ndarray]:
    target = source.with_name(f"{source.stem}-PP.isxd")
    preprocess([str(source)], [str(target)], context=context, **parameters)
    assert formats.check(target).kind == "movie"
    with frames.open_movie(target) as movie:
        return movie, movie.read(0, movie.n_frames)


def test_bins_are_means_to_the_bit(tmp_path: Path, context: StepContext) -> None:
    data = recordings.frames(23, 50, 61)
    movie, made = run(
        recordings.movie_from(tmp_path / "a.isxd", data),
        context,
        temporal_downsample_factor=3,
        spatial_downsample_factor=4,
        **AS_IS,
    )
    exact = data[:21, :48, :60].reshape(7, 3, 12, 4, 15, 4).mean(axis=(1, 3, 5))
    np.testing.assert_array_equal(made, np.rint(exact))
    assert movie.dtype == np.uint16
    assert movie.timing.period * 20 == 3
    assert [float(size) for size in movie.spacing.pixel] == [12, 12]
    assert movie.extra["idps"] == {"spatialDownsampling": 4, "temporalDownsampling": 3}


def test_bins_of_floats(tmp_path: Path, context: StepContext) -> None:
    data = recordings.frames(6, 12, 16, np.float32)
    _, made = run(recordings.movie_from(tmp_path / "a.isxd", data), context, spatial_downsample_factor=2, **AS_IS)
    np.testing.assert_allclose(made, data.reshape(6, 6, 2, 8, 2).mean(axis=(2, 4)), rtol=1e-6)


@pytest.mark.parametrize("rect, form", [([2, 3, 11, 12], "tlbr"), ([3, 2, 10, 10], "tlwh")])
def test_crop_comes_before_binning_and_includes_its_corners(
    tmp_path: Path, context: StepContext, rect: list[int], form: str
) -> None:
    data = recordings.frames(4, 30, 40)
    movie, made = run(
        recordings.movie_from(tmp_path / "a.isxd", data),
        context,
        crop_rect=rect,
        crop_rect_format=form,
        spatial_downsample_factor=2,
        **AS_IS,
    )
    assert movie.shape == (5, 5)
    np.testing.assert_array_equal(made, np.rint(data[:, 2:12, 3:13].reshape(4, 5, 2, 5, 2).mean(axis=(2, 4))))
    assert [float(edge) for edge in movie.spacing.top_left] == [9, 6]


def test_only_recorded_frames_count(tmp_path: Path, context: StepContext) -> None:
    path = recordings.movie(tmp_path / "a.isxd", n=12, dropped=[0, 2, 3], blank=[1], cropped=[(6, 8)])
    data = recordings.frames(12, 24, 32).astype(float)
    movie, made = run(path, context, temporal_downsample_factor=2, **AS_IS)
    np.testing.assert_array_equal(movie.valid, [False, False, True, False, True, True])
    assert movie.timing.dropped == (0, 1)  # for the first frame's reason
    assert movie.timing.cropped == ((3, 3),)
    np.testing.assert_array_equal(made[2], np.rint(data[4:6].mean(axis=0)))
    np.testing.assert_array_equal(made[4], data[9])


def test_timing_of_bins_that_are_blank() -> None:
    timing = frames.Timing(5, Fraction(1, 20), blank=(2, 3))
    assert binned_timing(timing, 2).blank == (1,)


def test_dim_early_frames_are_removed(tmp_path: Path, context: StepContext, warnings: list[str]) -> None:
    data = seen(100)
    data[:4] //= 3
    movie, made = run(recordings.movie_from(tmp_path / "a.isxd", data), context, fix_defective_pixels=False)
    np.testing.assert_array_equal(made, data[4:])
    assert float(movie.timing.start) == recordings.START_MS / 1000 + 4 * 0.05
    assert warnings == ["a.isxd: the first 4 frames are dim and were left out"]


def test_without_dim_frames_nothing_is_removed(tmp_path: Path, context: StepContext, warnings: list[str]) -> None:
    data = seen(100)
    _, made = run(recordings.movie_from(tmp_path / "a.isxd", data), context)
    np.testing.assert_array_equal(made, data)
    assert not warnings


def test_activity_of_the_whole_field_is_not_taken_for_dim_frames(
    tmp_path: Path, context: StepContext, warnings: list[str]
) -> None:
    wave = 1 + 0.2 * np.sin(2 * np.pi * (np.arange(140) / 80 - 0.25))
    data = (600 * wave[:, None, None] * np.ones((140, 24, 32))).astype(np.uint16)
    _, made = run(recordings.movie_from(tmp_path / "a.isxd", data), context)
    np.testing.assert_array_equal(made, data)
    assert not warnings


def test_defective_pixels_are_repaired_and_nothing_else(tmp_path: Path, context: StepContext) -> None:
    sound = seen(40)
    data = sound.copy()
    data[:, 5, 7], data[:, 0, 0], data[:, 12, 20], data[:, 12, 21] = 4095, 4000, 0, 0
    _, made = run(recordings.movie_from(tmp_path / "a.isxd", data), context)
    changed = np.argwhere((made != data).any(axis=0)).tolist()
    assert changed == [[0, 0], [5, 7], [12, 20], [12, 21]]
    neighbours = np.delete(sound[:, 4:7, 6:9].reshape(40, 9), 4, axis=1)
    np.testing.assert_array_equal(made[:, 5, 7], np.rint(np.median(neighbours, axis=1)))


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"crop_rect": [0, 0, 24, 31]}, r"crop_rect \[0, 0, 24, 31\] does not lie in the field of a\.isxd"),
        ({"spatial_downsample_factor": 25}, "too few for bins of 25 x 25 px"),
        ({"temporal_downsample_factor": 13}, "has 12 frames, too few for a mean of 13"),
    ],
)
def test_what_leaves_nothing_is_refused(
    tmp_path: Path, context: StepContext, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(Unusable, match=message):
        run(recordings.movie(tmp_path / "a.isxd"), context, **parameters)


def test_all_dropped(tmp_path: Path, context: StepContext) -> None:
    path = recordings.movie_from(tmp_path / "a.isxd", np.empty((0, 24, 32), np.uint16), dropped=list(range(12)))
    movie, _ = run(path, context, temporal_downsample_factor=2)
    assert movie.n_frames == 6
    assert not movie.valid.any()
