"""What the files of Inscopix look like, checked without native code.

The native library trusts what it reads: a damaged file can end the process that opens it, take all its memory or
block it for ever. `check` reads the few bytes that decide and says in one sentence what is wrong.

Formats, as Inscopix's own library writes and reads them (github.com/inscopix/isxcore):

- `.isxd`: data, then JSON in UTF-8, then a NUL, then the length of the JSON as a little-endian uint64.
- `.isxb`: a header of 12 uint64, then video (Motion JPEG), frame metadata and session (both JSON).
- `.gpio`: packets that start with the word 0x0000AA55, usually after a header.
- `.imu`: a header, then arrays of 16-byte samples, then the session (JSON).
"""

from __future__ import annotations

import json
import os
import re
import stat
import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

from recording.errors import BadRecording
from recording.kinds import KIND_OF_TYPE

SUFFIXES = (".isxd", ".isxb", ".gpio", ".imu")

DTYPE_OF_TYPE = {0: "<u2", 1: "<f4", 2: "|u1"}

FRAME_MARGIN = 5120  # bytes before and after each frame, where the sensor's header and footer are kept
PACKET_SIZE = 20  # of an event: <u8 offset in µs, u8 channel, f4 value>

MAX_JSON = 64 << 20
MAX_DEPTH = 100  # the native parser recurses; real footers stay below 20
MAX_SAMPLES = 1 << 31
CHUNK = 50_000 * PACKET_SIZE

GPIO_SYNC = struct.pack("<I", 0x0000AA55)
GPIO_HEADER = struct.Struct("<QQiIQ")  # start: numerator, denominator, UTC offset; event data offset, event count
IMU_HEADER = struct.Struct("<QQiHH" + "QQQ" * 3 + "QQ")  # start, then count, offset, size of each, then the session
ISXB_HEADER = struct.Struct("<QQQq" + "Q" * 8)


@dataclass(frozen=True)
class RecordingInfo:
    """What can be told of a recording without opening it in the library."""

    path: Path
    kind: str
    size: int  # bytes
    mtime_ns: int
    n_samples: int = 0  # frames, or samples of a trace; invalid ones included
    start: datetime | None = None  # with the recording's own offset from UTC
    period_s: float = 0.0
    width: int = 0  # px
    height: int = 0  # px
    pixel_um: tuple[float, float] = (0.0, 0.0)  # width, height
    names: tuple[str, ...] = ()  # of cells, channels or vessels

    @property
    def end(self) -> datetime | None:
        """When the last sample ends."""
        if self.start is None:
            return None
        try:
            return self.start + timedelta(seconds=self.n_samples * self.period_s)
        except OverflowError:
            return None

    @property
    def series_key(self) -> tuple[object, ...]:
        """Equal for recordings that may be parts of one series, if their times do not overlap."""
        cells = self.names if self.kind in ("cell_set", "event_set", "vessel_set") else ()
        return (self.kind, self.width, self.height, self.pixel_um, round(self.period_s, 6), cells)


@dataclass(frozen=True)
class MovieLayout:
    """Where the frames of an `.isxd` movie or image lie in its file.

    Only valid frames are stored: dropped, cropped and blank ones take no room.
    """

    dtype: str  # as NumPy spells it
    rows: int
    columns: int
    offset: int  # bytes, from the start of the file to the first pixel
    stride: int  # bytes, from one stored frame to the next
    n_samples: int
    n_stored: int
    dropped: tuple[int, ...] = ()
    cropped: tuple[tuple[int, int], ...] = ()  # first and last, both cropped
    blank: tuple[int, ...] = ()
    has_timestamps: bool = False  # hardware time in each frame's header


