"""Events, GPIO and IMU samples, read in one go.

The library reads the whole file twice for each channel, and crashes on a damaged packet. NumPy reads the packets as an
array of records (format: recording/formats/isxd.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recording import formats
from recording.errors import BadRecording

PACKET = np.dtype([("offset_us", "<u8"), ("channel", "<u8"), ("value", "<f4")])


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
        return _through_library(source)
    names = footer["channel list"]
    if len(packets) and packets["channel"].max() >= len(names):
        raise BadRecording(path, "an event names a channel that does not exist: it is damaged")
    packets = packets[np.lexsort((packets["offset_us"], packets["channel"]))]
    bounds = np.searchsorted(packets["channel"], np.arange(len(names) + 1))
    names = [name.partition("\0")[0] for name in names]  # where texts of the library end; HDF5 holds no NUL
    return [_channel(name, packets[first:last]) for name, first, last in zip(names, bounds, bounds[1:])]


def _channel(name: str, packets: np.ndarray) -> Channel:
    """The values of a channel. If two have the same time, the later one counts, as in the library."""
    time = packets["offset_us"]
    last = np.append(time[1:] != time[:-1], True)[: len(time)]
    return Channel(name, time[last], packets["value"][last])


def _through_library(source: Any) -> list[Channel]:
    """Every channel of an isx.GpioSet or isx.EventSet."""
    if hasattr(source, "get_channel_data"):
        channel_data = ((source.get_channel_name(i), *source.get_channel_data(i)) for i in range(source.num_channels))
    else:
        channel_data = ((source.get_cell_name(i), *source.get_cell_data(i)) for i in range(source.num_cells))
    return [Channel(*channel) for channel in channel_data]
