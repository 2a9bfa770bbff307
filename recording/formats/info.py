"""The findings of the pre-check."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path


@dataclass(frozen=True)
class RecordingInfo:
    """A recording, as far as it can be told without the library."""

    path: Path
    kind: str
    size: int  # bytes
    mtime_ns: int
    n_samples: int = 0  # frames, or samples of a trace; invalid ones included
    start: datetime | None = None  # with the recording's own offset from UTC
    period_s: float = 0.0
    width: int = 0  # px
    height: int = 0  # px
    pixel_um: tuple[float, float] = (0.0, 0.0)  # width, height
    names: tuple[str, ...] = ()  # of cells, channels or vessels

    @property
    def end(self) -> datetime | None:
        """When the last sample ends."""
        if self.start is None:
            return None
        try:
            return self.start + timedelta(seconds=self.n_samples * self.period_s)
        except OverflowError:
            return None

    @property
    def series_key(self) -> tuple[object, ...]:
        """Equal for recordings that may be parts of one series, if their times do not overlap."""
        cells = self.names if self.kind in ("cell_set", "event_set", "vessel_set") else ()
        return (self.kind, self.width, self.height, self.pixel_um, round(self.period_s, 6), cells)
