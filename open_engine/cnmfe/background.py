"""The background of a one-photon movie: what out-of-focus light adds, which is smooth in space.

As in CNMF-E (Zhou et al. 2018, eLife 7, e28728) the background at a pixel is predicted from the pixels around it once
the cells are taken away, and with a gain for each pixel, because vessels and uneven light scale it:

    B = gain * up(L(down(Y - A C)))

down averages bins of pixels, up interpolates between their centres. L is a flat-top low-pass, 2 G - G G, with G a
Gaussian: it keeps smooth light to fourth order but not what is as small as a cell. CNMF-E's L is a regression on a ring
of pixels instead.

Of the low-passed movie only the strongest spatial components are kept, those with at least twice the power that the
pixels' noise alone would give them: with fewer, background is left in the traces; with more, noise is added to them.
As all of it is linear, the low-passed movie is kept as the few coefficients that the low-pass leaves, the background as
components within them, and the background's part in a cell's trace is one weight for each component. Neither movie is
ever formed, neither on bins nor on pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

TWICE = 2.0  # the power of noise: where what is gained by taking a component away equals the noise that comes with it
LEFT = 1e-3  # of its greatest gain: what the low-pass leaves of a component that counts
PRIOR = 1 / 0.2**2  # weight of a gain of 1, in frames whose background differs from its mean by the noise
GAIN_FRAMES = 1000  # from which the gain is estimated, at most
NOTHING = 5.8  # sigmas: beyond, a Gaussian is less than a single-precision number can tell from nothing beside its peak
BAND = 64  # samples that are smoothed at a time


@dataclass(frozen=True)
class Axis:
    """One axis of the grid, and the Gaussian G along it, U S V' by its singular values."""

    down: np.ndarray  # (bins, pixels): averages
    up: np.ndarray  # (pixels, r): U, interpolated between the centres of bins
    once: np.ndarray  # (r, bins): U' G
    again: np.ndarray  # (r, r): U' G U


@dataclass(frozen=True)
class Grid:
    """Bins of `size` x `size` px (those at the far edges may be smaller), and the low-pass on them."""

    size: int
    rows: Axis
    columns: Axis


def grid(shape: tuple[int, int], size: int, sigma: float) -> Grid:
    """The grid for a field of rows x columns px; sigma of the low-pass filter in px."""
    return Grid(size, *(_axis(length, size, sigma) for length in shape))


def _axis(length: int, size: int, sigma: float) -> Axis:
    down = _averages(length, size)
    smooth = gaussian(len(down), sigma / size)
    vectors, values, _ = np.linalg.svd(smooth)
    vectors = vectors[:, values > LEFT * values[0]]
    once = vectors.T @ smooth
    return Axis(down, _interpolation(down) @ vectors, once, once @ vectors)


def _averages(length: int, size: int) -> np.ndarray:
    which = np.arange(length) // size
    matrix = (which == np.arange(which[-1] + 1)[:, None]).astype(np.float32)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _interpolation(averages: np.ndarray) -> np.ndarray:
    """(pixels, bins)"""
    pixels = np.arange(averages.shape[1])
    centres = averages @ pixels
    return np.stack([np.interp(pixels, centres, one) for one in np.eye(len(centres))], axis=1).astype(np.float32)


def down(bins: Grid, movie: np.ndarray) -> np.ndarray:
    """A movie (rows, columns, frames) averaged over bins."""
    out = np.empty((len(bins.rows.down), len(bins.columns.down), movie.shape[2]), np.float32)
    for i, row in enumerate(out):
        first, *others = movie[i * bins.size : (i + 1) * bins.size]
        strip = first.copy()
        for other in others:
            strip += other
        strip /= 1 + len(others)
        row[:] = strip[:: bins.size]
        for offset in range(1, bins.size):
            more = strip[offset :: bins.size]
            row[: len(more)] += more
        row *= bins.columns.down.max(axis=1)[:, None]
    return out