def read_footer(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON footer of an `.isxd` file. Raises BadRecording."""
    with _opened(path) as file:
        return file.footer()


def data_size(path: str | os.PathLike[str]) -> int:
    """Bytes before the footer of an `.isxd` file. Raises BadRecording."""
    with _opened(path) as file:
        file.footer()
        return file.data_end


def has_packets(footer: dict[str, Any]) -> bool:
    """Whether events, GPIO or IMU are stored as packets, as in all but the oldest files."""
    return footer.get("fileType", 0) != 0


def movie_layout(path: str | os.PathLike[str]) -> MovieLayout:
    """Where the frames of a movie or image lie. Raises BadRecording, also where frames are missing."""
    with _opened(path) as file:
        footer = file.footer()
        if KIND_OF_TYPE.get(_whole(file, footer, "type")) not in ("movie", "image"):
            file.refuse("it holds no frames: it is not a movie or an image")
        return _layout(file, footer)


def check(path: str | os.PathLike[str]) -> RecordingInfo:
    """Pre-check: refuse what the library cannot read or would not survive, and never a sound file.

    Raises BadRecording. Never blocks, needs memory for one footer, and reads no pixel data.
    """
    with _opened(path) as file:
        checker = _CHECKERS.get(file.path.suffix.lower())
        if checker is None:
            file.refuse(f"not a recording: its name ends in none of {', '.join(SUFFIXES)}")
        try:
            return checker(file)
        except OSError as error:
            file.refuse(f"cannot be read: {error.strerror}")
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a field of a type that nothing expects
            file.refuse(f"its metadata are damaged: {error}")


# ---- files


class _File:
    """A regular file, opened for reading at given places."""

    def __init__(self, path: Path, fd: int, status: os.stat_result) -> None:
        self.path, self.fd = path, fd
        self.size, self.mtime_ns = status.st_size, status.st_mtime_ns
        self.data_end = self.size  # the footer moves it

    def refuse(self, reason: str) -> NoReturn:
        raise BadRecording(self.path, reason)

    def read(self, offset: int, n_bytes: int) -> bytes:
        parts = []
        while n_bytes > 0:
            part = os.pread(self.fd, n_bytes, offset)
            if not part:
                self.refuse("the file became shorter while it was read")
            parts.append(part)
            offset, n_bytes = offset + len(part), n_bytes - len(part)
        return b"".join(parts)

    def chunks(self, start: int, end: int, n_bytes: int = CHUNK) -> Iterator[bytes]:
        for offset in range(start, end, n_bytes):
            yield self.read(offset, min(n_bytes, end - offset))

    def footer(self) -> dict[str, Any]:
        if self.size < 11:  # {}, NUL and length
            self.refuse(f"too short to be a recording ({self.size} bytes)" if self.size else "the file is empty")
        (length,) = struct.unpack("<Q", self.read(self.size - 8, 8))
        if not 2 <= length <= self.size - 9:
            self.refuse("no footer at its end: the recording was cut short, or this is not an Inscopix file")
        self.data_end = self.size - 9 - length
        return self.json(self.data_end, length, "footer")

    def json(self, offset: int, length: int, what: str) -> dict[str, Any]:
        if length > MAX_JSON:
            self.refuse(f"its {what} claims {length} bytes, more than any recording needs")
        text = self.read(offset, length).rstrip(b"\0")
        if _depth(text) > MAX_DEPTH:
            self.refuse(f"its {what} is nested more than {MAX_DEPTH} deep, which no recording is")
        try:
            content = json.loads(text.decode("utf-8"), parse_constant=_no_constant)
        except ValueError as error:
            self.refuse(f"its {what} is damaged: {error}")
        if not isinstance(content, dict):
            self.refuse(f"its {what} is damaged: not a JSON object")
        return content


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[_File]:
    """Only regular files are opened, and never waited for: a FIFO would block, a device could do anything."""
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BadRecording(path, "not a regular file")
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BadRecording(path, f"cannot be opened: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        raise BadRecording(path, f"cannot be opened: {error}") from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise BadRecording(path, "not a regular file")
        yield _File(path, fd, status)
    finally:
        os.close(fd)


_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _depth(text: bytes) -> int:
    """How deep JSON is nested, found without recursion."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return 0
    brackets = _STRINGS.sub(b"", text).translate(None, _NOT_BRACKETS)
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# ---- fields


def _field(file: _File, holder: Any, name: str) -> Any:
    if not isinstance(holder, dict) or name not in holder:
        file.refuse(f"its footer is damaged: no {name}")
    return holder[name]


def _whole(file: _File, holder: Any, name: str, low: int = 0, high: int = (1 << 63) - 1) -> int:
    value = _field(file, holder, name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        file.refuse(f"its footer is damaged: {name} is {_short(value)}")
    return value


def _list(file: _File, holder: Any, name: str) -> list[Any]:
    value = _field(file, holder, name)
    if not isinstance(value, list):
        file.refuse(f"its footer is damaged: {name} is not a list")
    return value


def _names(file: _File, holder: Any, name: str) -> tuple[str, ...]:
    names = _list(file, holder, name)
    if not all(isinstance(each, str) for each in names):
        file.refuse(f"its footer is damaged: {name} are not all text")
    return tuple(names)


def _ratio(file: _File, holder: Any, name: str, low: float, high: float) -> Fraction:
    ratio = _field(file, holder, name)
    num = _whole(file, ratio, "num", low=-(1 << 63))
    den = _whole(file, ratio, "den", low=1, high=10**12)
    value = Fraction(num, den)
    if not low <= value <= high:
        file.refuse(f"its footer is damaged: {name} is {float(value):g}")
    return value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _time(file: _File, holder: Any, name: str) -> tuple[Fraction, int]:
    """Seconds since the epoch, and offset from UTC in seconds."""
    time = _field(file, holder, name)
    seconds = _ratio(file, time, "secsSinceEpoch", -1e12, 1e12)
    return seconds, _whole(file, time, "utcOffset", low=-(1 << 31), high=(1 << 31) - 1)


def _datetime(seconds: Fraction, utc_offset: int) -> datetime | None:
    """Of a time; the zone is UTC where the offset is absurd, None where the time itself is."""
    zone = timezone(timedelta(seconds=utc_offset)) if abs(utc_offset) < 86400 else timezone.utc
    try:
        epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
        return (epoch + timedelta(microseconds=round(seconds * 1_000_000))).astimezone(zone)
    except OverflowError:
        return None


@dataclass(frozen=True)
class _Timing:
    n_samples: int
    period_s: float
    start: datetime | None
    dropped: tuple[int, ...]
    cropped: tuple[tuple[int, int], ...]
    blank: tuple[int, ...]

    @property
    def n_stored(self) -> int:
        """How many samples are neither dropped, cropped nor blank."""
        ranges = sorted([*self.cropped, *((i, i) for i in {*self.dropped, *self.blank})])
        invalid, covered = 0, -1
        for first, last in ranges:
            invalid += max(0, last - max(first - 1, covered))
            covered = max(covered, last)
        return self.n_samples - invalid


def _timing(file: _File, footer: dict[str, Any]) -> _Timing:
    timing = _field(file, footer, "timingInfo")
    n_samples = _whole(file, timing, "numTimes", high=MAX_SAMPLES)
    period = _ratio(file, timing, "period", 1e-9, 1e9)
    start = _datetime(*_time(file, timing, "start"))

    def indices(name: str) -> tuple[int, ...]:
        found = _list(file, timing, name) if name in timing else []
        if not all(isinstance(i, int) and 0 <= i < n_samples for i in found):
            file.refuse(f"its footer is damaged: {name} frames that the recording does not have")
        return tuple(found)

    cropped = _list(file, timing, "cropped") if "cropped" in timing else []
    ranges = tuple(_range(file, each, n_samples) for each in cropped)
    return _Timing(n_samples, float(period), start, indices("dropped"), ranges, indices("blank"))


def _range(file: _File, text: Any, n_samples: int) -> tuple[int, int]:
    """Of "4 - 5" or "4"; old files hold single numbers."""
    found = re.fullmatch(r"(\d{1,18})(?: - (\d{1,18}))?", str(text))
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if not first <= last < n_samples:
        file.refuse(f"its footer is damaged: cropped frames {_short(text)}")
    return first, last


@dataclass(frozen=True)
class _Spacing:
    width: int
    height: int
    pixel_um: tuple[float, float]

    @property
    def n_pixels(self) -> int:
        return self.width * self.height


def _spacing(file: _File, footer: dict[str, Any]) -> _Spacing:
    spacing = _field(file, footer, "spacingInfo")
    pixels, size = _field(file, spacing, "numPixels"), _field(file, spacing, "pixelSize")
    corner = _field(file, spacing, "topLeft")
    for axis in "xy":
        _ratio(file, corner, axis, -1e12, 1e12)
    width, height = (_whole(file, pixels, axis, low=1, high=1 << 20) for axis in "xy")
    across, down = (float(_ratio(file, size, axis, 1e-9, 1e9)) for axis in "xy")
    return _Spacing(width, height, (across, down))


# ---- one check for each kind


def _check_isxd(file: _File) -> RecordingInfo:
    footer = file.footer()
    number = _whole(file, footer, "type")
    kind = KIND_OF_TYPE.get(number)
    if kind is None:
        file.refuse(f"holds data of type {number}, which cannot be read here")
    return _ISXD_CHECKERS[kind](file, footer, kind)


def _info(file: _File, kind: str, timing: _Timing, spacing: _Spacing | None = None, **more: Any) -> RecordingInfo:
    place = {"width": spacing.width, "height": spacing.height, "pixel_um": spacing.pixel_um} if spacing else {}
    return RecordingInfo(
        path=file.path,
        kind=kind,
        size=file.size,
        mtime_ns=file.mtime_ns,
        n_samples=timing.n_samples,
        start=timing.start,
        period_s=timing.period_s,
        **place,
        **more,
    )


def _layout(file: _File, footer: dict[str, Any]) -> MovieLayout:
    timing, spacing = _timing(file, footer), _spacing(file, footer)
    if timing.n_samples == 0:
        file.refuse("the movie has no frames")
    data_type = _whole(file, footer, "dataType")
    if data_type not in DTYPE_OF_TYPE:
        file.refuse(f"its pixels are of type {data_type}, which cannot be read here")
    dtype = DTYPE_OF_TYPE[data_type]
    margin = 0
    if footer.get("fileVersion", 0) and _field(file, footer, "hasFrameHeaderFooter"):
        margin = FRAME_MARGIN
    stride = spacing.n_pixels * int(dtype[-1]) + 2 * margin
    if timing.n_stored * stride > file.data_end:
        file.refuse(
            f"holds {file.data_end // stride} of the {timing.n_stored} frames that it should: "
            "it was cut short, copy it again"
        )
    return MovieLayout(
        dtype=dtype,
        rows=spacing.height,
        columns=spacing.width,
        offset=margin,
        stride=stride,
        n_samples=timing.n_samples,
        n_stored=timing.n_stored,
        dropped=timing.dropped,
        cropped=timing.cropped,
        blank=timing.blank,
        has_timestamps=bool(margin) and _writes_timestamps(footer),
    )


def _writes_timestamps(footer: dict[str, Any]) -> bool:
    """Whether the acquisition software wrote the hardware time into frame headers: since version 1.1.1."""
    try:
        version = footer["extraProperties"]["producer"]["version"]
        return tuple(int(part) for part in re.findall(r"\d+", version)[:3]) >= (1, 1, 1)
    except (KeyError, TypeError):
        return False


def _check_movie(file: _File, footer: dict[str, Any], kind: str) -> RecordingInfo:
    _layout(file, footer)
    return _info(file, kind, _timing(file, footer), _spacing(file, footer))


def _check_cell_set(file: _File, footer: dict[str, Any], kind: str) -> RecordingInfo:
    timing, spacing = _timing(file, footer), _spacing(file, footer)
    names = _names(file, footer, "CellNames")
    _same_length(file, footer, names, "CellStatuses", "CellActivity", "CellColors")
    _statuses(file, footer, "CellStatuses")
    expected = len(names) * 4 * (spacing.n_pixels + timing.n_samples)
    if expected != file.data_end:
        file.refuse(f"holds {file.data_end} bytes of footprints and traces where {expected} belong: it is damaged")
    return _info(file, kind, timing, spacing, names=names)


def _check_vessel_set(file: _File, footer: dict[str, Any], kind: str) -> RecordingInfo:
    timing, spacing = _timing(file, footer), _spacing(file, footer)
    names = _names(file, footer, "VesselNames")
    _same_length(file, footer, names, "VesselStatuses", "VesselActivity", "VesselColors", "VesselCorrelationSizes")
    _statuses(file, footer, "VesselStatuses")
    try:
        is_velocity = footer["extraProperties"]["idps"]["vesselset"]["type"] == "red blood cell velocity"
    except (KeyError, TypeError):
        file.refuse("its footer is damaged: it does not say which kind of vessels it holds")
    maps = footer.get("VesselCorrelationSizes") or [[0, 0]] * len(names)
    sizes = [_whole(file, {"size": size}, "size", high=1 << 16) for pair in maps for size in (pair[0], pair[1])]
    traces = 1 + bool(footer.get("VesselCenterSaved")) + bool(footer.get("VesselDirectionSaved"))
    floats = sum(timing.n_samples * (traces + 3 * w * h) for w, h in zip(sizes[::2], sizes[1::2]))
    points = len(names) * (4 if is_velocity else 2)
    if names and 4 * (spacing.n_pixels + floats) + 16 * points > file.data_end:
        file.refuse("holds less than its vessels need: it was cut short")
    return _info(file, kind, timing, spacing, names=names)


def _same_length(file: _File, footer: dict[str, Any], names: tuple[str, ...], *keys: str) -> None:
    for key in keys:
        if footer.get(key) is not None and len(_list(file, footer, key)) != len(names):
            file.refuse(f"its footer is damaged: {len(names)} names but {len(footer[key])} {key}")


def _statuses(file: _File, footer: dict[str, Any], key: str) -> None:
    if any(status not in (0, 1, 2) for status in _list(file, footer, key)):
        file.refuse(f"its footer is damaged: {key} has an unknown status")


def _check_events(file: _File, footer: dict[str, Any], kind: str) -> RecordingInfo:
    """Events, GPIO and IMU. The library crashes on a packet of a channel that is not there."""
    if not has_packets(footer):
        return RecordingInfo(file.path, kind, file.size, file.mtime_ns)
    _whole(file, footer, "fileType", low=1, high=1)
    _whole(file, footer, "fileVersion", low=1)
    names = _names(file, footer, "channel list")
    _same_length(file, footer, names, "signalSteps", "signalTypes", "startOffsets", "numSamples")
    for key in ("signalSteps", "signalTypes", "startOffsets", "numSamples"):
        _list(file, footer, key)
    steps = [_ratio(file, {"step": step}, "step", 0, 1e9) for step in footer["signalSteps"]]
    if file.data_end % PACKET_SIZE:
        file.refuse("its data end in the middle of an event: it is damaged")
    n_packets = file.data_end // PACKET_SIZE
    for i, count in enumerate(footer["numSamples"]):
        _whole(file, {"numSamples": count}, "numSamples", high=max(n_packets, 0))
        _whole(file, {"signalTypes": footer["signalTypes"][i]}, "signalTypes", high=255)
    times = _list(file, footer, "global times")
    if len(times) != 2:
        file.refuse("its footer is damaged: no start and end")
    (start, offset), (end, _) = (_time(file, {"time": time}, "time") for time in times)
    if end < start:
        file.refuse("its footer is damaged: it ends before it starts")
    _check_channels(file, len(names))
    chosen = min if kind == "imu" else max  # as the library does
    period = chosen(steps, default=Fraction(0)) or Fraction(1, 1000)
    n_samples = round((end - start) / period)
    if n_samples > MAX_SAMPLES:
        file.refuse(f"its footer is damaged: it claims {n_samples} samples")
    timing = _Timing(n_samples, float(period), _datetime(start, offset), (), (), ())
    return _info(file, kind, timing, names=names)


def _check_channels(file: _File, n_channels: int) -> None:
    for chunk in file.chunks(0, file.data_end):
        words = array("I")
        words.frombytes(chunk)
        low, high = words[2::5], words[3::5]
        if max(low) >= n_channels or any(high):
            file.refuse(f"an event names a channel that is not among its {n_channels}: it is damaged")


def _check_gpio(file: _File) -> RecordingInfo:
    if file.size < 16:
        file.refuse("too short to hold a GPIO packet")
    start, offset = None, 0
    if file.read(0, 4) != GPIO_SYNC:
        if file.size < GPIO_HEADER.size:
            file.refuse("too short to hold its header")
        num, den, utc_offset, offset, _ = GPIO_HEADER.unpack(file.read(0, GPIO_HEADER.size))
        if not 0 < den <= 10**12 or num >= 1 << 63:
            file.refuse("not a GPIO recording: its header holds no start time")
        if offset >= file.size:
            file.refuse("its header says that packets start after its end: it was cut short")
        start = _datetime(Fraction(num, den), utc_offset)
    if not any(GPIO_SYNC in chunk for chunk in file.chunks(0, file.size)):
        file.refuse("holds no GPIO packet")
    return RecordingInfo(file.path, "gpio", file.size, file.mtime_ns, start=start)


def _check_imu(file: _File) -> RecordingInfo:
    if file.size < IMU_HEADER.size:
        file.refuse("too short to hold its header")
    num, den, utc_offset, _, _, *rest = IMU_HEADER.unpack(file.read(0, IMU_HEADER.size))
    if not 0 < den <= 10**12 or num >= 1 << 63:
        file.refuse("not an IMU recording: its header holds no start time")
    arrays = {"accelerometer": rest[0:3], "magnetometer": rest[3:6], "orientation": rest[6:9]}
    for name, (count, offset, size) in arrays.items():
        if size != 16 * count:
            file.refuse(f"its header is damaged: {count} {name} samples in {size} bytes")
        if count and offset + size > file.size:
            file.refuse(f"its {name} samples lie beyond its end: it was cut short")
    n_samples = max(rest[0], rest[6])
    if n_samples == 0:
        file.refuse("holds no samples")
    session_offset, session_size = rest[9:11]
    if session_offset < file.size:
        length = min(session_size or file.size, file.size - session_offset)
        file.json(session_offset, length, "session")
    return RecordingInfo(
        file.path,
        "imu",
        file.size,
        file.mtime_ns,
        n_samples=n_samples,
        start=_datetime(Fraction(num, den), utc_offset),
        period_s=0.02,  # unless the session says otherwise; the library reads it
    )


@dataclass(frozen=True)
class IsxbHeader:
    """The header of an `.isxb` file; offsets and sizes in bytes."""

    version: int
    header_size: int
    epoch_ms: int
    utc_offset_min: int
    n_frames: int
    n_dropped: int
    video_offset: int
    video_size: int
    meta_offset: int
    meta_size: int
    session_offset: int
    session_size: int


def _check_isxb(file: _File) -> RecordingInfo:
    header, meta, session = _isxb(file)
    samples = _list(file, meta, "samples")
    if len(samples) != header.n_frames or not samples:
        file.refuse(f"describes {len(samples)} frames but claims {header.n_frames}: it is damaged")
    n_samples = header.n_frames + header.n_dropped
    if n_samples > MAX_SAMPLES:
        file.refuse(f"its header is damaged: it claims {n_samples} frames")
    first, last = samples[0], samples[-1]
    ticks = _whole(file, last, "tsc") - _whole(file, first, "tsc")
    frames = _whole(file, last, "fc") - _whole(file, first, "fc")
    if n_samples > 1 and (ticks <= 0 or frames <= 0):
        file.refuse("its frame metadata are damaged: time does not advance")
    dropped = meta.get("droppedFrames") or []
    if not isinstance(dropped, list) or not all(isinstance(i, int) and 0 <= i < n_samples for i in dropped):
        file.refuse("its frame metadata are damaged: droppedFrames")
    if dropped and len(set(dropped)) != header.n_dropped:
        file.refuse(f"lists {len(set(dropped))} dropped frames but claims {header.n_dropped}: it is damaged")
    camera = _field(file, session, "cameraName")
    view = _field(file, _field(file, _field(file, session, "processingInterface"), str(camera)), "recordFov")
    for name in ("originx", "originy"):
        _whole(file, view, name)
    tracked = "trackingInterface" in session or any("tracker" in sample for sample in samples)
    return RecordingInfo(
        file.path,
        "nvision" if tracked else "behavior_movie",
        file.size,
        file.mtime_ns,
        n_samples=n_samples,
        start=_datetime(Fraction(header.epoch_ms, 1000), header.utc_offset_min * 60),
        period_s=ticks / frames / 1e6 if frames else 0.0,
        width=_whole(file, view, "width", low=1, high=1 << 16),
        height=_whole(file, view, "height", low=1, high=1 << 16),
    )


def _isxb(file: _File) -> tuple[IsxbHeader, dict[str, Any], dict[str, Any]]:
    if file.size < ISXB_HEADER.size:
        file.refuse("too short to hold its header")
    header = IsxbHeader(*ISXB_HEADER.unpack(file.read(0, ISXB_HEADER.size)))
    segments = {
        "video": (header.video_offset, header.video_size),
        "frame metadata": (header.meta_offset, header.meta_size),
        "session": (header.session_offset, header.session_size),
    }
    for name, (offset, size) in segments.items():
        if size == 0 or offset + size > file.size:
            file.refuse(f"its {name} should lie at bytes {offset} to {offset + size} of {file.size}: it was cut short")
    meta = file.json(header.meta_offset, header.meta_size, "frame metadata")
    return header, meta, file.json(header.session_offset, header.session_size, "session")


def read_isxb(path: str | os.PathLike[str]) -> tuple[IsxbHeader, dict[str, Any], dict[str, Any]]:
    """Header, frame metadata and session of an `.isxb` file. Raises BadRecording."""
    with _opened(path) as file:
        return _isxb(file)


_CHECKERS = {".isxd": _check_isxd, ".isxb": _check_isxb, ".gpio": _check_gpio, ".imu": _check_imu}
_ISXD_CHECKERS = {
    "movie": _check_movie,
    "image": _check_movie,
    "cell_set": _check_cell_set,
    "vessel_set": _check_vessel_set,
    "event_set": _check_events,
    "gpio": _check_events,
    "imu": _check_events,
}
