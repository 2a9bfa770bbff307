"""Movies as streams of frames: what everything that looks at pixels reads them with.

An `.isxd` movie is its recorded frames, one after another, and a JSON footer (recording/formats/isxd.py). Frames are
read a block at a time, so that whoever reads needs the same memory for a minute as for an hour. Files are read, not
mapped: a mapping of a long movie would exceed the address space that a worker may use, and one whose file becomes
shorter ends the process.

`open_frames` gives the frames as the file holds them, `open_movie` with their timing and field, `open_series` several
movies as one.

A movie need not be a file. `Deferred` stands for one that is computed whenever it is read, from another movie: a step
may be asked to leave such a thing in place of a file, and whoever is given it opens it as he would a file.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, TypeVar, Union

import numpy as np
from threadpoolctl import threadpool_limits

from recording import formats
from recording.errors import BadRecording, Unusable
from recording.formats import MovieLayout
from recording.formats.timing import read_timing

CLOCK_OFFSET = 1272 * 2  # bytes into a frame's header, where the hardware time is kept in 8 pixels of 12 bits
BLOCK_MB = 8  # of float32 frames that a step works on at a time; small enough to stay near the processor

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Timing:
    """When the samples of a movie were taken, and which of them were not recorded. Exact: times are fractions."""

    n_samples: int
    period: Fraction  # s
    start: Fraction = Fraction(0)  # s since 1970, UTC
    utc_offset: int = 0  # s
    dropped: tuple[int, ...] = ()
    cropped: tuple[tuple[int, int], ...] = ()  # first and last, both cropped
    blank: tuple[int, ...] = ()

    @property
    def valid(self) -> np.ndarray:
        """For each sample whether it is recorded: neither dropped, cropped nor blank. Shape (n_samples,), bool."""
        return valid_samples(self)

    @property
    def rate_hz(self) -> float:
        return float(1 / self.period)

    @classmethod
    def of(cls, stated: dict[str, Any]) -> Timing:
        """Timing from a footer's `timingInfo` that the pre-check accepts."""
        read, start = read_timing({"timingInfo": stated}), stated["start"]
        times = _fraction(stated["period"]), _fraction(start["secsSinceEpoch"]), start["utcOffset"]
        return cls(read.n_samples, *times, read.dropped, read.cropped, read.blank)

    def as_json(self) -> dict[str, Any]:
        return {
            "numTimes": self.n_samples,
            "period": _ratio(self.period),
            "start": {"secsSinceEpoch": _ratio(self.start), "utcOffset": self.utc_offset},
            "dropped": list(self.dropped),
            "cropped": [f"{first} - {last}" for first, last in self.cropped],
            "blank": list(self.blank),
        }


def valid_samples(times: Timing | MovieLayout) -> np.ndarray:
    """For each sample whether it is recorded, as the file states it. What isx has opened says it by itself."""
    valid = np.ones(times.n_samples, bool)
    valid[[*times.dropped, *times.blank]] = False
    for first, last in times.cropped:
        valid[first : last + 1] = False
    return valid


