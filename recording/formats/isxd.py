"""`.isxd`: data, then JSON in UTF-8, then a NUL, then the length of the JSON as a little-endian uint64.

One check for each kind of data. As Inscopix's own library writes and reads it (github.com/inscopix/isxcore).
"""

from __future__ import annotations

import os
import re
import struct
from array import array
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from recording.findings import Origin, RecordingInfo
from recording.formats.fields import (
    BYTES_OF_MISSING,
    MAX_SAMPLES,
    MISSING_FREE,
    field,
    listed,
    names_in,
    ratio,
    time,
    to_datetime,
    whole,
)
from recording.formats.file import Damaged, File, opened
from recording.formats.origin import of_acquisition
from recording.formats.timing import Timing, read_timing
from recording.kinds import KIND_OF_TYPE

DTYPE_OF_TYPE = {0: "<u2", 1: "<f4", 2: "|u1"}

FRAME_MARGIN = 5120  # bytes before and after each frame, where the sensor's header and footer are kept
CLOCK_AT = 1272 * 2  # bytes into the header: the hardware time in 8 pixels of 12 bits, 8 of which are used
PACKET_SIZE = 20  # of an event: <u8 offset in µs, u8 channel, f4 value>
CHECKED = 10_000_000 * PACKET_SIZE  # bytes of events; the worker sees the rest
IMU_CHANNELS = 100  # three axes of three sensors; each channel has a column for all times of all of them
CHUNK = 50_000 * PACKET_SIZE


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
    with opened(path) as file:
        return _read(file).footer


def data_size(path: str | os.PathLike[str]) -> int:
    """Bytes before the footer of an `.isxd` file. Raises BadRecording."""
    with opened(path) as file:
        return _read(file).data_size


def has_packets(footer: dict[str, Any]) -> bool:
    """Whether events, GPIO or IMU are stored as packets, as in all but the oldest files."""
    return footer.get("fileType", 0) != 0


def extra_properties(footer: dict[str, Any]) -> dict[str, Any]:
    """What the acquisition software and, under `idps`, IDPS noted; without what is no object, and so says nothing."""
    noted = footer.get("extraProperties")
    noted = dict(noted) if isinstance(noted, dict) else {}
    if not isinstance(noted.get("idps", {}), dict):
        del noted["idps"]
    return noted


def states_version(footer: dict[str, Any]) -> bool:
    """Whether the acquisition software's version is there, by which its frames' headers are understood."""
    producer = extra_properties(footer).get("producer")
    return isinstance(producer, dict) and isinstance(producer.get("version"), str)


def movie_layout(path: str | os.PathLike[str]) -> MovieLayout:
    """Where the frames of a movie or image lie. Raises BadRecording, also if frames are missing."""
    with opened(path) as file:
        one = _read(file)
        if one.kind not in ("movie", "image"):
            raise Damaged("it holds no frames: it is not a movie or an image")
        return _layout(one)


def check(file: File) -> RecordingInfo:
    one = _read(file)
    if one.kind is None:
        raise Damaged(f"holds data of type {one.footer['type']}, which cannot be read here")
    check_kind = _CHECKS.get(one.kind)  # the worker of a kind without a check will see, and is safe to lose
    return check_kind(one) if check_kind else one.file.info(one.kind)


# ---- common to all kinds


@dataclass(frozen=True)
class _Isxd:
    file: File
    footer: dict[str, Any]
    data_size: int  # bytes before the footer

    @property
    def kind(self) -> str | None:
        return KIND_OF_TYPE.get(whole(self.footer, "type"))

    def origin(self, **more: Any) -> Origin:
        return of_acquisition(self.footer.get("extraProperties"), **more)

    def info(self, timing: Timing, spacing: _Spacing | None = None, **more: Any) -> RecordingInfo:
        more = {"origin": self.origin(), **more}
        more |= {"n_samples": timing.n_samples, "start": timing.start, "period_s": timing.period_s}
        if spacing:
            more |= {"width": spacing.width, "height": spacing.height, "pixel_um": spacing.pixel_um}
        return self.file.info(str(self.kind), **more)


def _read(file: File) -> _Isxd:
    if file.size < 11:  # {}, NUL and length
        raise Damaged(f"too short to be a recording ({file.size} bytes)" if file.size else "the file is empty")
    (length,) = struct.unpack("<Q", file.read(file.size - 8, 8))
    if not 2 <= length <= file.size - 9:
        raise Damaged("no footer at its end: the recording was cut short, or this is not an Inscopix file")
    data_size = file.size - 9 - length
    return _Isxd(file, file.json(data_size, length, "footer"), data_size)


