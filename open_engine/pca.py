"""Principal components of a movie that need not fit into memory.

The recorded frames are a matrix X (frames x pixels), less the mean of each pixel over time and then of each frame over
its pixels, as Mukamel, Nimmerjahn and Schnitzer (2009, Neuron 63:747) centre it. X = sum of s[k] v[k] u[k], with unit
vectors u (images) and v (traces).

Where the movie has few frames or few pixels, the smaller of the two matrices X X' and X' X is formed, and its
eigenvectors are exact to single precision. Else the leading subspace is found by block power iteration with Rayleigh-
Ritz (Halko, Martinsson and Tropp, 2011, SIAM Review 53:217, with a fixed seed), one pass over the movie each time.

Results do not depend on the number of threads: each thread computes whole entries of a product, and sums are taken over
blocks in the order of the movie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.linalg  # its BLAS is another one, which `one_blas_thread` must find loaded

from open_engine.files.frames import Series

EXACT = 4000  # frames or pixels, up to which the smaller matrix is formed: 128 MB, and half a minute for its vectors
BLOCK_MB = 128  # of frames that are held at a time, whatever the block size asked for
PASSES = 12  # of power iteration at most
SETTLED = 1e-3  # largest relative change of an eigenvalue when the iteration ends
RANK = 1e-6  # smallest singular value that counts, of the largest: single precision
SLAB = 1 << 14  # pixels, or frames, that one thread works on at a time
SEED = 20090827


@dataclass(frozen=True)
class Centred:
    """The recorded frames of a movie as a matrix (frames x pixels), centred."""

    series: Series
    mean: np.ndarray  # (pixels,) float32, over the recorded frames
    block: int  # frames at a time

    @property
    def n_frames(self) -> int:
        return int(self.series.valid.sum())

    @property
    def n_pixels(self) -> int:
        return self.mean.size

    def blocks(self, first: int = 0) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows of the matrix from block number `first` on, and which they are."""
        starts = range(0, self.series.n_frames, self.block)
        for start in starts[first:]:
            stop = min(start + self.block, self.series.n_frames)
            frames = recorded(self.series, start, stop)
            frames -= self.mean
            frames -= frames.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
            row = int(self.series.valid[:start].sum())
            yield slice(row, row + len(frames)), frames


@dataclass(frozen=True)
class Components:
    """Principal components in falling order."""

    images: np.ndarray  # (components, pixels), rows of length 1
    strengths: np.ndarray  # (components,), singular values
    traces: np.ndarray  # (components, recorded frames), rows of length 1


def recorded(series: Series, start: int, stop: int) -> np.ndarray:
    """The recorded frames among these samples, shape (frames, pixels), float32; what is not a number is 0."""
    frames, valid = series.read(start, stop), series.valid[start:stop]
    frames = frames if valid.all() else frames[valid]
    return np.nan_to_num(frames.reshape(len(frames), -1), copy=False, nan=0, posinf=0, neginf=0)


