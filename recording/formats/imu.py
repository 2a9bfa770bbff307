"""Raw `.imu` files: a header, then arrays of 16-byte samples, then the session (JSON)."""

from __future__ import annotations

import struct
from fractions import Fraction

from recording.formats.fields import to_datetime
from recording.formats.file import Damaged, File
from recording.formats.info import RecordingInfo

HEADER = struct.Struct("<QQiHH" + "QQQ" * 3 + "QQ")  # start, then count, offset, size of each, then the session


def check(file: File) -> RecordingInfo:
    if file.size < HEADER.size:
        raise Damaged("too short to hold its header")
    num, den, utc_offset, _, _, *rest = HEADER.unpack(file.read(0, HEADER.size))
    if not 0 < den <= 10**12 or num >= 1 << 63:
        raise Damaged("not an IMU recording: its header holds no start time")
    arrays = {"accelerometer": rest[0:3], "magnetometer": rest[3:6], "orientation": rest[6:9]}
    for name, (count, offset, size) in arrays.items():
        if size != 16 * count:
            raise Damaged(f"its header is damaged: {count} {name} samples in {size} bytes")
        if count and offset + size > file.size:
            raise Damaged(f"its {name} samples lie beyond its end: it was cut short")
    n_samples = max(rest[0], rest[6])
    if n_samples == 0:
        raise Damaged("holds no samples")
    session_offset, session_size = rest[9:11]
    if session_offset < file.size:
        length = min(session_size or file.size, file.size - session_offset)
        file.json(session_offset, length, "session")
    return file.info(
        "imu",
        n_samples=n_samples,
        start=to_datetime(Fraction(num, den), utc_offset),
        period_s=0.02,  # unless the session says otherwise; the library reads it
    )
