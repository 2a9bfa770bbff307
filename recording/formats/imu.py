"""Raw `.imu` files: a header, then arrays of 16-byte samples, then the session (JSON).

As isxcore, isxIMUFile.cpp, reads them: the session says how many samples there are, and the library believes it.
"""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from typing import Any

from recording.findings import RecordingInfo
from recording.formats.fields import MAX_SAMPLES, field, listed, ratio, time, to_datetime, whole
from recording.formats.file import MAX_JSON, Damaged, File, opened
from recording.formats.origin import of_acquisition

HEADER = struct.Struct("<QQiHH" + "QQQ" * 3 + "QQ")  # start, then count, offset, size of each, then the session


def check(file: File) -> RecordingInfo:
    if file.size < HEADER.size:
        raise Damaged("too short to hold its header")
    rest = HEADER.unpack(file.read(0, HEADER.size))[5:]  # what comes before, the session states too
    arrays = {"accelerometer": rest[0:3], "magnetometer": rest[3:6], "orientation": rest[6:9]}
    for name, (count, offset, size) in arrays.items():
        if size != 16 * count:
            raise Damaged(f"its header is damaged: {count} {name} samples in {size} bytes")
        if count and offset + size > file.size:
            raise Damaged(f"its {name} samples lie beyond its end: it was cut short")
    n_samples = max(rest[0], rest[6])
    if n_samples == 0:
        raise Damaged("not an IMU recording: its header states no samples")
    session = _session(file, rest[9])
    timing = field(session, "timingInfo")
    period = Fraction(20, 1000)  # unless the session says otherwise
    for name, stored in (("accelerometer", min(rest[0], rest[6])), ("magnetometer", rest[3])):
        if name in timing:
            claimed = whole(timing[name], "numTimes", high=MAX_SAMPLES) - len(listed(timing[name], "dropped"))
            if claimed > stored:  # the library would read on, beyond them
                raise Damaged(f"claims {claimed} {name} samples but holds {stored}: it is damaged")
            period_s = ratio(timing[name], "periodMs", 1e-6, 1e9) / 1000
            period = period_s if name == "accelerometer" else period
    start, _ = time(timing, "start"), time(timing, "end")
    return file.info(
        "imu",
        n_samples=n_samples,
        start=to_datetime(*start),
        period_s=float(period),
        origin=of_acquisition(session),
    )


def _session(file: File, offset: int) -> dict[str, Any]:
    """The session that begins at `offset`. The library does not use its size either."""
    if offset >= file.size:
        raise Damaged("its session should follow its samples: it was cut short")
    return file.json(offset, min(file.size - offset, MAX_JSON), "session", alone=False)


def session(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The session of an `.imu` file. Raises BadRecording."""
    with opened(path) as file:
        return _session(file, HEADER.unpack(file.read(0, HEADER.size))[-2])