def centred(series: Series, block_size: int) -> Centred:
    """One pass over the movie, for the mean."""
    rows, columns = series.shape
    block = max(1, min(block_size, (BLOCK_MB << 20) // (4 * rows * columns)))
    total = np.zeros(rows * columns)
    for start in range(0, series.n_frames, block):
        total += recorded(series, start, min(start + block, series.n_frames)).sum(axis=0, dtype=np.float64)
    return Centred(series, (total / max(1, series.valid.sum())).astype(np.float32), block)


def principal_components(
    movie: Centred, n: int, threads: int = 1, progress: Callable[[float], None] = lambda fraction: None
) -> Components:
    """The `n` strongest, or as many as differ from zero."""
    n = min(n, movie.n_frames, movie.n_pixels)
    with ThreadPoolExecutor(threads) as pool:
        if min(movie.n_frames, movie.n_pixels) > EXACT:
            return _by_iteration(movie, n, pool, progress)
        if movie.n_frames <= movie.n_pixels:
            values, vectors = _leading(_frames_by_frames(movie, pool, progress), n)
            traces = np.ascontiguousarray(vectors.T, np.float32)
            strengths, traces = _nonzero(values, traces)
            images = _weighted_sum_of_frames(movie, traces, pool) / strengths[:, None]
            return Components(images.astype(np.float32), strengths, traces)
        values, vectors = _leading(_pixels_by_pixels(movie, pool, progress), n)
        strengths, images = _nonzero(values, np.ascontiguousarray(vectors.T, np.float32))
        traces = _projected(movie, images, pool) / strengths[:, None]
        return Components(images, strengths, traces.astype(np.float32))


def _leading(symmetric: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues in falling order, and their vectors as columns."""
    size = len(symmetric)
    values, vectors = scipy.linalg.eigh(
        symmetric, subset_by_index=[size - n, size - 1], overwrite_a=True, check_finite=False
    )
    return values[::-1], vectors[:, ::-1]


def _nonzero(values: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Singular values of eigenvalues, and the rows that belong to those that are not merely rounding."""
    strengths = np.sqrt(np.maximum(values, 0))
    real = strengths > RANK * strengths[:1].max(initial=0)
    return strengths[real], vectors[real]


def _frames_by_frames(movie: Centred, pool: ThreadPoolExecutor, progress: Callable[[float], None]) -> np.ndarray:
    """X X', block by block: each block is multiplied with itself and all later ones."""
    product = np.zeros((movie.n_frames, movie.n_frames))
    for number, (rows, block) in enumerate(movie.blocks()):
        for columns, other in movie.blocks(number):
            product[rows, columns] = _times(block, other.T, pool)
            product[columns, rows] = product[rows, columns].T
        progress(0.5 * rows.stop / movie.n_frames)
    return product


def _pixels_by_pixels(movie: Centred, pool: ThreadPoolExecutor, progress: Callable[[float], None]) -> np.ndarray:
    """X' X."""
    product = np.zeros((movie.n_pixels, movie.n_pixels))
    for rows, block in movie.blocks():
        product += _times(np.ascontiguousarray(block.T), block, pool)
        progress(0.5 * rows.stop / movie.n_frames)
    return product


def _by_iteration(movie: Centred, n: int, pool: ThreadPoolExecutor, progress: Callable[[float], None]) -> Components:
    size = min(n + max(10, n // 5), movie.n_frames, movie.n_pixels)
    basis = np.random.default_rng(SEED).standard_normal((size, movie.n_pixels), np.float32)
    before = np.zeros(n)
    for number in range(PASSES):
        basis = np.linalg.qr(basis.T)[0].T
        image = np.zeros(basis.shape, np.float32)
        for _, block in movie.blocks():
            _add_weighted(image, _times(block, basis.T, pool).T, block, pool)
        values = np.linalg.eigvalsh((basis @ image.T).astype(np.float64))[::-1][:n]
        basis = image
        progress((number + 1) / (PASSES + 1))
        if np.abs(values - before).max() <= SETTLED * values.max() and np.all(
            np.abs(values - before) <= SETTLED * np.maximum(values, values.max() * RANK)
        ):
            break
        before = values
    basis = np.linalg.qr(basis.T)[0].T
    projected = _projected(movie, basis, pool)  # (size, frames)
    mixing, strengths, traces = np.linalg.svd(projected.astype(np.float64), full_matrices=False)
    strengths, kept = _nonzero(strengths[:n] ** 2, np.arange(n))
    images = mixing.T[kept].astype(np.float32) @ basis
    return Components(images, strengths, traces[kept].astype(np.float32))


def _projected(movie: Centred, images: np.ndarray, pool: ThreadPoolExecutor) -> np.ndarray:
    """Images times X', shape (images, frames)."""
    traces = np.empty((len(images), movie.n_frames), np.float32)
    for rows, block in movie.blocks():
        traces[:, rows] = _times(block, images.T, pool).T
    return traces


def _weighted_sum_of_frames(movie: Centred, traces: np.ndarray, pool: ThreadPoolExecutor) -> np.ndarray:
    """Traces times X, shape (traces, pixels)."""
    total = np.zeros((len(traces), movie.n_pixels), np.float32)
    for rows, block in movie.blocks():
        _add_weighted(total, traces[:, rows], block, pool)
    return total


def _times(left: np.ndarray, right: np.ndarray, pool: ThreadPoolExecutor) -> np.ndarray:
    """Matrix product whose rows are shared among threads."""
    product = np.empty((len(left), right.shape[1]), np.float32)

    def fill(start: int) -> None:
        np.matmul(left[start : start + 128], right, out=product[start : start + 128])

    list(pool.map(fill, range(0, len(left), 128)))
    return product


def _add_weighted(total: np.ndarray, weights: np.ndarray, block: np.ndarray, pool: ThreadPoolExecutor) -> None:
    """Add weights times block to `total`, whose columns are shared among threads."""

    def add(start: int) -> None:
        total[:, start : start + SLAB] += weights @ block[:, start : start + SLAB]

    list(pool.map(add, range(0, block.shape[1], SLAB)))
