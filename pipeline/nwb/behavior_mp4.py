"""A behaviour movie as MP4, which archives take: its frames as stored, and a picture of each that browsers play.

The first track is the recording's own Motion JPEG, not a byte changed: FFmpeg and OpenCV, and what is built on them,
take it. No browser plays Motion JPEG; they pass over to the second track, which is AV1.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from struct import pack

import numpy as np
from PIL import Image

from open_engine.context import StepContext
from pipeline.inspect import export, mp4
from pipeline.inspect.consistency import image_offsets
from recording import formats
from recording.errors import BadRecording

FINEST = 1_000_000  # ticks a second, where the frames' period is no whole number of coarser ones
COPY = 1 << 24  # bytes at a time
MOST_TICKS = (1 << 32) - 1
GROUP = 100  # frames from one keyframe to the next, so that a player can go to any moment


@dataclass(frozen=True)
class Frames:
    """Where the frames of an `.isxb` file are, in bytes, and when they are shown, in ticks."""

    recording: Path
    columns: int
    rows: int
    first: int
    sizes: np.ndarray
    ticks_per_s: int
    durations: np.ndarray  # each until the next frame, over those that were dropped


def frames_of(recording: Path, indices: np.ndarray, period: Fraction, shape: tuple[int, int]) -> Frames | None:
    """The frames with these sample numbers. None if the file does not hold one image for each, or time stands still.

    `shape` is rows, columns.
    """
    header = formats.read_isxb(recording)[0]
    offsets = image_offsets(recording, header)
    if not len(offsets) or len(offsets) != len(indices):
        return None
    rate = period.denominator if period.denominator <= FINEST else FINEST
    ticks = [round(int(index) * period * rate) for index in [*indices, indices[-1] + 1]]
    durations = np.diff(ticks)
    if durations.min() <= 0 or durations.max() > MOST_TICKS:
        return None
    rows, columns = shape
    return Frames(recording, columns, rows, offsets[0], np.diff([*offsets, header.meta_offset]), rate, durations)


def write(frames: Frames, out: Path, context: StepContext) -> None:
    """`out`, with its index in front, so that a player need not read to the end. The same frames, the same bytes."""
    with frames.recording.open("rb") as source, out.open("wb") as film:
        groups = _encoded(source.fileno(), frames, context)
        first = next(groups)
        start = len(mp4.head()) + len(_index(frames, first.entry, np.zeros(len(frames.sizes)), 0)) + 16
        film.seek(start)  # back to the index when sizes are known
        sizes = [_write_group(film, first), *(_write_group(film, group) for group in groups)]
        _copy(source, film, frames)
        end = film.tell()
        film.seek(0)
        film.write(mp4.head() + _index(frames, first.entry, np.concatenate(sizes), start))
        film.write(pack(">I4sQ", 1, b"mdat", end - start + 16))


def _index(frames: Frames, entry: bytes, sizes: np.ndarray, start: int) -> bytes:
    """The MP4 index of both tracks: the frames as stored, which come second in the file, and the AV1 pictures."""
    as_jpeg = mp4.jpeg_entry(frames.columns, frames.rows, int(frames.sizes.max()))
    stored = mp4.Track(as_jpeg, frames.sizes, start + int(sizes.sum()))
    playable = mp4.Track(entry, sizes, start, range(0, len(sizes), GROUP))
    return mp4.index([stored, playable], frames.durations, frames.ticks_per_s, frames.columns, frames.rows)


def _copy(source: io.BufferedReader, film: io.BufferedWriter, frames: Frames) -> None:
    source.seek(frames.first)
    left = int(frames.sizes.sum())
    while left and (part := source.read(min(left, COPY))):
        film.write(part)
        left -= len(part)
    if left:
        raise BadRecording(frames.recording, "the file became shorter while it was read")


# ---- pictures for browsers


@dataclass(frozen=True)
class _Group:
    """Pictures of which the first needs no other."""

    entry: bytes
    pictures: list[bytes]
    n_unreadable: int


def _write_group(film: io.BufferedWriter, group: _Group) -> np.ndarray:
    film.writelines(group.pictures)
    return np.array([len(picture) for picture in group.pictures])


def _encoded(source: int, frames: Frames, context: StepContext) -> Iterator[_Group]:
    """Groups in order, as many at a time as there are threads. A frame that is no JPEG of the movie's size is black."""
    starts = range(0, len(frames.sizes), GROUP)
    threads, n_unreadable = max(1, context.threads), 0
    with ThreadPoolExecutor(threads) as pool:
        for i in range(0, len(starts), threads):
            for group in pool.map(lambda start: _encode(source, frames, start), starts[i : i + threads]):
                n_unreadable += group.n_unreadable
                yield group
            context.progress(min(1.0, (i + threads) / len(starts)))
    if n_unreadable:
        context.warn(
            f"{n_unreadable} of {len(frames.sizes)} frames of {frames.recording.name} are no JPEG of "
            f"{frames.columns} x {frames.rows} px: they are black in the track for browsers"
        )


def _encode(source: int, frames: Frames, start: int) -> _Group:
    sizes = frames.sizes[start : start + GROUP].tolist()
    pictures = _Pictures(source, frames, start)
    film = export.avif(iter(pictures), len(sizes), (frames.rows, frames.columns), export.Encoder(threads=1))
    entry, encoded = mp4.samples(film)
    return _Group(entry, encoded[: len(sizes)], pictures.n_unreadable)


class _Pictures:
    """The frames of a group, decoded one by one."""

    def __init__(self, source: int, frames: Frames, start: int) -> None:
        self.source, self.frames, self.start = source, frames, start
        self.n_unreadable = 0

    def __iter__(self) -> Iterator[Image.Image]:
        at = self.frames.first + int(self.frames.sizes[: self.start].sum())
        for size in self.frames.sizes[self.start : self.start + GROUP].tolist():
            picture = self._decoded(os.pread(self.source, size, at))
            self.n_unreadable += picture is None
            yield picture or Image.new("RGB", (self.frames.columns, self.frames.rows))
            at += size

    def _decoded(self, data: bytes) -> Image.Image | None:
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
                is_sized = picture.size == (self.frames.columns, self.frames.rows)
                return picture.convert("RGB") if is_sized else None
        except Exception:  # a damaged file makes Pillow raise a dozen kinds of them
            return None
