"""Recordings of one session on one clock: the same cells in each part, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Piece:
    """A recording that is a part of a whole."""

    path: Path
    offset_us: int = 0  # its start, from the session's


def times_s(timing: Any, offset_us: int) -> np.ndarray:
    """Seconds from the session's start to each sample of an isx.Timing, as near as a float64 can be."""
    period = timing.period._impl
    if not offset_us:
        return np.arange(timing.num_samples) * period.num / period.den
    return (np.arange(timing.num_samples) * (period.num * 1e6 / period.den) + offset_us) / 1e6


def with_gaps(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Traces (cells, samples) one after the other, with a sample that is missing between: nothing leads across."""
    joined = [arrays[0]]
    for array in arrays[1:]:
        joined += [np.full((len(array), 1), np.nan, array.dtype), array]
    return np.concatenate(joined, axis=1)


def first_samples(lengths: Sequence[int]) -> list[int]:
    """Where each piece begins in `with_gaps`."""
    return [sum(lengths[:i]) + i for i in range(len(lengths))]
