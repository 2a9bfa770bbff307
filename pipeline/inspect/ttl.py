"""Edges of TTL pulses in GPIO channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.inspect.packets import Channel

FULL_SCALE = 65535  # of a GPIO pin that is sampled
NOISE = 0.05 * FULL_SCALE  # of such a pin that nothing is connected to
AT_A_LEVEL = 0.95  # of a channel's values, for it to have two levels
MANY = 2000  # pulses: rather a clock than events of an experiment


def has_two_levels(channel: Channel) -> bool:
    """Whether its values lie near two levels, and the difference is no noise."""
    values = channel.value[np.isfinite(channel.value)]
    if not values.size or values.max() <= values.min():
        return False
    low, high = float(values.min()), float(values.max())
    if low > high / 2 or (channel.name.startswith("GPIO") and 1 < high < NOISE):
        return False
    scaled = (values - low) / (high - low)
    return bool(np.mean((scaled < 0.2) | (scaled > 0.8)) >= AT_A_LEVEL)


def pulses(channel: Channel) -> tuple[np.ndarray, np.ndarray]:
    """Onset and offset in µs of each pulse of a channel of two levels, float64.

    NaN for an onset before the first value, or an offset after the last.
    """
    low, high = float(np.nanmin(channel.value)), float(np.nanmax(channel.value))
    is_high = np.concatenate([[False], channel.value > (low + high) / 2, [False]])
    rises, falls = np.flatnonzero(is_high[1:] & ~is_high[:-1]), np.flatnonzero(is_high[:-1] & ~is_high[1:])
    times = channel.offset_us.astype(np.float64)
    onsets, offsets = times[rises], np.append(times, np.nan)[falls]
    if rises.size and rises[0] == 0:
        onsets = np.where(rises == 0, np.nan, onsets)
    return onsets, offsets


def table(channels: Sequence[Channel]) -> dict[str, np.ndarray]:
    """Columns `channel`, `onset_s`, `offset_s`: a row a pulse, in order of time. Times are those of the channels."""
    channel_pulses = [(channel.name, *pulses(channel)) for channel in channels if has_two_levels(channel)]
    names = np.array([name for name, onsets, _ in channel_pulses for _ in onsets], dtype=object)
    onsets = np.concatenate([onsets for _, onsets, _ in channel_pulses]) if channel_pulses else np.empty(0)
    offsets = np.concatenate([offsets for _, _, offsets in channel_pulses]) if channel_pulses else np.empty(0)
    order = np.lexsort((names.astype(str), np.where(np.isnan(onsets), -np.inf, onsets)))
    return {"channel": names[order], "onset_s": onsets[order] / 1e6, "offset_s": offsets[order] / 1e6}


def described(channels: Sequence[Channel]) -> list[dict[str, Any]]:
    """What each channel holds, for whoever must choose one: pulses, their rate, shortest and longest pulse."""
    times = [channel.offset_us for channel in channels if len(channel.offset_us)]
    together = np.concatenate(times) if times else np.zeros(1, np.int64)
    length_s = (int(together.max()) - int(together.min())) / 1e6
    return [_described(channel, length_s) for channel in channels]


def _described(channel: Channel, length_s: float) -> dict[str, Any]:
    onsets, offsets = pulses(channel) if has_two_levels(channel) else (np.empty(0), np.empty(0))
    lengths = (offsets - onsets)[np.isfinite(offsets - onsets)] / 1e6
    return {
        "channel": channel.name,
        "n_pulses": len(onsets),
        "rate_hz": len(onsets) / length_s if length_s > 0 else None,
        "shortest_s": float(lengths.min()) if len(lengths) else None,
        "longest_s": float(lengths.max()) if len(lengths) else None,
        "note": _note(channel, len(onsets)),
    }


def _note(channel: Channel, n_pulses: int) -> str:
    values = channel.value[np.isfinite(channel.value)]
    if n_pulses >= MANY:
        return "thousands of pulses: probably a clock, such as a camera's frames, not events of an experiment"
    if n_pulses:
        return ""
    if values.size == 0 or values.max() <= values.min():
        return "no edges: it never changes"
    return "no edges: its values are not at two levels"
