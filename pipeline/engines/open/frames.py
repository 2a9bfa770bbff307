"""Movies as streams of frames: what every step of the open engine reads and writes them with.

An `.isxd` movie is its recorded frames, one after another, and a JSON footer (recording/formats/isxd.py). Frames are
read and written a block at a time, so that a step needs the same memory for a minute as for an hour. Files are read,
not mapped: a mapping of a long movie would exceed the address space that a worker may use.

What a movie carries besides its pixels goes on into every product: timing with its dropped, cropped and blank frames,
spacing, and `extraProperties`, in which the acquisition software and IDPS keep what they know (`idps.pre_mc`,
`idps.mc_padding`, animal, microscope, session).
"""

from __future__ import annotations

import copy
import json
import os
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.engines.protocol import StepContext
from recording import formats
from recording.errors import BadRecording, Unusable
from recording.formats import MovieLayout

DATA_TYPES = {"uint16": 0, "float32": 1, "uint8": 2}
CLOCK_OFFSET = 1272 * 2  # bytes into a frame's header, where the hardware time is kept in 8 pixels of 12 bits
CONVERTED = 1 << 15  # values
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
        valid = np.ones(self.n_samples, bool)
        valid[[*self.dropped, *self.blank]] = False
        for first, last in self.cropped:
            valid[first : last + 1] = False
        return valid

    @property
    def rate_hz(self) -> float:
        return float(1 / self.period)

    @classmethod
    def of(cls, stated: dict[str, Any]) -> Timing:
        """From a footer's `timingInfo` that the pre-check accepts."""
        start = stated["start"]
        ranges = (str(each).partition(" - ") for each in stated.get("cropped") or ())  # old files hold single numbers
        return cls(
            stated["numTimes"],
            _fraction(stated["period"]),
            _fraction(start["secsSinceEpoch"]),
            start["utcOffset"],
            tuple(stated.get("dropped") or ()),
            tuple((int(first), int(last or first)) for first, _, last in ranges),
            tuple(stated.get("blank") or ()),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "numTimes": self.n_samples,
            "period": _ratio(self.period),
            "start": {"secsSinceEpoch": _ratio(self.start), "utcOffset": self.utc_offset},
            "dropped": list(self.dropped),
            "cropped": [f"{first} - {last}" for first, last in self.cropped],
            "blank": list(self.blank),
        }