@dataclass(frozen=True)
class Spacing:
    """Where the pixels of a movie lie on the sensor. Lengths are in µm, (x, y), exact."""

    rows: int
    columns: int
    pixel: tuple[Fraction, Fraction] = (Fraction(3), Fraction(3))
    top_left: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))

    @classmethod
    def of(cls, stated: dict[str, Any]) -> Spacing:
        """Spacing from a footer's `spacingInfo` that the pre-check accepts."""
        x, y = ((_fraction(stated["pixelSize"][axis]), _fraction(stated["topLeft"][axis])) for axis in "xy")
        pixels = stated["numPixels"]
        return cls(pixels["y"], pixels["x"], (x[0], y[0]), (x[1], y[1]))

    def cropped(self, x: int, y: int, width: int, height: int) -> Spacing:
        """The spacing of a rectangle of pixels in this field."""
        (across, down), (left, top) = self.pixel, self.top_left
        return replace(self, rows=height, columns=width, top_left=(left + x * across, top + y * down))

    def binned(self, factor: int) -> Spacing:
        """The spacing of pixels that are `factor` times as wide and high; an incomplete last bin is left out."""
        pixel = (self.pixel[0] * factor, self.pixel[1] * factor)
        return replace(self, rows=self.rows // factor, columns=self.columns // factor, pixel=pixel)

    def as_json(self) -> dict[str, Any]:
        def both(pair: tuple[Fraction, Fraction]) -> dict[str, Any]:
            return {axis: _ratio(fraction) for axis, fraction in zip("xy", pair)}

        pixels = {"x": self.columns, "y": self.rows}
        return {"numPixels": pixels, "pixelSize": both(self.pixel), "topLeft": both(self.top_left)}


def _fraction(stated: dict[str, int]) -> Fraction:
    return Fraction(stated["num"], stated["den"])


def _ratio(value: Fraction) -> dict[str, int]:
    return {"num": value.numerator, "den": value.denominator}


class Frames(Protocol):
    """Where the pixels of a movie come from."""

    def recorded(self, start: int, stop: int, rows: tuple[int, int]) -> np.ndarray:
        """The recorded ones among these samples, shape (n, rows, columns), in the movie's own data type.

        Of each the rows from the first number to the second.
        """


@dataclass(frozen=True)
class StoredFrames:
    """The recorded frames of a file that is open. Safe to read from several threads."""

    path: Path
    layout: MovieLayout
    fd: int
    valid: np.ndarray = field(repr=False)  # (n_samples,) bool

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.layout.dtype)

    def read_into(self, into: np.ndarray, frame: int, pixel: int = 0) -> np.ndarray:
        """Fill `into`, contiguous, (frames, ...) in the file's data type, from this recorded frame and pixel on.

        Each of its frames is the next one's pixels from the same place on. Raises BadRecording if the file became
        shorter.
        """
        stride = self.layout.stride
        offset = self.layout.offset + frame * stride + pixel * self.dtype.itemsize
        for rows in [into] if len(into) and into[0].nbytes == stride else into:
            self._fill(rows, offset)
            offset += stride
        return into

    def recorded(self, start: int, stop: int, rows: tuple[int, int]) -> np.ndarray:
        n, columns = int(np.count_nonzero(self.valid[start:stop])), self.layout.columns
        frames = np.empty((n, rows[1] - rows[0], columns), self.dtype)
        return self.read_into(frames, self.number_of(start), rows[0] * columns)

    def number_of(self, sample: int) -> int:
        """Number, among the recorded frames, of the first one at or after this sample."""
        return int(np.count_nonzero(self.valid[:sample]))

    def offset_of(self, sample: int) -> int:
        """Where in the file that frame begins."""
        return self.layout.offset + self.number_of(sample) * self.layout.stride

    def clock_us(self, frames: Sequence[int] | np.ndarray) -> np.ndarray:
        """The hardware time in the headers of these recorded frames, uint64.

        It is four 16-bit words, each spread over two pixels of 12 bits (isxcore, isxMosaicMovieFile.cpp,
        readFrameTimestamp).
        """
        pixels = np.empty((len(frames), 8), np.uint16)
        for row, frame in zip(pixels, frames):
            self._fill(row, int(frame) * self.layout.stride + CLOCK_OFFSET)
        words = ((pixels[:, 1::2].astype(np.uint64) << 4) | (pixels[:, ::2] >> 4)) & 0xFFFF
        return (words << np.array([0, 16, 32, 48], np.uint64)).sum(axis=1, dtype=np.uint64)

    def _fill(self, pixels: np.ndarray, offset: int) -> None:
        wanted = pixels.nbytes
        if os.preadv(self.fd, (pixels,), offset) == wanted:
            return
        into = memoryview(pixels).cast("B")  # the system reads at most 2 GiB at once
        while len(into):
            n_bytes = os.preadv(self.fd, (into,), offset)
            if n_bytes == 0:
                raise BadRecording(self.path, "the file became shorter while it was read")
            into, offset = into[n_bytes:], offset + n_bytes


@contextmanager
def open_frames(path: str | os.PathLike[str], layout: MovieLayout | None = None) -> Iterator[StoredFrames]:
    """Open the frames of a movie or an image (a movie of one frame), whose layout may be known. Raises BadRecording."""
    path = Path(path)
    layout = layout or formats.movie_layout(path)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield StoredFrames(path, layout, fd, valid_samples(layout))
    finally:
        os.close(fd)