def gaussian(n: int, sigma: float) -> np.ndarray:
    """Matrix (n, n) that smooths n samples; each row sums to 1."""
    x = np.arange(n)
    matrix = np.exp(-((x[:, None] - x) ** 2) / (2 * max(sigma, 1e-3) ** 2))
    return (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Smoothing:
    """A Gaussian along one axis, as products of its matrix with some rows at a time, less what rounds to nothing."""

    parts: tuple[tuple[slice, slice, np.ndarray], ...]  # samples that are made, of which, and the matrix

    @classmethod
    def by(cls, sigma: float, n: int) -> Smoothing:
        matrix, reach, parts = gaussian(n, sigma), int(NOTHING * sigma) + 1, []
        for first in range(0, n, BAND):
            made = slice(first, min(first + BAND, n))
            of = slice(max(0, made.start - reach), min(made.stop + reach, n))
            parts.append((made, of, np.ascontiguousarray(matrix[made, of])))
        return cls(tuple(parts))


def smoothed(rows: Smoothing, columns: Smoothing, movie: np.ndarray) -> np.ndarray:
    """A movie (height, width, frames), smoothed along both axes of space."""
    across, out = np.empty_like(movie), np.empty_like(movie)
    for made, of, matrix in columns.parts:
        np.matmul(matrix, movie[:, of], out=across[:, made])
    flat, out_flat = across.reshape(len(movie), -1), out.reshape(len(movie), -1)
    for made, of, matrix in rows.parts:
        np.matmul(matrix, flat[of], out=out_flat[made])
    return out


def both_ways(rows: np.ndarray, columns: np.ndarray, movie: np.ndarray) -> np.ndarray:
    """rows @ movie @ columns.T for a movie (height, width, frames)."""
    movie = np.matmul(columns, movie)
    h, w, n = movie.shape
    return (rows @ movie.reshape(h, w * n)).reshape(len(rows), w, n)


def low_pass(bins: Grid, movie: np.ndarray) -> np.ndarray:
    """L of a binned movie (bins, bins, frames): its coefficients in an orthonormal basis (coefficients, frames)."""
    once = both_ways(bins.rows.once, bins.columns.once, movie)
    low = 2 * once - both_ways(bins.rows.again, bins.columns.again, once)
    return low.reshape(low.shape[0] * low.shape[1], low.shape[2])


def components(bins: Grid, low: np.ndarray) -> np.ndarray:
    """Components of a low-passed movie (coefficients, frames), in units of a pixel's noise: (coefficients, k).

    They are orthonormal. White noise of 1 a pixel has a power of 1 / size^2 a frame in each.
    """
    power, vectors = np.linalg.eigh(low @ low.T)
    return vectors[:, power > TWICE * low.shape[1] / bins.size**2]


def images(bins: Grid, chosen: np.ndarray) -> np.ndarray:
    """Images of components (coefficients, k) at the pixels: (rows, columns, k)."""
    sides = bins.rows.up.shape[1], bins.columns.up.shape[1]
    return both_ways(bins.rows.up, bins.columns.up, chosen.reshape(*sides, -1))


def gain(
    movie: np.ndarray,
    images: np.ndarray,
    courses: np.ndarray,
    before: np.ndarray,
    footprints: np.ndarray,
    traces: np.ndarray,
) -> np.ndarray:
    """Regression of the movie on the background at each pixel over the frames in which its cells rest: (rows, columns).

    movie (rows, columns, frames), in units of the noise; images (rows, columns, k) and courses (k, frames) of the
    background; before (rows, columns), the gain so far; footprints (cells, rows, columns) and traces (cells, frames) of
    the cells known, which rest where they add less than half the noise. Frames in which a pixel exceeds what is known
    by 2.5 times the noise are left out too: those are cells not yet known. Frames are taken evenly from the movie. A
    background that hardly changes says little of the gain, which stays near 1: the prior's standard deviation is 0.2.
    """
    h, w, n_frames = movie.shape
    some = np.s_[:: -(-n_frames // GAIN_FRAMES)]
    courses, traces = np.ascontiguousarray(courses[:, some]), np.ascontiguousarray(traces[:, some])
    n = courses.shape[1]
    prior = PRIOR * n / n_frames
    out, lit, one_each = np.empty((h, w), np.float32), footprints.any(axis=2), np.ones(n, np.float32)
    for row in range(h):
        there, here = images[row] @ courses, np.ascontiguousarray(movie[row, :, some])
        more = before[row][:, None] * there
        np.subtract(here, more, out=more)
        rests = more < 2.5
        present = np.flatnonzero(lit[:, row])
        if len(present):
            rests &= footprints[present, row].T @ traces[present] < 0.5
        rests = rests.astype(np.float32)
        count = np.maximum((rests @ one_each).astype(np.float64), 1)
        resting = np.multiply(rests, there, out=more)
        mean = resting.sum(axis=1) / count
        cross = np.einsum("jt,jt->j", resting, here) - mean * np.einsum("jt,jt->j", rests, here)
        power = np.einsum("jt,jt->j", resting, resting) - count * mean**2
        out[row] = np.where(count > n / 10, (cross + prior) / (power + prior), before[row])
    return out
