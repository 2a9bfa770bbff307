"""Raw `.gpio` files: packets that start with the word 0x0000AA55, usually after a header."""

from __future__ import annotations

import struct
from fractions import Fraction

from recording.findings import RecordingInfo
from recording.formats.fields import to_datetime
from recording.formats.file import MAX_JSON, Damaged, File

SYNC = struct.pack("<I", 0x0000AA55)
SEARCHED = 64 << 20  # bytes; whether a larger file holds a packet is for its worker to find out
HEADER = struct.Struct("<QQiIQ")  # start: numerator, denominator, UTC offset; event data offset, event count
LONGER = struct.Struct("<QQ")  # in newer files: version of the format, session offset


def check(file: File) -> RecordingInfo:
    if file.size < 16:
        raise Damaged("too short to hold a GPIO packet")
    start, offset = None, 0
    if file.read(0, 4) != SYNC:
        if file.size < HEADER.size:
            raise Damaged("too short to hold its header")
        num, den, utc_offset, offset, _ = HEADER.unpack(file.read(0, HEADER.size))
        if not 0 < den <= 10**12 or num >= 1 << 63:
            raise Damaged("not a GPIO recording: its header holds no start time")
        if offset >= file.size:
            raise Damaged("its header says that packets start after its end: it was cut short")
        start = to_datetime(Fraction(num, den), utc_offset)
        session = _session_offset(file)
        if 0 < session < file.size:  # the library does without one that it cannot read
            file.shallow(session, min(file.size - session, MAX_JSON), "session")
    if file.size <= SEARCHED and not any(SYNC in chunk for chunk in file.chunks(0, file.size)):
        raise Damaged("holds no GPIO packet")
    return file.info("gpio", start=start)


def _session_offset(file: File) -> int:
    """0 if there is none: then packets follow the header at once."""
    if file.size < HEADER.size + LONGER.size:
        return 0
    more = file.read(HEADER.size, LONGER.size)
    return 0 if more.startswith(SYNC) else LONGER.unpack(more)[1]
