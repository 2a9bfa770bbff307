"""Events, GPIO and IMU samples, read in one go.

The library reads the whole file twice for each channel, and crashes on a damaged packet. NumPy reads the packets as an
array of records (format: recording/formats/isxd.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recording import formats
from recording.errors import BadRecording

PACKET = np.dtype([("offset_us", "<u8"), ("channel", "<u8"), ("value", "<f4")])
# In files of the first kind, each channel is a part: its description in JSON, NUL, its values.
VALUE_V1 = np.dtype([("time_us", "<u8"), ("value", "<f4"), ("state", "<u4")])  # µs since 1970
HEAD_OF_CHANNEL = 4096  # bytes; it is JSON of a few fields
WRAPPED = 1 << 63  # a negative offset as an unsigned number
BEFORE_START = "negative offset"  # in what isx says of a channel with a value before the recording's start


@dataclass(frozen=True)
class Channel:
    """Samples of one channel, in order of time."""

    name: str
    offset_us: np.ndarray  # (n,) uint64, from the recording's start; int64 from another
    value: np.ndarray  # (n,) float32

    def later(self, offset_us: int) -> Channel:
        """The channel with times counted from a start that is `offset_us` earlier."""
        if not offset_us:
            return self
        return Channel(self.name, self.offset_us.astype(np.int64) + offset_us, self.value)

    @property
    def time_s(self) -> np.ndarray:
        return self.offset_us / 1e6


def stored(path: Path, footer: Mapping[str, Any], n_bytes: int) -> np.ndarray | None:
    """All packets of an `.isxd` file, its first `n_bytes`; None of the oldest files, which have none."""
    if not formats.has_packets(footer):
        return None
    return np.fromfile(path, PACKET, count=n_bytes // PACKET.itemsize)


def channels(packets: np.ndarray | None, footer: Mapping[str, Any], path: Path, source: Any) -> list[Channel]:
    """Every channel of an `.isxd` file of these packets; `source` is the same file, opened by isx.

    Raises BadRecording if a packet names a channel that does not exist.
    """
    if packets is None:
        return _through_library(path, footer, source)
    names = footer["channel list"]
    if len(packets) and packets["channel"].max() >= len(names):
        raise BadRecording(path, "an event names a channel that does not exist: it is damaged")
    packets = packets[np.lexsort((packets["offset_us"], packets["channel"]))]
    bounds = np.searchsorted(packets["channel"], np.arange(len(names) + 1))
    names = [name.partition("\0")[0] for name in names]  # where texts of the library end; HDF5 holds no NUL
    parts = [packets[first:last] for first, last in zip(bounds, bounds[1:])]
    return [_channel(name, part["offset_us"], part["value"]) for name, part in zip(names, parts)]


def _channel(name: str, time: np.ndarray, value: np.ndarray) -> Channel:
    """Its values in order of time. If two have the same time, the later one counts, as in the library."""
    last = np.append(time[1:] != time[:-1], True)[: len(time)]
    return Channel(name, time[last], value[last])


def _through_library(path: Path, footer: Mapping[str, Any], source: Any) -> list[Channel]:
    """Every channel of an isx.GpioSet or isx.EventSet; without the values before its start.

    isx refuses a channel with one of them, or takes it for one long after the end.
    """
    is_gpio = hasattr(source, "get_channel_data")
    n, name_of = (source.num_channels, source.get_channel_name) if is_gpio else (source.num_cells, source.get_cell_name)
    data_of = source.get_channel_data if is_gpio else source.get_cell_data
    channels = []
    for name, i in ((name_of(i), i) for i in range(n)):
        try:
            offset_us, value = data_of(i)
            refused = bool((offset_us >= WRAPPED).any())
        except Exception as error:  # isx raises no other
            if BEFORE_START not in str(error):
                raise
            refused = True
        channels.append(_from_start(path, footer, name) if refused else Channel(name, offset_us, value))
    return channels


def _from_start(path: Path, footer: Mapping[str, Any], name: str) -> Channel:
    """Raises BadRecording."""
    try:
        start, is_analog = np.uint64(start_us(footer)), bool(footer["analog"])
        stored = part(path, footer["channel offsets"][name], formats.data_size(path)).values
    except (ArithmeticError, KeyError, TypeError, ValueError):
        raise BadRecording(
            path, f"a value of {name} lies before the start that the file states: it may be damaged"
        ) from None
    stored = stored[stored["time_us"] >= start]
    stored = stored[np.argsort(stored["time_us"], kind="stable")]
    value = np.abs(stored["value"])
    if not is_analog:  # the sign is the state of the line: off is 0, on without a value is 1, as in the library
        value[value == 0] = 1
        value[~np.signbit(stored["value"])] = 0
    return _channel(name, stored["time_us"] - start, value)


# ---- files of the first kind (isxcore, isxEventBasedFileV1.cpp)


@dataclass(frozen=True)
class Part:
    """A channel as it lies in the file."""

    name: object  # what it calls itself
    values: np.ndarray  # of VALUE_V1
    end: int  # where it says that it ends, in bytes


def start_us(footer: Mapping[str, Any]) -> int:
    """µs since 1970. Raises ArithmeticError, KeyError, TypeError."""
    start = footer["timing info"]["start"]["secsSinceEpoch"]
    return 10**6 * start["num"] // start["den"]


def part(path: Path, place: int, n_bytes: int) -> Part:
    """The channel whose part begins at this byte. Raises ValueError, KeyError, TypeError."""
    with path.open("rb") as file:
        file.seek(place)
        head, _, _ = file.read(HEAD_OF_CHANNEL).partition(b"\0")
    said = json.loads(head.decode("utf-8", "replace"))
    name, claimed = said["channel"], int(said["Number of Packets"])
    first = place + len(head) + 1
    room = max(0, n_bytes - first) // VALUE_V1.itemsize
    claimed = claimed or room  # a part that was never closed
    return Part(
        name, np.fromfile(path, VALUE_V1, min(claimed, room), offset=first), first + claimed * VALUE_V1.itemsize
    )
