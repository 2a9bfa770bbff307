"""What acquisition boxes write (`.gpio`, `.imu`), against itself: the library converts it and says nothing.

Formats as isxcore, isxNVista3GpioFile.cpp and isxIMUFile.cpp, reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from recording.errors import BadRecording
from recording.formats import gpio, imu

EVENT = 0x40  # the high byte of a packet's type, if it is an event
PACKET_WORDS = 4  # sync word, type, sequence, words of payload
SENSORS = ("accelerometer", "magnetometer", "orientation")

Warn = Callable[[str], None]


def check(recording: Path, warn: Warn) -> None:
    """Nothing for an `.isxd`, which is checked as what it is converted to."""
    checks = {".gpio": _gpio, ".imu": _imu}
    if recording.suffix.lower() in checks:
        checks[recording.suffix.lower()](recording, warn)


def _gpio(recording: Path, warn: Warn) -> None:
    start, claimed, end = 0, None, recording.stat().st_size
    with recording.open("rb") as file:
        head = file.read(gpio.HEADER.size + 16)
    if not head.startswith(gpio.SYNC):
        *_, start, claimed = gpio.HEADER.unpack(head[: gpio.HEADER.size])
        if start > gpio.HEADER.size and len(head) >= gpio.HEADER.size + 16:
            _, session = struct.unpack("<QQ", head[gpio.HEADER.size :])
            _session(recording, session, warn)
            end = session if start < session < end else end
    words = np.memmap(recording, "<u4", "r", start, ((end - start) // 4,))
    (places,) = np.nonzero(words == int.from_bytes(gpio.SYNC, "little"))
    places = places[places + PACKET_WORDS <= len(words)]
    places = places[words[places + 1] >> 8 == EVENT]
    packets, skipped, after = [], 0, 0
    for place, size in zip(places.tolist(), words[places + 3].tolist()):
        if place >= after:  # else it is a value that looks like the sync word
            skipped += place - after
            packets.append(place)
            after = place + PACKET_WORDS + size
    skipped = 4 * (skipped + abs(len(words) - after)) + (end - start) % 4
    if claimed is not None and claimed != len(packets):
        warn(f"it holds {len(packets)} of the {claimed} packets that its header counts: it may be damaged")
    if skipped:
        warn(f"{skipped} bytes belong to no packet, or are missing from the last one: it may be damaged")
    sequence = words[np.array(packets, np.int64) + 2]
    lost = int((np.diff(sequence) != 1).sum())  # of uint32, which begins anew as the box's counter does
    if lost:
        warn(f"packets are missing in {lost} places, by their own count")
    whole = np.array([place for place in packets if place + PACKET_WORDS + 2 <= len(words)], np.int64)
    ticks = words[whole + 4].astype(np.uint64) << np.uint64(32) | words[whole + 5]
    back = int((ticks[1:] < ticks[:-1]).sum())
    if back:
        warn(f"{back} of {len(ticks)} packets are earlier than the one before: it may be damaged")


def _session(recording: Path, offset: int, warn: Warn) -> None:
    try:
        gpio.session(recording, offset)
    except BadRecording as error:
        warn(f"its acquisition metadata are not known: {error.reason}")


def _imu(recording: Path, warn: Warn) -> None:
    with recording.open("rb") as file:
        fields = imu.HEADER.unpack(file.read(imu.HEADER.size))
    timing = imu.session(recording)["timingInfo"]
    parts = [(fields[5 + 3 * i + 1], fields[5 + 3 * i + 2]) for i in range(len(SENSORS))]
    after = imu.HEADER.size
    for offset, size in sorted(parts):
        if size and offset != after:
            warn("its samples do not lie one after another as they should: its header may be damaged")
            break
        after = offset + size if size else after
    for i, name in enumerate(SENSORS):
        count, offset = fields[5 + 3 * i], fields[6 + 3 * i]
        stated = timing.get("magnetometer" if name == "magnetometer" else "accelerometer")
        claimed = stated["numTimes"] - len(stated["dropped"]) if stated else 0
        if claimed != count:
            warn(f"it holds {count} samples of its {name}, but its session counts {claimed}: it may be damaged")
        times = np.memmap(recording, "<u8", "r", offset, (count, 2))[:, 0] if count else np.empty(0, np.uint64)
        back = int((times[1:] <= times[:-1]).sum())
        if back:
            warn(f"{back} of {count} samples of its {name} are not later than the one before: it may be damaged")
    num, den, offset = fields[:3]
    start = timing["start"]["secsSinceEpoch"]
    if not den or abs(num / den - start["num"] / start["den"]) > 1 or offset != timing["start"]["utcOffset"]:
        warn("its header and its session state different starts: it may be damaged")