@dataclass(frozen=True)
class Spacing:
    """Where the pixels of a movie lie on the sensor. Lengths are in µm, (x, y), exact."""

    rows: int
    columns: int
    pixel: tuple[Fraction, Fraction] = (Fraction(3), Fraction(3))
    top_left: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))

    @classmethod
    def of(cls, stated: dict[str, Any]) -> Spacing:
        """From a footer's `spacingInfo` that the pre-check accepts."""
        x, y = ((_fraction(stated["pixelSize"][axis]), _fraction(stated["topLeft"][axis])) for axis in "xy")
        pixels = stated["numPixels"]
        return cls(pixels["y"], pixels["x"], (x[0], y[0]), (x[1], y[1]))

    def cropped(self, x: int, y: int, width: int, height: int) -> Spacing:
        """Of a rectangle of pixels in this field."""
        (across, down), (left, top) = self.pixel, self.top_left
        return replace(self, rows=height, columns=width, top_left=(left + x * across, top + y * down))

    def binned(self, factor: int) -> Spacing:
        """Of pixels that are `factor` times as wide and high; an incomplete last bin is left out."""
        pixel = (self.pixel[0] * factor, self.pixel[1] * factor)
        return replace(self, rows=self.rows // factor, columns=self.columns // factor, pixel=pixel)

    def as_json(self) -> dict[str, Any]:
        def both(pair: tuple[Fraction, Fraction]) -> dict[str, Any]:
            return {axis: _ratio(each) for axis, each in zip("xy", pair)}

        pixels = {"x": self.columns, "y": self.rows}
        return {"numPixels": pixels, "pixelSize": both(self.pixel), "topLeft": both(self.top_left)}


def _fraction(stated: dict[str, int]) -> Fraction:
    return Fraction(stated["num"], stated["den"])


def _ratio(value: Fraction) -> dict[str, int]:
    return {"num": value.numerator, "den": value.denominator}


@dataclass(frozen=True)
class Movie:
    """A movie that is open for reading. Samples that were not recorded read as zeros: see `valid`.

    Safe to read from several threads.
    """

    path: Path
    timing: Timing
    spacing: Spacing
    dtype: np.dtype
    extra: dict[str, Any]  # the footer's extraProperties
    layout: MovieLayout = field(repr=False)
    valid: np.ndarray = field(repr=False)  # (n_frames,) bool
    fd: int = field(repr=False)

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

    def stored(self, start: int, stop: int) -> np.ndarray:
        """The recorded ones among these samples, as the file holds them. Raises BadRecording if it became shorter."""
        frames = np.empty((int(np.count_nonzero(self.valid[start:stop])), *self.shape), self.dtype)
        stride = self.layout.stride
        offset = self.offset_of(start)
        if len(frames) and stride == frames[0].nbytes:
            self._fill(frames, offset)
        else:
            for i, frame in enumerate(frames):
                self._fill(frame, offset + i * stride)
        return frames

    def offset_of(self, sample: int) -> int:
        """Where in the file the first recorded frame from this sample on begins."""
        return self.layout.offset + int(np.count_nonzero(self.valid[:sample])) * self.layout.stride

    def _fill(self, frames: np.ndarray, offset: int) -> None:
        into = memoryview(frames).cast("B")
        while len(into):
            n_bytes = os.preadv(self.fd, (into,), offset)
            if n_bytes == 0:
                raise BadRecording(self.path, "the file became shorter while it was read")
            into, offset = into[n_bytes:], offset + n_bytes


@contextmanager
def open_movie(path: str | os.PathLike[str]) -> Iterator[Movie]:
    """Open a movie or an image (a movie of one frame). Raises BadRecording."""
    path = Path(path)
    layout, footer = formats.movie_layout(path), formats.read_footer(path)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        timing = Timing.of(footer["timingInfo"])
        if layout.has_timestamps:
            timing = _timed_by_hardware(timing, layout, fd)
        extra = footer.get("extraProperties") or {}
        yield Movie(
            path, timing, Spacing.of(footer["spacingInfo"]), np.dtype(layout.dtype), extra, layout, timing.valid, fd
        )
    finally:
        os.close(fd)


def _timed_by_hardware(timing: Timing, layout: MovieLayout, fd: int) -> Timing:
    """With the period between the hardware times of the first and the last frame, as isx takes it.

    Products have no frame headers, so that their footer has to state this period (isxcore, isxMosaicMovieFile.cpp).
    """
    recorded = np.flatnonzero(timing.valid)
    n_periods = int(recorded[-1] - recorded[0]) if len(recorded) else 0
    if n_periods < 2:
        return timing
    first, last = (_hardware_time_us(fd, i * layout.stride) for i in (0, len(recorded) - 1))
    return replace(timing, period=Fraction(last - first, n_periods * 10**6)) if first < last else timing


def _hardware_time_us(fd: int, header: int) -> int:
    """Of the frame whose header is at that place: four 16-bit words, each spread over two pixels of 12 bits."""
    pixels = struct.unpack("<8H", os.pread(fd, 16, header + CLOCK_OFFSET))
    words = [(high << 4 | low >> 4) & 0xFFFF for low, high in zip(pixels[::2], pixels[1::2])]
    return sum(word << 16 * i for i, word in enumerate(words))


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
        """Of the first part."""
        return self.parts[0].timing

    @property
    def spacing(self) -> Spacing:
        return self.parts[0].spacing

    @property
    def dtype(self) -> np.dtype:
        return np.result_type(*(part.dtype for part in self.parts))

    @property
    def extra(self) -> dict[str, Any]:
        """Of the first part."""
        return self.parts[0].extra

    def read(self, start: int, stop: int) -> np.ndarray:
        """The samples from `start` to `stop`, float32, shape (stop - start, rows, columns)."""
        return _joined([part.read(*within) for part, within in self._within(start, stop)])

    def stored(self, start: int, stop: int) -> np.ndarray:
        """The recorded ones among these samples, as the files hold them."""
        return _joined([part.stored(*within) for part, within in self._within(start, stop)])

    def _within(self, start: int, stop: int) -> Iterator[tuple[Movie, tuple[int, int]]]:
        for part, (first, end) in zip(self.parts, self.bounds):
            low, high = max(start, first), min(stop, end)
            if low < high:
                yield part, (low - first, high - first)


def _joined(pieces: list[np.ndarray]) -> np.ndarray:
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


@contextmanager
def open_series(paths: Sequence[str | os.PathLike[str]]) -> Iterator[Series]:
    """Open the parts of a series, in the order given. Raises Unusable where their fields differ."""
    with _all_open([open_movie(path) for path in paths]) as parts:
        for part in parts[1:]:
            if part.shape != parts[0].shape:
                (h, w), (rows, columns) = part.shape, parts[0].shape
                raise Unusable(
                    f"{part.path.name} has {w} x {h} px but {parts[0].path.name} has {columns} x {rows} px: "
                    "process them as recordings of their own, not as one series"
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
            for each in waiting:
                each.cancel()


def one_blas_thread() -> Any:
    """A context in which BLAS has one thread: the order in which it adds up, and so the last bit, depends on that."""
    return threadpool_limits(1, "blas")


def each_block(
    blocks: Iterable[tuple[int, int]],
    work: Callable[[int, int], Made],
    context: StepContext,
    span: tuple[float, float] = (0, 1),
) -> Iterator[Made]:
    """`work(start, stop)` for each block in order, on all cores that the step may use.

    Reports progress on the way, from the first of `span` to the second.
    """
    blocks, (low, high) = list(blocks), span
    with one_blas_thread():
        results = in_order(lambda block: work(*block), blocks, context.threads)
        for i, made in enumerate(results, 1):
            yield made
            context.progress(low + (high - low) * i / len(blocks))


def share(i: int, n: int, of: tuple[float, float] = (0, 1)) -> tuple[float, float]:
    """The span of progress that the i-th of n equal tasks takes."""
    low, high = of
    return low + (high - low) * i / n, low + (high - low) * (i + 1) / n


def write_movie(
    path: str | os.PathLike[str],
    like: Movie | Series | None,
    frames: Iterable[np.ndarray],
    dtype: Any = "float32",
    timing: Timing | None = None,
    spacing: Spacing | None = None,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write a movie that isx opens; `like` gives timing, spacing and extra properties where one of them is not given.

    `frames` are blocks of shape (n, rows, columns) that hold every sample in order; those that `timing` calls invalid
    take no room in the file. Integer movies get rounded values, cut off at the type's limits; what is not a number
    becomes 0. The file has its name only once it is complete.
    """
    path, dtype = Path(path), np.dtype(dtype)
    timing, spacing = timing or like.timing, spacing or like.spacing
    footer = {
        "type": 0 if timing.n_samples > 1 else 4,
        "dataType": DATA_TYPES[dtype.name],
        "fileVersion": 1,
        "hasFrameHeaderFooter": False,
        "producer": {"name": "open engine"},
        "extraProperties": (like.extra if extra is None else extra) or None,
        "timingInfo": timing.as_json(),
        "spacingInfo": spacing.as_json(),
    }
    with _renamed_when_complete(path) as file:
        valid, position = timing.valid, 0
        for block in frames:
            if block.shape[1:] != (spacing.rows, spacing.columns):
                raise ValueError(f"frames of {block.shape[1:]} for a movie of {spacing.rows} x {spacing.columns}")
            recorded = valid[position : position + len(block)]
            position += len(block)
            stored = block if recorded.all() else block[recorded]
            file.write(np.ascontiguousarray(converted(stored, dtype)).data.cast("B") if stored.size else b"")
        if position != timing.n_samples:
            raise ValueError(f"{position} frames for a movie of {timing.n_samples}")
        text = json.dumps(footer, sort_keys=True).encode()
        file.write(text + b"\0" + struct.pack("<Q", len(text)))


def write_image(
    path: str | os.PathLike[str], like: Movie | Series, image: np.ndarray, extra: dict[str, Any] | None = None
) -> None:
    """Write one frame, float32, with the start, period, spacing and extra properties of a movie."""
    timing = replace(like.timing, n_samples=1, dropped=(), cropped=(), blank=())
    write_movie(path, like, [image[np.newaxis]], timing=timing, extra=extra)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """A small file, which has its name only once it is complete."""
    with _renamed_when_complete(Path(path)) as file:
        file.write(text.encode())


def converted(frames: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """As `dtype`; for integers rounded, cut off at its limits, and 0 where not a number."""
    if dtype.kind == "f" or frames.dtype == dtype:
        return frames.astype(dtype, copy=False)
    made = np.empty(frames.shape, dtype)
    source, target = np.ascontiguousarray(frames).reshape(-1), made.reshape(-1)
    for start in range(0, source.size, CONVERTED):  # a stretch at a time, which stays in the processor's cache
        stretch = np.rint(source[start : start + CONVERTED])
        np.fmax(stretch, 0, out=stretch)  # unlike maximum, it takes the number where the other is none
        np.minimum(stretch, np.iinfo(dtype).max, out=stretch)
        target[start : start + CONVERTED] = stretch
    return made


def lower(path: str | os.PathLike[str], by: float) -> None:
    """Subtract a value from all recorded pixels of a movie, in its file. Integers wrap around, as they are added."""
    with open_movie(path) as movie, Path(path).open("r+b", buffering=0) as file:
        for start, stop in chunks(movie, BLOCK_MB):
            stored = movie.stored(start, stop)
            stored -= stored.dtype.type(by) if stored.dtype.kind == "f" else np.array(int(by)).astype(stored.dtype)
            os.pwrite(file.fileno(), stored.data.cast("B"), movie.offset_of(start))


def with_idps(extra: dict[str, Any], **properties: Any) -> dict[str, Any]:
    """A copy of a movie's extra properties in which IDPS's own have these values."""
    extra = copy.deepcopy(extra)
    extra["idps"] = {**(extra.get("idps") or {}), **properties}
    return extra


@contextmanager
def _renamed_when_complete(path: Path) -> Iterator[Any]:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb", buffering=0) as file:
            yield _Writer(file)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


class _Writer:
    """A raw file whose `write` writes everything: the system writes at most 2 GiB at once."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def write(self, data: bytes | memoryview) -> None:
        data = memoryview(data)
        while len(data):
            data = data[self.file.write(data) :]
