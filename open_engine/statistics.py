"""All statistics of a movie in one pass over its file.

The naive way takes a pass over memory for each statistic, converted to float64. This module cuts the frame into bands
that stay in the processor's cache, and leaves the sums to BLAS:

- Each pixel is taken relative to a reference r near its median: d = x - r. Sums of d and d² then lose nothing to
  cancellation: |mean - median| <= std always holds (Hotelling and Solomons, 1932), so the mean of d² stays near the
  variance. This is the shifted-data algorithm (Chan, Golub and LeVeque, 1983, The American Statistician 37).
- A pixel's mean is r + Σd/n, its variance Σd²/n - (Σd/n)², over frames.
- A frame's mean and variance follow from the same d. With the constant c, the mean of r, x - c = d + (r - c), and so
  Σ(x - c)² = Σd² + 2 Σd(r - c) + Σ(r - c)², over pixels.
- Sums of integers are exact: float32 adds so few terms that no sum exceeds 2^24; float64 adds those sums.

The pass runs in several processes, each with its own rows of every frame. Threads would mostly wait for the
interpreter's lock, since NumPy's calls are very short here.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from open_engine import other_process
from open_engine.files.movies import Movie, StoredFrames, cuts, in_order, one_blas_thread, open_frames
from recording.errors import BadRecording

BAND = 8192  # px of a frame in one piece of work
BLOCK = 20  # frames in one piece of work; BAND * BLOCK float32 fit a second-level cache
SLAB_BYTES = 80 << 20  # of the file, between visits to a band; large, so that a band's sums are seldom fetched
PROCESS_BYTES = 192 << 20  # of the file; with less, another process does not pay
GREW_SHORTER = 3  # exit code of a process that found the file too short
QUIET = np.errstate(invalid="ignore", over="ignore")  # what is not finite makes statistics that are not
SATURATION = {"<u2": (4095, 65535), "|u1": (255,), "<f4": ()}  # the sensors have 12 bits


@dataclass
class MovieStatistics:
    """Statistics over frames and over pixels, of the stored frames only (not dropped, cropped or blank).

    Standard deviations are those of the population, NumPy's default. Minima and maxima have the movie's data type.
    """

    frame_mean: np.ndarray  # (n_stored,) float64
    frame_std: np.ndarray
    frame_min: np.ndarray
    frame_max: np.ndarray
    frame_saturated: np.ndarray  # fraction of the pixels; NaN for float32, which has no saturation level
    mean: np.ndarray  # (rows, columns) float64
    std: np.ndarray
    min: np.ndarray
    max: np.ndarray
    saturation_level: int | None  # counts


def movie_statistics(
    movie: StoredFrames | Movie, threads: int = 1, progress: Callable[[float], None] = lambda fraction: None
) -> MovieStatistics:
    """Go through the recorded frames once, of a file on up to `threads` processes of about 40 MB each.

    Raises BadRecording if the file becomes shorter on the way.
    """
    frames = movie.frames if isinstance(movie, Movie) else movie
    if not isinstance(frames, StoredFrames):
        return _merged([_part(_Computed(movie, threads), progress)], movie.shape)  # BLAS has one thread here
    layout, n_pixels = frames.layout, frames.layout.rows * frames.layout.columns
    n_bytes = layout.n_stored * n_pixels * frames.dtype.itemsize
    n_parts = max(1, min(threads, n_bytes // PROCESS_BYTES, n_pixels // BAND))
    edges = [BAND * (-(-n_pixels // BAND) * i // n_parts) for i in range(n_parts)] + [n_pixels]
    ranges = list(zip(edges, edges[1:]))
    with one_blas_thread(), ThreadPoolExecutor(n_parts) as pool:  # these threads only wait
        others = [pool.submit(_part_elsewhere, frames.path, first, last) for first, last in ranges[1:]]
        parts = [_part(_Stored(frames, *ranges[0]), progress)] + [other.result() for other in others]
    return _merged(parts, (layout.rows, layout.columns))


@dataclass
class _Part:
    """The result of one process: statistics over some of the pixels of every frame."""

    n_pixels: np.ndarray  # (1,)
    frame_sum: np.ndarray  # (n_stored,) float64
    frame_m2: np.ndarray  # (n_stored,) float64, sum of squared distances from the mean over these pixels
    frame_min: np.ndarray
    frame_max: np.ndarray
    frame_saturated: np.ndarray  # (levels, n_stored), number of pixels
    mean: np.ndarray  # (pixels,) float64
    std: np.ndarray
    min: np.ndarray
    max: np.ndarray


@QUIET
def _part(frames: _Stored | _Computed, progress: Callable[[float], None] = lambda fraction: None) -> _Part:
    """The pass over some pixels of every frame."""
    sums = _Sums(frames)
    for start in range(0, frames.n_stored, frames.n_slab):
        stop = min(start + frames.n_slab, frames.n_stored)
        frames.prepare(start, stop)
        sums.add(start, stop)
        progress(stop / frames.n_stored)
    return sums.part()


class _Stored:
    """Reads some of the pixels, `first` to `last`, of each frame of a file into buffers that stay in the cache."""

    def __init__(self, frames: StoredFrames, first: int, last: int) -> None:
        self.frames, self.first, self.n_pixels = frames, first, last - first
        self.n_stored, self.dtype = frames.layout.n_stored, frames.dtype
        # That many differences of 16 bits add up to less than 2^24.
        self.n_slab = min(120, max(BLOCK, SLAB_BYTES // frames.layout.stride))

    def read(self, frame: int, pixel: int, into: np.ndarray) -> np.ndarray:
        """Fill `into`, shape (frames, pixels), from the given frame and pixel on."""
        return self.frames.read_into(into, frame, self.first + pixel)

    def prepare(self, start: int, stop: int) -> None:
        """Have the system read ahead: it cannot see that the reads of all processes form one sequence."""
        if self.first == 0 and stop < self.n_stored:
            stride = self.frames.layout.stride
            os.posix_fadvise(self.frames.fd, stop * stride, self.n_slab * stride, os.POSIX_FADV_WILLNEED)


class _Computed:
    """The same for a movie that is computed as it is read: some whole frames at a time, on several threads."""

    def __init__(self, movie: Movie, threads: int) -> None:
        self.movie, self.threads, self.n_pixels = movie, threads, movie.shape[0] * movie.shape[1]
        self.samples = np.flatnonzero(movie.valid)
        self.n_stored, self.dtype, self.n_slab = len(self.samples), movie.dtype, BLOCK
        self.slab = np.empty((BLOCK, self.n_pixels), movie.dtype)
        self.start = self.stop = 0  # of the frames that it holds

    def read(self, frame: int, pixel: int, into: np.ndarray) -> np.ndarray:
        k, n = into.shape
        if frame < self.start or frame + k > self.stop:
            self.prepare(frame, frame + k)
        into[...] = self.slab[frame - self.start : frame - self.start + k, pixel : pixel + n]
        return into

    def prepare(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop
        pieces = cuts(stop - start, self.movie.shape)
        for (low, high), frames in zip(pieces, in_order(self._recorded, pieces, self.threads)):
            self.slab[low:high] = frames.reshape(high - low, -1)

    def _recorded(self, piece: tuple[int, int]) -> np.ndarray:
        first, last = self.samples[self.start + piece[0]], self.samples[self.start + piece[1] - 1]
        return self.movie.stored(int(first), int(last) + 1)


def _reference(frames: _Stored | _Computed) -> np.ndarray:
    """A finite value near each pixel's median: Tukey's ninther, the median of three medians of three frames."""
    n = frames.n_stored
    nine = np.empty((9, frames.n_pixels), frames.dtype)
    for i in range(9):
        frames.read((2 * i + 1) * n // 18, 0, nine[i : i + 1])
    thirds = [_median_of_three(*nine[i::3]) for i in range(3)]
    middle = _median_of_three(*thirds)
    return np.nan_to_num(middle, copy=False, posinf=0, neginf=0) if frames.dtype.kind == "f" else middle


def _median_of_three(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    return np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))


class _Sums:
    """The running sums of a pass, and its buffers.

    d = x - r, relative to the reference; c is the mean of r.
    """

    def __init__(self, frames: _Stored | _Computed) -> None:
        n, n_frames, dtype = frames.n_pixels, frames.n_stored, frames.dtype
        self.frames = frames
        self.reference = _reference(frames)
        self.centre = float(np.rint(self.reference.mean(dtype=np.float64)))
        self.centred = self.reference.astype(np.float32) - np.float32(self.centre)  # r - c
        exact = self.centred.astype(np.float64)
        self.centred_sum, self.centred_squared = exact.sum(), exact @ exact
        self.is_float = dtype.kind == "f"
        self.levels = SATURATION[dtype.str]
        self.bands = [slice(pixel, min(pixel + BAND, n)) for pixel in range(0, n, BAND)]

        low, high = (-np.inf, np.inf) if self.is_float else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        self.min, self.max = np.full(n, high, dtype), np.full(n, low, dtype)
        self.sum, self.sum_squared = np.zeros(n), np.zeros(n)  # of d, over frames
        self.frame_min, self.frame_max = np.empty(n_frames, dtype), np.empty(n_frames, dtype)
        self.frame_sum, self.frame_squared = np.zeros(n_frames), np.zeros(n_frames)  # of x - c, over pixels
        self.frame_saturated = np.zeros((len(self.levels), n_frames))

        # Each band's part of each frame of a slab, added up once for each slab: many small operations would be slow.
        self.low, self.high = np.empty((2, len(self.bands), frames.n_slab), dtype)
        self.d_sum = np.empty((len(self.bands), frames.n_slab))
        self.d_centred, self.d_squared = np.empty((2, len(self.bands), frames.n_slab), np.float32)

        self.x, self.d = np.empty(BLOCK * BAND, dtype), np.empty(BLOCK * BAND, np.float32)
        self.ones = np.ones(max(BLOCK, BAND), np.float32)

    def add(self, start: int, stop: int) -> None:
        """Add the frames from `start` to `stop`, a slab, band by band."""
        for i, pixels in enumerate(self.bands):
            self._add_band(start, stop, i, pixels)
        n, slab = stop - start, slice(start, stop)
        self.frame_min[slab] = self.low[:, :n].min(axis=0)
        self.frame_max[slab] = self.high[:, :n].max(axis=0)
        self.frame_sum[slab] = self.d_sum[:, :n].sum(axis=0) + self.centred_sum
        self.frame_squared[slab] = self.d_squared[:, :n].sum(axis=0, dtype=np.float64) + self.centred_squared
        self.frame_squared[slab] += 2 * self.d_centred[:, :n].sum(axis=0, dtype=np.float64)

    def _add_band(self, start: int, stop: int, i: int, pixels: slice) -> None:
        n = pixels.stop - pixels.start
        reference, centred, over_pixels = self.reference[pixels], self.centred[pixels], self.ones[:n]
        low, high, reference_high = self.min[pixels], self.max[pixels], reference.max()
        extreme, total = np.empty(n, self.x.dtype), np.empty(n, np.float32)
        d_sum, d_squared = np.zeros(n, np.float32), np.zeros(n, np.float32)
        for first in range(0, stop - start, BLOCK):
            k = min(BLOCK, stop - start - first)
            here, over_frames = slice(first, first + k), self.ones[:k]
            x, d = self.x[: k * n].reshape(k, n), self.d[: k * n].reshape(k, n)
            self.frames.read(start + first, pixels.start, x)

            np.minimum.reduce(x, axis=1, out=self.low[i, here])
            np.maximum.reduce(x, axis=1, out=self.high[i, here])
            np.minimum(low, np.minimum.reduce(x, axis=0, out=extreme), out=low)
            np.maximum(high, np.maximum.reduce(x, axis=0, out=extreme), out=high)
            highest = max(self.high[i, here].max(), reference_high)
            for saturated, level in zip(self.frame_saturated, self.levels):
                if highest >= level:
                    saturated[start + first : start + first + k] += np.count_nonzero(x == level, axis=1)

            _difference(x, reference, highest, out=d)
            np.add(d_sum, np.matmul(over_frames, d, out=total), out=d_sum)
            self.d_sum[i, here] = self._frame_sums(d, highest)
            np.matmul(d, centred, out=self.d_centred[i, here])
            np.square(d, out=d)
            np.add(d_squared, np.matmul(over_frames, d, out=total), out=d_squared)
            np.matmul(d, over_pixels, out=self.d_squared[i, here])
        self.sum[pixels] += d_sum
        self.sum_squared[pixels] += d_squared

    def _frame_sums(self, d: np.ndarray, highest: float) -> np.ndarray:
        """The sum of each row, in float64. Exact for integers: no piece of a row adds up to 2^24."""
        k, n = d.shape
        if self.is_float:
            width = n
        else:
            width = 4096 if highest < 4096 else 256
        whole = n - n % width
        sums = (d[:, :whole].reshape(-1, width) @ self.ones[:width]).reshape(k, -1).sum(axis=1, dtype=np.float64)
        return sums + d[:, whole:] @ self.ones[: n - whole] if whole < n else sums

    def part(self) -> _Part:
        n_frames, n_pixels = len(self.frame_sum), len(self.sum)
        shift = self.sum / n_frames
        return _Part(
            n_pixels=np.array([n_pixels]),
            frame_sum=self.frame_sum + self.centre * n_pixels,
            frame_m2=self.frame_squared - self.frame_sum**2 / n_pixels,
            frame_min=self.frame_min,
            frame_max=self.frame_max,
            frame_saturated=self.frame_saturated,
            mean=self.reference + shift,
            std=np.sqrt(np.maximum(self.sum_squared / n_frames - shift**2, 0)),
            min=self.min,
            max=self.max,
        )


def _difference(x: np.ndarray, reference: np.ndarray, highest: float, out: np.ndarray) -> None:
    """`x - reference` as float32; overwrites x."""
    if x.dtype == np.float32:
        np.subtract(x, reference, out=out)
    elif x.dtype == np.uint16 and highest < 1 << 15:  # as signed integers: twice as many fit a register
        signed = x.view(np.int16)
        np.subtract(signed, reference.view(np.int16), out=signed)
        np.copyto(out, signed)
    else:
        np.copyto(out, x)
        np.subtract(out, reference.astype(np.float32), out=out)


@QUIET
def _merged(parts: list[_Part], shape: tuple[int, int]) -> MovieStatistics:
    """Merge frames' variances after Chan, Golub and LeVeque; pixels only need concatenation."""
    n_pixels = np.array([part.n_pixels for part in parts], dtype=np.float64)  # (parts, 1)
    sums = np.array([part.frame_sum for part in parts])
    mean = sums.sum(axis=0) / n_pixels.sum()
    m2 = sum(part.frame_m2 for part in parts) + (n_pixels * (sums / n_pixels - mean) ** 2).sum(axis=0)
    highest = np.max([part.frame_max for part in parts], axis=0)

    levels = SATURATION[highest.dtype.str]
    chosen = next((i for i, level in enumerate(levels) if highest.max() <= level), None)
    saturated = np.full(len(mean), np.nan)
    if chosen is not None:
        saturated = sum(part.frame_saturated[chosen] for part in parts) / n_pixels.sum()

    def image(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts]).reshape(shape)

    return MovieStatistics(
        frame_mean=mean,
        frame_std=np.sqrt(np.maximum(m2 / n_pixels.sum(), 0)),
        frame_min=np.min([part.frame_min for part in parts], axis=0),
        frame_max=highest,
        frame_saturated=saturated,
        mean=image("mean"),
        std=image("std"),
        min=image("min"),
        max=image("max"),
        saturation_level=None if chosen is None else levels[chosen],
    )


# ---- other processes


def _part_elsewhere(path: Path, first: int, last: int) -> _Part:
    """Call _part in a process of its own."""
    job = json.dumps({"path": str(path), "first": first, "last": last})
    with other_process.start(_serve) as other:
        answer, _ = other.communicate(job.encode())
    if other.returncode == GREW_SHORTER:
        raise BadRecording(path, "the file became shorter while it was read")
    if other.returncode != 0:
        raise other_process.failure(other.returncode, f"the pass over {path}")
    arrays = io.BytesIO(answer)
    return _Part(*(np.load(arrays) for _ in fields(_Part)))


def _serve() -> None:
    """Run in the other process: read the job from standard input, answer with arrays."""
    job, answers = json.load(sys.stdin), other_process.answers()
    try:
        with open_frames(job["path"]) as frames:
            part = _part(_Stored(frames, job["first"], job["last"]))
    except BadRecording:
        sys.exit(GREW_SHORTER)
    arrays = io.BytesIO()  # NumPy asks a file for its position; a pipe may have none
    for field in fields(_Part):
        np.save(arrays, getattr(part, field.name))
    answers.write(arrays.getbuffer())
    answers.flush()
