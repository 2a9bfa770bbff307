"""Raw `.gpio` files: packets that start with the word 0x0000AA55, usually after a header."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from typing import Any

from recording.findings import RecordingInfo
from recording.formats.fields import to_datetime
from recording.formats.file import MAX_JSON, Damaged, File, opened
from recording.formats.origin import of_acquisition

SYNC = struct.pack("<I", 0x0000AA55)
SEARCHED = 64 << 20  # bytes; whether a larger file holds a packet is for its worker to find out
HEADER = struct.Struct("<QQiIQ")  # start: numerator, denominator, UTC offset; event data offset, event count
PACKET = struct.Struct("<IIIIII")  # sync, type, sequence, words of payload; then its time, high and low
EVENT = 0x40  # the upper bits of a type
EDGE = 1 << 20  # bytes at either end in which the first and the last packet are looked for
LONGER = struct.Struct("<QQ")  # in newer files: version of the format, session offset


def check(file: File) -> RecordingInfo:
    if file.size < 16:
        raise Damaged("too short to hold a GPIO packet")
    start, offset, session = None, 0, 0
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
    end = session if offset < session < file.size else file.size
    first, last = _ticks(file, offset, min(offset + EDGE, end)), _ticks(file, max(offset, end - EDGE), end)
    clock = {"clock_us": first[0], "clock_end_us": last[1]} if first and last else {}
    return file.info("gpio", start=start, origin=of_acquisition(_session(file, session), **clock))


def _ticks(file: File, start: int, end: int) -> tuple[int, int] | None:
    """The hardware clock in µs at the first and the last packet between these bytes."""
    content = file.read(start, end - start)
    ticks: list[int] = []
    for look, step in ((content.find, 1), (content.rfind, -1)):
        at = look(SYNC)
        for _ in range(1000):  # other packets have other contents
            if at < 0:
                return None
            if at + PACKET.size <= len(content):
                _, kind, _, _, high, low = PACKET.unpack_from(content, at)
                if kind >> 8 == EVENT:
                    ticks.append(high << 32 | low)
                    break
            at = content.find(SYNC, at + 1) if step > 0 else content.rfind(SYNC, 0, at)
    return (ticks[0], ticks[1]) if len(ticks) == 2 else None


def _session(file: File, offset: int) -> dict[str, Any]:
    """The acquisition metadata at its end; {} if there are none that can be read, as in the library."""
    try:
        return _read_session(file, offset)
    except Damaged:
        return {}


def _read_session(file: File, offset: int) -> dict[str, Any]:
    if not offset:
        return {}
    if offset >= file.size:
        raise Damaged("they should follow its packets: it was cut short")
    return file.json(offset, min(file.size - offset, MAX_JSON), "session", alone=False)


def session(path: str | os.PathLike[str], offset: int) -> dict[str, Any]:
    """The acquisition metadata, {} without an offset. Raises BadRecording if there are some that cannot be read."""
    with opened(path) as file:
        return _read_session(file, offset)


def _session_offset(file: File) -> int:
    """0 if there is none: then packets follow the header at once."""
    if file.size < HEADER.size + LONGER.size:
        return 0
    more = file.read(HEADER.size, LONGER.size)
    return 0 if more.startswith(SYNC) else LONGER.unpack(more)[1]
