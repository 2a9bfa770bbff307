"""GPIO and IMU recordings: a TimeSeries for each channel, or for three axes that were sampled together."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from hdmf.backends.hdf5 import H5DataIO
from pynwb import TimeSeries

from pipeline.inspect import packets
from pipeline.inspect.gpio import IMU_SCALE
from pipeline.nwb.session import UNKNOWN, Opened, SessionFile

IMU = {  # how channels' names begin: name, unit in NWB and what values as isx reads them are multiplied by for it
    "Acc": ("Accelerometer", "m/s^2", 9.80665),  # isx gives g
    "Ori": ("Orientation", "radians", 1.0),
    "Mag": ("Magnetometer", UNKNOWN, 1.0),
}


def add(session: SessionFile, recording: Opened) -> None:
    channels = [channel for channel in packets.channels(recording.stored, recording.handle) if len(channel.value)]
    if not channels:
        session.warn(f"{recording.name} has no samples: it is not in the NWB file")
    (_add_imu if recording.kind == "imu" else _add_gpio)(session, recording, channels)


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
