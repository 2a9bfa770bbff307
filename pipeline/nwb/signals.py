"""GPIO and IMU recordings: a TimeSeries for each channel, or for three axes that were sampled together."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from hdmf.backends.hdf5 import H5DataIO
from hdmf.common import DynamicTable, VectorData
from pynwb import TimeSeries

from pipeline.inspect import packets, ttl
from pipeline.inspect.gpio import IMU_SCALE
from pipeline.nwb.events import HAS_EVENTS
from pipeline.nwb.session import UNKNOWN, Opened, SessionFile

IMU = {  # how channels' names begin: name, unit in NWB and what values as isx reads them are multiplied by for it
    "Acc": ("Accelerometer", "m/s^2", 9.80665),  # isx gives g
    "Ori": ("Orientation", "radians", 1.0),
    "Mag": ("Magnetometer", UNKNOWN, 1.0),
}


def add(session: SessionFile, recording: Opened) -> None:
    channels = [channel for channel in recording.opened.channels if len(channel.value)]
    if not channels:
        session.warn(f"{recording.name} has no samples: it is left out of the NWB file")
    (_add_imu if recording.kind == "imu" else _add_gpio)(session, recording, channels)
    if recording.kind == "gpio":
        _add_pulses(session, recording, channels)


def _add_gpio(session: SessionFile, recording: Opened, channels: list[packets.Channel]) -> None:
    """The unit depends on the channel; the file does not state it."""
    for channel in channels:
        series = TimeSeries(
            name=session.name(channel.name, recording.source.label),
            description=f"{channel.name} of {recording.name}: the value holds until the next",
            data=H5DataIO(channel.value, compression="gzip", shuffle=True),
            unit=unit_of(channel.name),
            continuity="step",
            **_when(session, recording, channel.offset_us),
        )
        session.file.add_acquisition(series)


def _add_pulses(session: SessionFile, recording: Opened, channels: list[packets.Channel]) -> None:
    """TTL pulses of channels that have two levels: a row a pulse whose onset was recorded."""
    names, onsets, durations = [], [], []
    for channel in filter(ttl.has_two_levels, channels):
        for onset, offset in zip(*ttl.pulses(channel)):
            if np.isfinite(onset):
                names.append(channel.name)
                onsets.append(float(session.times(np.array([int(onset)], np.int64), recording.start)[0]))
                durations.append((offset - onset) / 1e6)
    if not names:
        return
    order = np.lexsort((names, onsets))
    name = session.name("TTL", recording.source.label)
    what = f"Pulses in GPIO channels of {recording.name}: where a value crosses the middle of the channel's two levels"
    columns = {
        "timestamp": ("Seconds from the session's start", [onsets[i] for i in order]),
        "duration": ("s; NaN if it lasts beyond the recording", [durations[i] for i in order]),
        "channel": ("GPIO channel", [names[i] for i in order]),
    }
    if HAS_EVENTS:
        from pynwb.event import DurationVectorData, EventsTable, TimestampVectorData

        kinds = {"timestamp": TimestampVectorData, "duration": DurationVectorData, "channel": VectorData}
        made = [kinds[key](name=key, description=text, data=data) for key, (text, data) in columns.items()]
        session.file.add_events_table(
            EventsTable(name=name, description=what, source_description=recording.name, columns=made)
        )
    else:
        made = [VectorData(name=key, description=text, data=data) for key, (text, data) in columns.items()]
        session.file.add_acquisition(DynamicTable(name=name, description=what, columns=made))


def unit_of(channel: str) -> str:
    """Inscopix's software gives the LEDs' power and the electronic focus in these; other channels have none."""
    name = re.sub("[ _]", "-", channel)
    if re.fullmatch(r"(EX|OG|DI)-LED(-\d)?", name):
        return "mW/mm^2"
    return "micrometers" if re.fullmatch("e-?focus", name, re.IGNORECASE) else UNKNOWN


def _add_imu(session: SessionFile, recording: Opened, channels: list[packets.Channel]) -> None:
    for prefix, (name, unit, conversion) in IMU.items():
        axes = [channel for channel in channels if channel.name.startswith(prefix)]
        together = bool(axes) and all(np.array_equal(axes[0].offset_us, axis.offset_us) for axis in axes)
        for group in [axes] if together else [[axis] for axis in axes]:
            values = np.column_stack([axis.value for axis in group]) / np.float32(IMU_SCALE[prefix][1])
            label = "" if together else "-" + group[0].name
            columns = ", ".join(axis.name for axis in group)
            series = TimeSeries(
                name=session.name(name + label, recording.source.label),
                description=f"{columns} of {recording.name}",
                data=H5DataIO(values, compression="gzip", shuffle=True),
                unit=unit,
                conversion=conversion,
                **_when(session, recording, group[0].offset_us),
            )
            session.file.add_acquisition(series)


def _when(session: SessionFile, recording: Opened, offset_us: np.ndarray) -> dict[str, Any]:
    """Timestamps; where all samples are equally far apart, to the microsecond, first time and rate, as NWB asks."""
    times = session.times(offset_us, recording.start)
    steps = np.diff(offset_us.astype(np.int64))
    if len(steps) > 1 and steps[0] > 0 and (steps == steps[0]).all():
        return {"starting_time": float(times[0]), "rate": 1e6 / float(steps[0])}
    return {"timestamps": H5DataIO(times, compression="gzip", shuffle=True)}