@dataclass(frozen=True)
class ComputedFrames:
    """Frames that are computed whenever they are read."""

    compute: Callable[[int, int], np.ndarray]  # all samples from the first number to the second
    valid: np.ndarray = field(repr=False)

    def recorded(self, start: int, stop: int, rows: tuple[int, int]) -> np.ndarray:
        frames, valid = self.compute(start, stop)[:, slice(*rows)], self.valid[start:stop]
        return frames if valid.all() else frames[valid]


@dataclass(frozen=True)
class Movie:
    """A movie that is open for reading. Samples that were not recorded read as zeros: see `valid`.

    Safe to read from several threads.
    """

    path: Path  # of a computed movie but its name
    timing: Timing
    spacing: Spacing
    dtype: np.dtype
    extra: dict[str, Any]  # the footer's extraProperties
    valid: np.ndarray = field(repr=False)  # (n_frames,) bool
    frames: Frames = field(repr=False)
    origin: Source = field(repr=False)  # what it was opened from

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.spacing.rows, self.spacing.columns

    @property
    def n_frames(self) -> int:
        """All samples, recorded or not."""
        return self.timing.n_samples

    @property
    def parts(self) -> tuple[Movie, ...]:
        return (self,)

    def read(self, start: int, stop: int) -> np.ndarray:
        """The samples from `start` to `stop`, float32, shape (stop - start, rows, columns)."""
        return self.samples(start, stop).astype(np.float32, copy=False)

    def samples(self, start: int, stop: int) -> np.ndarray:
        """The same in the movie's own data type."""
        valid, stored = self.valid[start:stop], self.stored(start, stop)
        if valid.all():
            return stored
        frames = np.zeros((len(valid), *self.shape), self.dtype)
        frames[valid] = stored
        return frames

    def stored(self, start: int, stop: int, rows: tuple[int, int] | None = None) -> np.ndarray:
        """The recorded ones among these samples, whole or some rows. Raises BadRecording if the file became shorter."""
        return self.frames.recorded(start, stop, rows or (0, self.shape[0]))


@dataclass
class Deferred:
    """A movie that is computed whenever it is read, from another one: in place of the file that a step would write.

    The step says how, with `plan`; until then the movie cannot be opened.
    """

    name: str  # what the file would be called
    plan: Plan | None = None


@dataclass(frozen=True)
class Plan:
    """How a movie follows from another one, a block of frames at a time."""

    source: Source
    compute: Callable[[Movie, int, int], np.ndarray]  # the samples of the new movie, in its data type, from the old one
    dtype: np.dtype
    timing: Timing
    spacing: Spacing
    extra: dict[str, Any]


Source = Union[str, "os.PathLike[str]", Deferred]


@contextmanager
def open_movie(source: Source) -> Iterator[Movie]:
    """Open a movie or an image (a movie of one frame). Raises BadRecording."""
    if isinstance(source, Deferred):
        with _open_deferred(source) as movie:
            yield movie
        return
    path = Path(source)
    footer = formats.read_footer(path)
    with open_frames(path) as frames:
        timing = Timing.of(footer["timingInfo"])
        if frames.layout.has_timestamps:
            timing = _timed_by_hardware(timing, frames)
        spacing, extra = Spacing.of(footer["spacingInfo"]), formats.extra_properties(footer)
        yield Movie(path, timing, spacing, frames.dtype, extra, frames.valid, frames, source)


@contextmanager
def _open_deferred(movie: Deferred) -> Iterator[Movie]:
    plan = movie.plan
    if plan is None:
        raise ValueError(f"the step that makes {movie.name} has not said how")
    with one_blas_thread(), open_movie(plan.source) as source:
        valid = plan.timing.valid
        frames = ComputedFrames(lambda start, stop: plan.compute(source, start, stop), valid)
        yield Movie(Path(movie.name), plan.timing, plan.spacing, plan.dtype, plan.extra, valid, frames, movie)


def _timed_by_hardware(timing: Timing, frames: StoredFrames) -> Timing:
    """Timing with the period from the hardware times of the first and the last frame, as in isx.

    Products have no frame headers, so that their footer has to state this period (isxcore, isxMosaicMovieFile.cpp).
    """
    recorded = np.flatnonzero(timing.valid)
    n_periods = int(recorded[-1] - recorded[0]) if len(recorded) else 0
    if n_periods < 2:
        return timing
    first, last = frames.clock_us((0, len(recorded) - 1)).tolist()
    return replace(timing, period=Fraction(last - first, n_periods * 10**6)) if first < last else timing