@dataclass(frozen=True)
class _Spacing:
    width: int
    height: int
    pixel_um: tuple[float, float]

    @property
    def n_pixels(self) -> int:
        return self.width * self.height


def _spacing(footer: dict[str, Any]) -> _Spacing:
    spacing = field(footer, "spacingInfo")
    pixels, size = field(spacing, "numPixels"), field(spacing, "pixelSize")
    corner = field(spacing, "topLeft")
    for axis in "xy":
        ratio(corner, axis, -1e12, 1e12)
    width, height = (whole(pixels, axis, low=1, high=1 << 20) for axis in "xy")
    across, down = (float(ratio(size, axis, 1e-9, 1e9)) for axis in "xy")
    return _Spacing(width, height, (across, down))


# ---- one check for each kind


def _layout(one: _Isxd) -> MovieLayout:
    timing, spacing, footer = read_timing(one.footer), _spacing(one.footer), one.footer
    if timing.n_samples == 0:
        raise Damaged("the movie has no frames")
    _in_proportion(one, timing.n_samples - timing.n_stored, "frames that are dropped, cropped or blank")
    data_type = whole(footer, "dataType")
    if data_type not in DTYPE_OF_TYPE:
        raise Damaged(f"its pixels are of type {data_type}, which cannot be read here")
    dtype = DTYPE_OF_TYPE[data_type]
    margin = 0
    if footer.get("fileVersion", 0) and field(footer, "hasFrameHeaderFooter"):
        margin = FRAME_MARGIN
    stride = spacing.n_pixels * int(dtype[-1]) + 2 * margin
    if timing.n_stored * stride > one.data_size:
        raise Damaged(
            f"holds {one.data_size // stride} of the {timing.n_stored} frames that it should: "
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


def _in_proportion(one: _Isxd, n: int, what: str) -> None:
    """Each gets a row in a table, though the file holds nothing of it."""
    if n > MISSING_FREE + one.file.size // BYTES_OF_MISSING:
        raise Damaged(f"claims {n} {what}, in a file of {one.file.size} bytes: it is damaged")


def _writes_timestamps(footer: dict[str, Any]) -> bool:
    """Whether the acquisition software wrote the hardware time into frame headers: since version 1.1.1."""
    if not states_version(footer):
        return False
    version = footer["extraProperties"]["producer"]["version"]
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3]) >= (1, 1, 1)


def _check_movie(one: _Isxd) -> RecordingInfo:
    layout, timing = _layout(one), read_timing(one.footer)
    origin = one.origin(clock_us=_first_tick(one, layout, timing))
    if layout.dtype == "<f4":  # a sensor gives whole numbers
        origin = replace(origin, is_made=True)
    return one.info(timing, _spacing(one.footer), origin=origin)


def _first_tick(one: _Isxd, layout: MovieLayout, timing: Timing) -> int | None:
    """The hardware clock in µs at the first frame, as isx has it: reckoned back if that one was dropped."""
    if not layout.has_timestamps or not layout.n_stored:
        return None
    pixels = struct.unpack("<8H", one.file.read(CLOCK_AT, 16))
    words = [(high << 4 | low >> 4) & 0xFFFF for low, high in zip(pixels[::2], pixels[1::2])]
    tick = sum(word << 16 * i for i, word in enumerate(words))
    return tick - round(timing.first_stored * timing.period_s * 1e6)


def _check_cell_set(one: _Isxd) -> RecordingInfo:
    timing, spacing, footer = read_timing(one.footer), _spacing(one.footer), one.footer
    names = names_in(footer, "CellNames")
    _same_length(footer, names, "CellStatuses")
    _statuses(footer, "CellStatuses")
    if not names:
        _in_proportion(one, timing.n_samples, "samples, but no cells")
    expected = len(names) * 4 * (spacing.n_pixels + timing.n_samples)
    if names and expected != one.data_size:  # without cells, isx writes the footer twice
        raise Damaged(f"holds {one.data_size} bytes of footprints and traces where {expected} belong: it is damaged")
    return one.info(timing, spacing, names=names)


