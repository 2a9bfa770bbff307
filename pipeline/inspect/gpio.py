"""GPIO and IMU recordings, as `.isxd` or as the acquisition box wrote them (`.gpio`, `.imu`)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import isx
import numpy as np

from pipeline.inspect import consistency, figures, metadata, packets, raw_files, tables, ttl
from pipeline.inspect.context import Context, Outcome
from pipeline.inspect.opened import OpenRecording
from pipeline.pages.content import Figure
from recording import formats
from recording.errors import Unusable
from recording.kinds import KIND_OF_TYPE

IMU_SCALE = {  # the unit of a column, and the divisor that turns stored values into it
    "Acc": ("g", 16384),  # as in isx.GpioSet for .imu files
    "Ori": ("rad", 1),  # fixed-point with 4 bits before the point (isxcore, isxIMUFile.cpp), too few for degrees
    "Mag": ("raw", 1),  # as isx exports it; nothing public from Inscopix says in which unit
}
IMU_CHANNELS = [
    *(f"Acc {axis}" for axis in "xyz"),
    "Ori yaw",
    "Ori pitch",
    "Ori roll",
    *(f"Mag {axis}" for axis in "xyz"),
]

IMU_CAPTION = "Acceleration, orientation and magnetic field over time."
GPIO_CAPTION = "Every channel that changed, each scaled to its own range, which is at its right."


READ = isx.GpioSet.read


def pulses(recording: OpenRecording, offset_us: int) -> dict[str, np.ndarray]:
    """The table of its TTL pulses, in s from a start that is so much earlier than the recording's."""
    return ttl.table([channel.later(offset_us) for channel in recording.channels])


def write_results(recording: OpenRecording, stem: str, out: Path, context: Context) -> Outcome:
    footer = recording.footer  # of what isx made of it
    raw_files.check(recording.path, context.warn)
    channels = [channel.later(context.offset_us) for channel in recording.channels]
    consistency.packets(recording, context.warn)
    is_imu = KIND_OF_TYPE.get(footer.get("type")) == "imu"
    figures.start_matplotlib(context.scratch)
    if is_imu:
        names = [channel.name for channel in channels]
        if names != IMU_CHANNELS:
            context.warn(f"its channels are not those of an IMU: {', '.join(names)}")
        columns = _imu_columns(channels)
        tables.write(out / f"{stem}-imu.csv", columns)
        thumbnail = _draw_imu(out / f"{stem}.png", columns)
    else:
        tables.write(out / f"{stem}-gpio.csv", _long(channels))
        tables.write(out / f"{stem}-ttl.csv", ttl.table(channels))
        thumbnail = _draw_gpio(out / f"{stem}.png", channels)
    n_samples = sum(len(channel.value) for channel in channels)
    return Outcome(
        summary=f"{n_samples} samples of {len(channels)} {'IMU' if is_imu else 'GPIO'} channels",
        thumbnail=thumbnail,
        figures=(Figure(f"{stem}.png", IMU_CAPTION if is_imu else GPIO_CAPTION),),
        metadata={
            **metadata.timing(recording.timing),
            "channels": {channel.name: len(channel.value) for channel in channels},
            **({} if is_imu else {"pulses": ttl.described(channels)}),
            "acquisition": recording.acquisition(context.warn),
            **consistency.values("values", [channel.value for channel in channels], context.warn),
            "file_metadata": footer,
        },
    )


def converted(recording: Path, scratch: Path) -> Path:
    """Convert the recording to `.isxd`, in a folder of its own.

    isx.GpioSet.read would write it to /tmp, under a name that two recordings can share, and leave it there.
    """
    folder = Path(tempfile.mkdtemp(prefix="gpio-", dir=scratch))
    isx.export_gpio_to_isxd(str(recording), str(folder))
    for path in folder.iterdir():
        formats.check(path)
        return path
    raise Unusable("isx found no data in it")


def _long(channels: list[packets.Channel]) -> dict[str, np.ndarray]:
    """One row for each change, in order of time."""
    if not channels:
        return {"time_s": np.empty(0), "channel": np.empty(0), "value": np.empty(0)}
    time = np.concatenate([channel.time_s for channel in channels])
    name = np.repeat([channel.name for channel in channels], [len(channel.value) for channel in channels])
    value = np.concatenate([channel.value for channel in channels])
    order = np.argsort(time, kind="stable")
    return {"time_s": time[order], "channel": name[order], "value": value[order]}


def _imu_columns(channels: list[packets.Channel]) -> dict[str, np.ndarray]:
    """One row for each time, one column for each channel; NaN if it has no sample then (the magnetometer is slower)."""
    times = np.unique(np.concatenate([channel.offset_us for channel in channels] or [np.empty(0, np.uint64)]))
    columns = {"time_s": times / 1e6}
    for channel in channels:
        unit, divisor = IMU_SCALE.get(channel.name[:3], ("au", 1))
        column = np.full(len(times), np.nan)
        column[np.searchsorted(times, channel.offset_us)] = channel.value / divisor
        columns[f"{channel.name.lower().replace(' ', '_')}_{unit}"] = column
    return columns


def _draw_gpio(path: Path, channels: list[packets.Channel]) -> bytes:
    shown = [channel for channel in channels if len(channel.value)]
    drawn, axes = figures.figure(9, max(2.0, 0.8 + 0.6 * len(shown)))
    for i, channel in enumerate(shown):
        low, high = np.nanmin(channel.value), np.nanmax(channel.value)
        scaled = (channel.value - low) / (high - low) * 0.8 if high > low else np.zeros(len(channel.value))
        time, level = figures.envelope(channel.time_s, scaled, 8000)
        axes.step(time, level - i, where="post", color=figures.BLUE, linewidth=0.8)
        axes.text(
            1.01, -i + 0.3, f"{low:.5g} to {high:.5g}", transform=axes.get_yaxis_transform(), va="center", fontsize=8
        )
    axes.set_yticks(0.3 - np.arange(len(shown)), [channel.name for channel in shown])
    axes.set(xlabel="Time [s]", ylabel="Channel")
    axes.set_title("Each scaled to its own range, at right", loc="right", fontsize=8)
    return figures.save(drawn, path)


def _draw_imu(path: Path, columns: dict[str, np.ndarray]) -> bytes:
    groups = {"acc": "Acceleration [g]", "ori": "Orientation [rad]", "mag": "Magnetic field [raw]"}
    drawn, all_axes = figures.figure(9, 6, rows=3, sharex=True)
    for axes, (prefix, label) in zip(all_axes, groups.items()):
        names = [name for name in columns if name.startswith(prefix)]
        for name, colour in zip(names, (figures.BLUE, figures.VERMILION, figures.GREEN)):
            there = np.isfinite(columns[name])
            time, values = figures.envelope(columns["time_s"][there], columns[name][there])
            axes.plot(time, values, color=colour, linewidth=0.8, label=name.split("_")[1])
        axes.set_ylabel(label)
        figures.legend_outside(axes)
    all_axes[-1].set_xlabel("Time [s]")
    return figures.save(drawn, path)
