"""Faster ways to what NumPy has: the same results."""

from __future__ import annotations

import numpy as np
import pytest

from open_engine.cnmfe import background
from open_engine.robust import median, noise_sd


@pytest.mark.parametrize("axis", [0, 1, -1, None])
@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_medians_are_those_of_numpy(n: int, axis: int | None, dtype: type) -> None:
    values = np.random.default_rng(n).normal(size=(n, n + 1)).astype(dtype)
    for keepdims in (False, True):
        np.testing.assert_array_equal(median(values, axis, keepdims), np.median(values, axis=axis, keepdims=keepdims))
    assert median(values, axis).dtype == np.median(values, axis=axis).dtype
    values[0, 0] = np.nan
    np.testing.assert_array_equal(median(values, axis), np.median(values, axis=axis))


def test_noise_of_rows_is_that_of_each() -> None:
    values = np.random.default_rng(3).normal(0, 2, (5, 999)).astype(np.float32)
    np.testing.assert_allclose(noise_sd(values, axis=1), [noise_sd(row) for row in values])
    assert noise_sd(values) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("sigma", [0.5, 3.0, 40.0])
@pytest.mark.parametrize("shape", [(20, 64), (65, 200)])
def test_bands_of_a_gaussian_smooth_as_the_whole_matrix_does(shape: tuple[int, int], sigma: float) -> None:
    movie = np.random.default_rng(4).normal(1000, 1, (*shape, 3)).astype(np.float32)
    smoothed = background.smoothed(*(background.Smoothing.by(sigma, n) for n in shape), movie)
    whole = background.both_ways(*(background.gaussian(n, sigma) for n in shape), movie)
    np.testing.assert_allclose(smoothed, whole, rtol=3e-6)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_bins_hold_the_means_of_their_pixels(size: int) -> None:
    movie = np.random.default_rng(5).normal(size=(7, 8, 4)).astype(np.float32)
    bins = background.grid(movie.shape[:2], size, 4.0)
    expected = background.both_ways(bins.rows.down, bins.columns.down, movie)
    np.testing.assert_allclose(background.down(bins, movie), expected, atol=1e-5)
