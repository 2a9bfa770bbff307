"""A behaviour movie as MP4, which archives take: its Motion JPEG as it is, not a pixel changed.

MP4 holds Motion JPEG as the object type 0x6C of MPEG-4 (ISO/IEC 14496-1); FFmpeg and OpenCV, and what is built on them,
read it. Browsers do not.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import numpy as np

from pipeline.inspect.consistency import image_offsets
from recording import formats
from recording.errors import BadRecording

FINEST = 1_000_000  # ticks a second, where the frames' period is no whole number of coarser ones
COPY = 1 << 24  # bytes at a time
JPEG, VISUAL = 0x6C, 0x11  # object type; stream type, as MPEG-4 packs it
UNITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # the matrix that changes nothing
MOST_TICKS = (1 << 32) - 1


@dataclass(frozen=True)
class Frames:
    """Where the frames of an `.isxb` file are, in bytes, and when they are shown, in ticks."""

    first: int
    sizes: np.ndarray
    ticks_per_s: int
    durations: np.ndarray  # each until the next frame, over those that were dropped


def frames_of(recording: Path, indices: np.ndarray, period: Fraction) -> Frames | None:
    """The frames with these sample numbers. None if the file does not hold one image for each, or time stands still."""
    header = formats.read_isxb(recording)[0]
    offsets = image_offsets(recording, header)
    if not len(offsets) or len(offsets) != len(indices):
        return None
    rate = period.denominator if period.denominator <= FINEST else FINEST
    ticks = [round(int(index) * period * rate) for index in [*indices, indices[-1] + 1]]
    durations = np.diff(ticks)
    if durations.min() <= 0 or durations.max() > MOST_TICKS:
        return None
    return Frames(offsets[0], np.diff([*offsets, header.meta_offset]), rate, durations)


def write(recording: Path, frames: Frames, columns: int, rows: int, out: Path) -> None:
    """`out`, with its index in front, so that a player need not read to the end. The same frames, the same bytes."""
    brands = _box(b"ftyp", b"isom", bytes(4), b"isom", b"iso2", b"mp41")
    start = len(brands) + len(_index(frames, columns, rows, 0)) + 16
    n_bytes = int(frames.sizes.sum())
    with recording.open("rb") as source, out.open("wb") as film:
        film.write(brands + _index(frames, columns, rows, start))
        film.write(struct.pack(">I4sQ", 1, b"mdat", 16 + n_bytes))
        source.seek(frames.first)
        left = n_bytes
        while left and (part := source.read(min(left, COPY))):
            film.write(part)
            left -= len(part)
    if left:
        raise BadRecording(recording, "the file became shorter while it was read")


def _index(frames: Frames, columns: int, rows: int, start: int) -> bytes:
    """The box `moov` (ISO/IEC 14496-12); the frames begin at byte `start` of the file."""
    ticks = int(frames.durations.sum())
    times = struct.pack(">QQIQ", 0, 0, frames.ticks_per_s, ticks)  # made, changed: never, so that bytes are the same
    movie = _full(b"mvhd", times, struct.pack(">iHHII", 1 << 16, 0, 0, 0, 0), UNITY, bytes(24), _u32(2), version=1)
    place = struct.pack(">QQIIQ", 0, 0, 1, 0, ticks) + bytes(16) + UNITY + struct.pack(">II", columns << 16, rows << 16)
    media = _box(
        b"mdia",
        _full(b"mdhd", times, struct.pack(">HH", 0x55C4, 0), version=1),  # language: undetermined
        _full(b"hdlr", bytes(4), b"vide", bytes(12), b"\0"),
        _box(
            b"minf",
            _full(b"vmhd", bytes(8), flags=1),
            _box(b"dinf", _full(b"dref", _u32(1), _full(b"url ", flags=1))),
            _box(b"stbl", *_tables(frames, columns, rows, start)),
        ),
    )
    return _box(b"moov", movie, _box(b"trak", _full(b"tkhd", place, version=1, flags=3), media))


def _tables(frames: Frames, columns: int, rows: int, start: int) -> Sequence[bytes]:
    n = len(frames.sizes)
    largest = int(frames.sizes.max())
    settings = struct.pack(">BB3sII", JPEG, VISUAL, min(largest, 0xFFFFFF).to_bytes(3, "big"), 0, 0)
    decoder = b"\x04" + bytes([len(settings)]) + settings
    stream = struct.pack(">HB", 1, 0) + decoder + b"\x06\x01\x02"
    described = _full(b"esds", b"\x03" + bytes([len(stream)]) + stream)
    look = bytes(6) + struct.pack(">H", 1) + bytes(16) + struct.pack(">HH", columns, rows)
    look += struct.pack(">IIIH", 72 << 16, 72 << 16, 0, 1) + bytes(32) + struct.pack(">Hh", 24, -1)
    runs = [(len(list(run)), each) for each, run in groupby(frames.durations.tolist())]
    return (
        _full(b"stsd", _u32(1), _box(b"mp4v", look, described)),
        _full(b"stts", _u32(len(runs)), *(_u32(count, ticks) for count, ticks in runs)),
        _full(b"stsc", _u32(1), _u32(1, n, 1)),  # all frames lie in one piece
        _full(b"stsz", _u32(0, n), frames.sizes.astype(">u4").tobytes()),
        _full(b"co64", _u32(1), struct.pack(">Q", start)),
    )


def _u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def _box(kind: bytes, *content: bytes) -> bytes:
    return _u32(8 + sum(map(len, content))) + kind + b"".join(content)


def _full(kind: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, bytes([version]) + flags.to_bytes(3, "big"), *content)
