"""Recordings of one session on one clock: the same cells in each part, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.inspect.opened import OpenRecording


@dataclass(frozen=True)
class Piece:
    """A recording that is a part of a whole."""

    recording: OpenRecording
    offset_us: int = 0  # its start, from the session's
    before: int = 0  # samples of its part that were trimmed off its beginning
    after: int = 0  # and off its end

    def times_s(self, timing: Any) -> np.ndarray:
        """Seconds from the session's start to each sample of its part, those that were trimmed off too."""
        whole = times_s(timing, self.offset_us, timing.num_samples + self.before + self.after)
        return whole - self.before * timing.period.secs_float if self.before else whole

    def filled(self, traces: np.ndarray) -> np.ndarray:
        """Traces (cells, samples) with NaN where samples were trimmed off."""
        return np.pad(traces, ((0, 0), (self.before, self.after)), constant_values=np.nan)


def times_s(timing: Any, offset_us: int, n: int | None = None) -> np.ndarray:
    """Seconds from the session's start to the first `n` samples of an isx.Timing, all of them by default."""
    period = timing.period._impl
    samples = np.arange(timing.num_samples if n is None else n)
    if not offset_us:
        return samples * period.num / period.den
    return (samples * (period.num * 1e6 / period.den) + offset_us) / 1e6


def continuing(begins_s: Sequence[float], ends_s: Sequence[float], period_s: float) -> list[bool]:
    """For each piece but the first, whether its first sample is the next one after the last of the piece before."""
    return [abs(begin - end) < period_s / 2 for begin, end in zip(begins_s[1:], ends_s)]


def stretches(arrays: Sequence[np.ndarray], continues: Sequence[bool]) -> list[np.ndarray]:
    """The pieces, joined where no sample is missing between them. The last axis is that of samples."""
    joined = [[arrays[0]]]
    for array, follows in zip(arrays[1:], continues):
        if follows:
            joined[-1].append(array)
        else:
            joined.append([array])
    return [np.concatenate(arrays_joined, axis=-1) for arrays_joined in joined]


def with_gaps(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Traces (cells, samples) one after the other, with a sample that is missing between: nothing leads across."""
    joined = [arrays[0]]
    for array in arrays[1:]:
        joined += [np.full((len(array), 1), np.nan, array.dtype), array]
    return np.concatenate(joined, axis=1)


def first_samples(lengths: Sequence[int]) -> list[int]:
    """Where each piece begins in `with_gaps`."""
    return [sum(lengths[:i]) + i for i in range(len(lengths))]
