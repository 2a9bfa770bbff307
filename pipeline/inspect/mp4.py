"""MP4 files: reading their boxes, and writing tracks of films (ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

JPEG, VISUAL = 0x6C, 0x11  # object type of Motion JPEG (ISO/IEC 14496-1); stream type, as MPEG-4 packs it
UNITY = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)  # the matrix that changes nothing
INNER = (b"moov", b"trak", b"mdia", b"edts", b"minf", b"stbl")  # boxes that hold boxes


@dataclass(frozen=True)
class Track:
    """Pictures that lie one after the other in the file. Tracks of a film show the same, each in its own way."""

    entry: bytes  # how they are encoded: the box of the table `stsd`
    sizes: np.ndarray  # bytes of each
    start: int  # bytes from the file's start to the first
    keyframes: Sequence[int] = ()  # those that need no other, if that is not all


def boxes(data: bytes | bytearray | memoryview, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and end of the contents of each box, including the boxes inside the movie's own tree."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            (size,), header = struct.unpack_from(">Q", data, start + 8), 16
        yield kind, start + header, start + size
        if kind in INNER:
            yield from boxes(data, start + header, start + size)
        start += size


def head() -> bytes:
    """The box with which a file begins."""
    return _box(b"ftyp", b"isom", bytes(4), b"isom", b"iso2", b"av01", b"mp41")


def index(tracks: Sequence[Track], durations: np.ndarray, ticks_per_s: int, columns: int, rows: int) -> bytes:
    """The box `moov` of tracks that show the same. `durations`, in ticks, are how long each picture is shown.

    Its length follows from the numbers of pictures and keyframes. The times at which it was made are left at 0, so that
    the same film has the same bytes.
    """
    ticks = int(durations.sum())
    times = struct.pack(">QQIQ", 0, 0, ticks_per_s, ticks)
    still = struct.pack(">iHHII", 1 << 16, 0, 0, 0, 0)
    movie = _full(b"mvhd", times, still, UNITY, bytes(24), _u32(len(tracks) + 1), version=1)
    shown = b"".join(_u32(count, ticks_shown) for ticks_shown, count in _runs(durations))
    media = (times, ticks, shown)
    return _box(b"moov", movie, *(_track(i + 1, track, media, columns, rows) for i, track in enumerate(tracks)))


def jpeg_entry(columns: int, rows: int, largest: int) -> bytes:
    """Motion JPEG; `largest` is the size of a frame in bytes."""
    settings = struct.pack(">BB3sII", JPEG, VISUAL, min(largest, 0xFFFFFF).to_bytes(3, "big"), 0, 0)
    decoder = b"\x04" + bytes([len(settings)]) + settings
    stream = struct.pack(">HB", 1, 0) + decoder + b"\x06\x01\x02"
    described = _full(b"esds", b"\x03" + bytes([len(stream)]) + stream)
    look = bytes(6) + struct.pack(">H", 1) + bytes(16) + struct.pack(">HH", columns, rows)
    look += struct.pack(">IIIH", 72 << 16, 72 << 16, 0, 1) + bytes(32) + struct.pack(">Hh", 24, -1)
    return _box(b"mp4v", look, described)


def samples(film: memoryview) -> tuple[bytes, list[bytes]]:
    """How the pictures of a film's only track are encoded (its entry), and each of them."""
    content = {kind: film[start:end] for kind, start, end in boxes(film, 0, len(film))}
    (n,) = struct.unpack_from(">I", content[b"stsz"], 8)
    sizes = np.frombuffer(content[b"stsz"], ">u4", n, 12)
    n_pieces, at = struct.unpack_from(">II", content[b"stco"], 4)
    if n_pieces != 1:
        raise ValueError("the encoder writes its pictures in several pieces")
    ends = (at + np.cumsum(sizes, dtype=np.int64)).tolist()
    return bytes(content[b"stsd"][8:]), [bytes(film[end - size : end]) for end, size in zip(ends, sizes.tolist())]


def _track(number: int, track: Track, media: tuple[bytes, int, bytes], columns: int, rows: int) -> bytes:
    times, ticks, shown = media
    one_of_them = struct.pack(">QHHHH", 0, 0, 1, 0, 0)  # an alternate group: a player shows the one that it knows
    place = struct.pack(">QQIIQ", 0, 0, number, 0, ticks) + one_of_them
    place += UNITY + struct.pack(">II", columns << 16, rows << 16)
    content = _box(
        b"mdia",
        _full(b"mdhd", times, struct.pack(">HH", 0x55C4, 0), version=1),  # language: undetermined
        _full(b"hdlr", bytes(4), b"vide", bytes(12), b"\0"),
        _box(
            b"minf",
            _full(b"vmhd", bytes(8), flags=1),
            _box(b"dinf", _full(b"dref", _u32(1), _full(b"url ", flags=1))),
            _box(b"stbl", *_tables(track, shown)),
        ),
    )
    return _box(b"trak", _full(b"tkhd", place, version=1, flags=3), content)


def _tables(track: Track, shown: bytes) -> Iterator[bytes]:
    n = len(track.sizes)
    yield _full(b"stsd", _u32(1), track.entry)
    yield _full(b"stts", _u32(len(shown) // 8), shown)
    if track.keyframes:
        yield _full(b"stss", _u32(len(track.keyframes), *(keyframe + 1 for keyframe in track.keyframes)))
    yield _full(b"stsc", _u32(1), _u32(1, n, 1))  # all of them lie in one piece
    yield _full(b"stsz", _u32(0, n), track.sizes.astype(">u4").tobytes())
    yield _full(b"co64", _u32(1), struct.pack(">Q", track.start))


def _runs(values: np.ndarray) -> list[tuple[int, int]]:
    return [(value, len(list(run))) for value, run in groupby(values.tolist())]


def _u32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def _box(kind: bytes, *content: bytes) -> bytes:
    return _u32(8 + sum(map(len, content))) + kind + b"".join(content)


def _full(kind: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, bytes([version]) + flags.to_bytes(3, "big"), *content)
