"""The background of a one-photon movie: what out-of-focus light adds, which is smooth in space.

As in CNMF-E (Zhou et al. 2018, eLife 7, e28728) the background at a pixel is predicted from the pixels around it once
the cells are taken away, and with a gain for each pixel, because vessels and uneven light scale it:

    B = gain * up(L(down(Y - A C)))

down averages bins of pixels, up interpolates between their centres. L is a flat-top low-pass, 2 G - G G, with G a
Gaussian: it keeps smooth light to fourth order but not what is as small as a cell. CNMF-E's L is a regression on a ring
of pixels instead.

Of the low-passed movie only the strongest spatial components are kept, those with at least twice the power that the
pixels' noise alone would give them: with fewer, background is left in the traces; with more, noise is added to them.
As all of it is linear, the background's part in a cell's trace is one weight for each bin, and the background movie is
never formed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TWICE = 2.0  # the power of noise: where what is gained by taking a component away equals the noise that comes with it
PRIOR = 1 / 0.2**2  # weight of a gain of 1, in frames whose background differs from its mean by the noise


@dataclass(frozen=True)
class Grid:
    """Bins of `size` x `size` px (those at the far edges may be smaller), and the low-pass on them."""

    size: int
    down_rows: np.ndarray  # (bins, rows): averages
    down_columns: np.ndarray
    up_rows: np.ndarray  # (rows, bins): linear interpolation
    up_columns: np.ndarray
    smooth_rows: np.ndarray  # (bins, bins): Gaussian, normalised at the edges of the field
    smooth_columns: np.ndarray
    range_rows: np.ndarray  # (bins, r): orthonormal, spans all that the Gaussian leaves
    range_columns: np.ndarray


def grid(shape: tuple[int, int], size: int, sigma: float) -> Grid:
    """For a field of rows x columns px; sigma of the low-pass in px."""
    down = [_averages(length, size) for length in shape]
    up = [_interpolation(each) for each in down]
    smooth = [gaussian(len(each), sigma / size) for each in down]
    return Grid(size, *down, *up, *smooth, *(_range(each) for each in smooth))


def _range(smooth: np.ndarray) -> np.ndarray:
    vectors, values, _ = np.linalg.svd(smooth)
    return vectors[:, values > 1e-3 * values[0]]


def _averages(length: int, size: int) -> np.ndarray:
    which = np.arange(length) // size
    matrix = (which == np.arange(which[-1] + 1)[:, None]).astype(np.float32)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _interpolation(averages: np.ndarray) -> np.ndarray:
    pixels = np.arange(averages.shape[1])
    centres = averages @ pixels
    return np.stack([np.interp(pixels, centres, one) for one in np.eye(len(centres))], axis=1).astype(np.float32)


def down(bins: Grid, movie: np.ndarray) -> np.ndarray:
    """A movie (rows, columns, frames) averaged over bins."""
    out = np.empty((len(bins.down_rows), len(bins.down_columns), movie.shape[2]), np.float32)
    for i, row in enumerate(out):
        strip = movie[i * bins.size : (i + 1) * bins.size].mean(axis=0)
        row[:] = np.add.reduceat(strip, np.arange(0, len(strip), bins.size), axis=0)
        row *= bins.down_columns.max(axis=1)[:, None]
    return out


def up(bins: Grid, movie: np.ndarray, row: int) -> np.ndarray:
    """One row of pixels, interpolated from a movie of bins: (columns, frames)."""
    used = np.flatnonzero(bins.up_rows[row])
    strip = np.tensordot(bins.up_rows[row, used], movie[used], 1)
    last = len(strip) - 1
    left = np.minimum((bins.up_columns > 0).argmax(axis=1), max(0, last - 1))
    right = np.minimum(left + 1, last)
    share = bins.up_columns[np.arange(len(left)), left][:, None]
    return strip[left] * share + strip[right] * (1 - share)


def gaussian(n: int, sigma: float) -> np.ndarray:
    """Matrix (n, n) that smooths n samples; each row sums to 1."""
    x = np.arange(n)
    matrix = np.exp(-((x[:, None] - x) ** 2) / (2 * max(sigma, 1e-3) ** 2))
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)


def both_ways(rows: np.ndarray, columns: np.ndarray, movie: np.ndarray) -> np.ndarray:
    """rows @ movie @ columns.T for a movie (height, width, frames)."""
    movie = np.matmul(columns, movie)
    h, w, n = movie.shape
    return (rows @ movie.reshape(h, w * n)).reshape(len(rows), w, n)


def low_pass(bins: Grid, movie: np.ndarray) -> np.ndarray:
    """L of a binned movie (bins, bins, frames)."""
    once = both_ways(bins.smooth_rows, bins.smooth_columns, movie)
    return 2 * once - both_ways(bins.smooth_rows, bins.smooth_columns, once)


def components(bins: Grid, low: np.ndarray) -> np.ndarray:
    """Spatial components of a low-passed movie (bins, bins, frames), in units of a pixel's noise: (bins x bins, k).

    They are orthonormal. White noise of 1 a pixel has a power of 1 / size^2 a frame in each.
    """
    h, w, n = low.shape
    small = both_ways(bins.range_rows.T, bins.range_columns.T, low)
    flat = small.reshape(-1, n)
    power, vectors = np.linalg.eigh(flat @ flat.T)
    chosen = vectors[:, power > TWICE * n / bins.size**2]
    return both_ways(bins.range_rows, bins.range_columns, chosen.reshape(*small.shape[:2], -1)).reshape(h * w, -1)


def within(basis: np.ndarray, movie: np.ndarray) -> np.ndarray:
    """The part of a movie of bins (bins, bins, frames) that the spatial components make up."""
    return (basis @ (basis.T @ movie.reshape(len(basis), -1))).reshape(movie.shape)


def weights_of(bins: Grid, images: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """What each bin of down(Y) adds to the sum of image * up(P L(down(Y))), (cells, bins, bins): images times up P L.

    P is the projection on the components.
    """
    at_bins = bins.up_rows.T @ images @ bins.up_columns
    at_bins = within(basis, np.moveaxis(at_bins, 0, 2))
    at_bins = np.moveaxis(at_bins, 2, 0)
    once = bins.smooth_rows.T @ at_bins @ bins.smooth_columns
    return 2 * once - bins.smooth_rows.T @ once @ bins.smooth_columns


def gain(
    bins: Grid, movie: np.ndarray, background: np.ndarray, before: np.ndarray, footprints=None, traces=None
) -> np.ndarray:
    """Regression of the movie on the background at each pixel over the frames in which its cells rest: (rows, columns).

    movie (rows, columns, frames), in units of the noise; background (bins, bins, frames); before (rows, columns), the
    gain so far; footprints sparse (cells, pixels) and traces (cells, frames) of the cells known, which rest where
    they add less than half the noise. Frames in which a pixel exceeds what is known by 2.5 times the noise are left
    out too: those are cells not yet known. A background that hardly changes says little of the gain, which stays
    near 1: the prior's standard deviation is 0.2.
    """
    h, w, n = movie.shape
    out = np.empty((h, w), np.float32)
    for row in range(h):
        there, here = up(bins, background, row), movie[row]
        rests = here - before[row][:, None] * there < 2.5
        if footprints is not None and footprints.shape[0]:
            rests &= footprints[:, row * w : (row + 1) * w].T @ traces < 0.5
        count = np.maximum(rests.sum(axis=1), 1)
        resting = np.where(rests, there, 0)
        mean = resting.sum(axis=1) / count
        cross = np.einsum("jt,jt->j", resting, here) - mean * np.einsum("jt,jt->j", rests.astype(np.float32), here)
        power = np.einsum("jt,jt->j", resting, resting) - count * mean**2
        out[row] = np.where(count > n / 10, (cross + PRIOR) / (power + PRIOR), before[row])
    return out