@dataclass(frozen=True)
class Series:
    """Several movies of one field, in order, as one."""

    parts: tuple[Movie, ...]
    valid: np.ndarray = field(repr=False)  # (n_frames,) bool
    bounds: tuple[tuple[int, int], ...]  # of each part: first sample, and the one after the last

    @property
    def shape(self) -> tuple[int, int]:
        return self.parts[0].shape

    @property
    def n_frames(self) -> int:
        return len(self.valid)

    @property
    def timing(self) -> Timing:
        """That of the first part."""
        return self.parts[0].timing

    @property
    def spacing(self) -> Spacing:
        return self.parts[0].spacing

    @property
    def dtype(self) -> np.dtype:
        return np.result_type(*(part.dtype for part in self.parts))

    @property
    def extra(self) -> dict[str, Any]:
        """That of the first part."""
        return self.parts[0].extra

    def read(self, start: int, stop: int) -> np.ndarray:
        """The samples from `start` to `stop`, float32, shape (stop - start, rows, columns)."""
        return _joined([part.read(*within) for part, within in self._within(start, stop)])

    def stored(self, start: int, stop: int, rows: tuple[int, int] | None = None) -> np.ndarray:
        """The recorded ones among these samples, as the files hold them, whole or of some rows."""
        return _joined([part.stored(*within, rows) for part, within in self._within(start, stop)])

    def _within(self, start: int, stop: int) -> Iterator[tuple[Movie, tuple[int, int]]]:
        for part, (first, end) in zip(self.parts, self.bounds):
            low, high = max(start, first), min(stop, end)
            if low < high:
                yield part, (low - first, high - first)


def _joined(pieces: list[np.ndarray]) -> np.ndarray:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


@contextmanager
def open_series(paths: Sequence[Source]) -> Iterator[Series]:
    """Open the parts of a series, in the order given. Raises Unusable where their fields differ."""
    with _all_open([open_movie(path) for path in paths]) as parts:
        for part in parts[1:]:
            if part.shape != parts[0].shape:
                (h, w), (rows, columns) = part.shape, parts[0].shape
                raise Unusable(
                    f"{part.path.name} has {w} x {h} px but {parts[0].path.name} has {columns} x {rows} px: "
                    "process them as separate recordings, not as one series"
                )
        ends = np.cumsum([part.n_frames for part in parts]).tolist()
        valid = np.concatenate([part.valid for part in parts])
        yield Series(tuple(parts), valid, tuple(zip([0, *ends], ends)))


@contextmanager
def _all_open(movies: list[Any]) -> Iterator[list[Movie]]:
    if not movies:
        yield []
        return
    with movies[0] as first, _all_open(movies[1:]) as rest:
        yield [first, *rest]


def chunks(movie: Movie | Series, megabytes: float = 64) -> Iterator[tuple[int, int]]:
    """Cuts of a movie: (start, stop) of so many samples that they take at most `megabytes` as float32, at least one.

    They depend on nothing but the field's size, so that what is computed from them does not either. Those of a series
    do not reach across parts.
    """
    first = 0
    for part in movie.parts:
        yield from ((first + start, first + stop) for start, stop in cuts(part.n_frames, movie.shape, megabytes))
        first += part.n_frames


def cuts(n_frames: int, shape: tuple[int, int], megabytes: float = BLOCK_MB) -> list[tuple[int, int]]:
    """The same for a movie that is still to be made."""
    n = max(1, int(megabytes * 2**20) // (shape[0] * shape[1] * 4))
    return [(start, min(start + n, n_frames)) for start in range(0, n_frames, n)]


def one_blas_thread() -> Any:
    """A context in which BLAS has one thread: the order in which it adds up, and so the last bit, depends on that.

    Its products are small here, so that several threads would wait for one another most of the time, and busily. It
    holds for libraries that are loaded: who computes with SciPy's own imports scipy.linalg with the module.
    """
    return threadpool_limits(1, "blas")


def in_order(work: Callable[[Item], Made], items: Iterable[Item], threads: int) -> Iterator[Made]:
    """`work(item)` for each item, in order; up to `threads` at a time, and as many results wait."""
    if threads <= 1:
        yield from map(work, items)
        return
    waiting: deque[Any] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
