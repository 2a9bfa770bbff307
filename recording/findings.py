"""What the pre-check finds in a recording."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from recording.kinds import KINDS


@dataclass(frozen=True)
class Origin:
    """What a recording states of where it comes from; "" and None where it states nothing."""

    uuid: str = ""  # equal for recordings that were started and stopped together
    animal: str = ""
    microscope: str = ""  # serial number
    system: str = ""  # serial number of the acquisition box
    session: str = ""  # name
    clock_us: int | None = None  # the hardware clock at the first sample
    clock_end_us: int | None = None  # and at the last, of files that state no number of samples
    colour: str = ""  # of all frames
    n_colours: int = 1  # that alternate from frame to frame
    planes: tuple[int, ...] = ()  # the focus of each plane, if frames alternate between several
    is_made: bool = False  # by processing another recording


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
    origin: Origin = field(default_factory=Origin)

    @property
    def end(self) -> datetime | None:
        """When the last sample ends."""
        if self.start is None:
            return None
        seconds = self.n_samples * self.period_s
        if not seconds and self.origin.clock_us is not None and self.origin.clock_end_us is not None:
            seconds = max(0, self.origin.clock_end_us - self.origin.clock_us) / 1e6
        try:
            return self.start + timedelta(seconds=seconds)
        except OverflowError:
            return None

    @property
    def series_key(self) -> tuple[object, ...]:
        """Key that is equal for recordings that may be parts of one series, if their times do not overlap."""
        names = self.names if KINDS[self.kind].names_parts else ()
        return (self.kind, self.width, self.height, self.pixel_um, round(self.period_s, 6), names)

    @property
    def facts(self) -> dict[str, Any]:
        """All but the path, which whoever asks knows."""
        return {name: value for name, value in asdict(self).items() if name != "path"}