def _check_vessel_set(one: _Isxd) -> RecordingInfo:
    timing, spacing, footer = read_timing(one.footer), _spacing(one.footer), one.footer
    names = names_in(footer, "VesselNames")
    _same_length(footer, names, "VesselStatuses", "VesselCorrelationSizes")
    _statuses(footer, "VesselStatuses")
    try:
        is_velocity = footer["extraProperties"]["idps"]["vesselset"]["type"] == "red blood cell velocity"
    except (KeyError, TypeError):
        raise Damaged("its footer is damaged: it does not say which kind of vessels it holds") from None
    if not names:
        _in_proportion(one, timing.n_samples, "samples, but no vessels")
    maps = footer.get("VesselCorrelationSizes") or [[0, 0]] * len(names)
    if any(not isinstance(pair, list) or len(pair) < 2 for pair in maps):
        raise Damaged("its footer is damaged: VesselCorrelationSizes are not all pairs of numbers")
    sizes = [whole({"size": size}, "size", high=1 << 16) for pair in maps for size in pair[:2]]
    traces = 1 + ("VesselCenterSaved" in footer) + ("VesselDirectionSaved" in footer)  # whatever they say
    floats = sum(timing.n_samples * (traces + 3 * w * h) for w, h in zip(sizes[::2], sizes[1::2]))
    points = len(names) * (4 if is_velocity else 2)
    if names and 4 * (spacing.n_pixels + floats) + 16 * points > one.data_size:
        raise Damaged("holds less than its vessels need: it was cut short")
    return one.info(timing, spacing, names=names)


def _same_length(footer: dict[str, Any], names: tuple[str, ...], *keys: str) -> None:
    for key in keys:
        if footer.get(key) is not None and len(listed(footer, key)) != len(names):
            raise Damaged(f"its footer is damaged: {len(names)} names but {len(footer[key])} {key}")


def _statuses(footer: dict[str, Any], key: str) -> None:
    if any(status not in (0, 1, 2) for status in listed(footer, key)):
        raise Damaged(f"its footer is damaged: {key} has an unknown status")


def _check_events(one: _Isxd) -> RecordingInfo:
    """Events, GPIO and IMU: the library crashes on a packet of a channel that is not there."""
    footer = one.footer
    if not has_packets(footer):
        return _oldest_events(one)
    whole(footer, "fileType", low=1, high=1)
    whole(footer, "fileVersion", low=1)
    names = names_in(footer, "channel list")
    if one.kind == "imu" and len(names) > IMU_CHANNELS:
        raise Damaged(f"its metadata are damaged: it lists {len(names)} channels, more than an IMU has")
    for key in ("signalSteps", "signalTypes", "numSamples"):
        if len(listed(footer, key)) < len(names):  # the library reads on, beyond its end
            raise Damaged(f"its footer is damaged: {len(names)} names but {len(footer[key])} {key}")
    listed(footer, "startOffsets")
    steps = [ratio({"step": step}, "step", 0, 1e9) for step in footer["signalSteps"]]
    if one.data_size % PACKET_SIZE:
        raise Damaged("its data end in the middle of an event: it is damaged")
    n_packets = one.data_size // PACKET_SIZE
    for name, high in (("numSamples", n_packets), ("signalTypes", 255)):
        for number in footer[name]:
            whole({name: number}, name, high=high)
    times = listed(footer, "global times")
    if len(times) < 2:
        raise Damaged("its footer is damaged: no start and end")
    (start, offset), (end, _) = (time({"time": moment}, "time") for moment in times[:2])
    if end < start:
        raise Damaged("its footer is damaged: it ends before it starts")
    _check_channels(one, len(names))
    chosen = min if one.kind == "imu" else max  # as the library does
    period = chosen(steps, default=Fraction(0)) or Fraction(1, 1000)
    n_samples = round((end - start) / period)
    if n_samples > MAX_SAMPLES:
        raise Damaged(f"its footer is damaged: it claims {n_samples} samples")
    timing = Timing(n_samples, float(period), to_datetime(start, offset), (), (), ())
    first = footer.get("extraProperties")
    tick = first.get("firstTsc") if isinstance(first, dict) else None
    return one.info(timing, names=names, origin=one.origin(clock_us=tick if isinstance(tick, int) else None))


def _oldest_events(one: _Isxd) -> RecordingInfo:
    """Event sets of the first kind of file, which states its times under another name, if at all."""
    try:
        timing = read_timing({"timingInfo": one.footer["timing info"]})
    except (Damaged, KeyError):
        return one.file.info(str(one.kind))
    return one.info(timing)


def _check_channels(one: _Isxd, n_channels: int) -> None:
    for chunk in one.file.chunks(0, min(one.data_size, CHECKED), CHUNK):
        words = array("I")
        words.frombytes(chunk)
        low, high = words[2::5], words[3::5]
        if max(low) >= n_channels or any(high):
            raise Damaged(f"an event names a channel that is not among its {n_channels}: it is damaged")


_CHECKS = {
    "movie": _check_movie,
    "image": _check_movie,
    "cell_set": _check_cell_set,
    "vessel_set": _check_vessel_set,
    "event_set": _check_events,
    "gpio": _check_events,
    "imu": _check_events,
}
