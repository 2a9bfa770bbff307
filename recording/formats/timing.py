"""`timingInfo`, as `.isxd` footers and the sessions of newer `.isxb` files state it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recording.errors import shown
from recording.formats.fields import MAX_SAMPLES, field, listed, ratio, time, to_datetime, whole
from recording.formats.file import Damaged


@dataclass(frozen=True)
class Timing:
    """When the samples of a recording were taken, and which are missing."""

    n_samples: int
    period_s: float
    start: datetime | None
    dropped: tuple[int, ...]
    cropped: tuple[tuple[int, int], ...]
    blank: tuple[int, ...]

    @property
    def n_stored(self) -> int:
        """How many samples are neither dropped, cropped nor blank."""
        ranges = sorted([*self.cropped, *((i, i) for i in {*self.dropped, *self.blank})])
        invalid, covered = 0, -1
        for first, last in ranges:
            invalid += max(0, last - max(first - 1, covered))
            covered = max(covered, last)
        return self.n_samples - invalid

    @property
    def first_stored(self) -> int:
        """The index of the first sample that is neither dropped, cropped nor blank."""
        index, lost = 0, {*self.dropped, *self.blank}
        while index < self.n_samples:
            last = max((last for first, last in self.cropped if first <= index <= last), default=-1)
            if last < 0 and index not in lost:
                break
            index = max(index, last) + 1
        return index


def read_timing(holder: dict[str, Any]) -> Timing:
    """Raises Damaged."""
    timing = field(holder, "timingInfo")
    n_samples = whole(timing, "numTimes", high=MAX_SAMPLES)
    period = ratio(timing, "period", 1e-9, 1e9)
    start = to_datetime(*time(timing, "start"))

    def indices(name: str) -> tuple[int, ...]:
        frames = listed(timing, name) if name in timing else []
        if not all(isinstance(i, int) and 0 <= i < n_samples for i in frames):
            raise Damaged(f"its metadata are damaged: {name} frames that the recording does not have")
        return tuple(frames)

    cropped = listed(timing, "cropped") if timing.get("cropped") is not None else []
    ranges = tuple(_range(entry, n_samples) for entry in cropped)
    return Timing(n_samples, float(period), start, indices("dropped"), ranges, indices("blank"))


def _range(text: Any, n_samples: int) -> tuple[int, int]:
    """First and last of "4 - 5" or "4"; old files hold single numbers."""
    match = re.fullmatch(r"(\d{1,18})(?: - (\d{1,18}))?", str(text))
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if not first <= last < n_samples:
        raise Damaged(f"its metadata are damaged: cropped frames {shown(text)}")
    return first, last
