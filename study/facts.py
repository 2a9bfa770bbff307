"""What recordings state, compared: contradictions, agreements, and whether their times fit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property

from recording.findings import Origin, RecordingInfo
from recording.kinds import KINDS
from study import names
from study.names import Numbering

EARLIEST = datetime(2005, 1, 1, tzinfo=timezone.utc)  # before there were miniature microscopes: no clock was set
CLOCK_ERROR = 0.002  # of a stated rate; 0.0008 was seen in a recording of 10 Hz
AROUND = timedelta(minutes=1)  # by which companions may miss one another: a camera that is started by hand
UUID = "recording UUID"
NAMED = {
    "animal": "animal",
    "session": "session name",
    "microscope": "microscope",
    "system": "acquisition box",
    "uuid": UUID,
}
CONTRADICT = ("animal", "session", "microscope", "uuid")  # if two recordings state them differently


@dataclass(frozen=True)
class Member:
    """A recording, with what names and findings say of it."""

    path: str  # relative to the input folder, with /
    info: RecordingInfo

    @cached_property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @cached_property
    def file(self) -> str:
        return self.path.rpartition("/")[2]

    @cached_property
    def stem(self) -> str:
        head, dot, _ = self.file.rpartition(".")
        return head if dot and head else self.file

    @cached_property
    def numbering(self) -> Numbering | None:
        return names.numbering(self.stem)

    @property
    def kind(self) -> str:
        return self.info.kind

    @property
    def origin(self) -> Origin:
        return self.info.origin

    @cached_property
    def start(self) -> datetime | None:
        """None if it is unknown."""
        return self.info.start if self.info.start and self.info.start >= EARLIEST else None

    @cached_property
    def end(self) -> datetime | None:
        return self.info.end if self.start else None

    @property
    def is_companion(self) -> bool:
        """Whether it is acquired beside a movie."""
        return KINDS[self.kind].is_beside

    @property
    def is_timeless(self) -> bool:
        return self.kind == "image"

    @property
    def stated(self) -> Stated:
        return Stated(*(getattr(self.origin, name) for name in NAMED), None if self.is_timeless else bool(self.start))


@dataclass(frozen=True)
class Stated:
    """What one or several recordings state that do not contradict one another; "" and None: nothing."""

    animal: str = ""
    session: str = ""
    microscope: str = ""
    system: str = ""
    uuid: str = ""
    has_start: bool | None = None

    def and_(self, other: Stated) -> Stated:
        has_start = other.has_start if self.has_start is None else self.has_start
        return Stated(*(getattr(self, name) or getattr(other, name) for name in NAMED), has_start)

    def contradiction(self, other: Stated) -> str:
        """Why they cannot be of one session, as in "they state ..."; "" if they can."""
        for name in CONTRADICT:
            mine, others = getattr(self, name), getattr(other, name)
            if mine and others and not self._shares(name, other):
                return f"state different {NAMED[name]}s ({mine} and {others})"
        if None not in (self.has_start, other.has_start) and self.has_start != other.has_start:
            return "do not both know when they began"
        return ""

    def agreement(self, other: Stated) -> str:
        """Which facts make them one session, as in "with the same ..."; "" if there are none."""
        if self._shares("uuid", other):
            return UUID
        device = next((name for name in ("microscope", "system") if self._shares(name, other)), "")
        if device and self._shares("session", other):
            shared = [name for name in ("animal", "session") if self._shares(name, other)]
            return ", ".join(NAMED[name] for name in shared) + f" and {NAMED[device]}"
        return ""

    def _shares(self, name: str, other: Stated) -> bool:
        mine, others = getattr(self, name), getattr(other, name)
        return bool(mine) and mine.casefold() == others.casefold()


def gap(before: Member, after: Member) -> timedelta | None:
    """Gap from the end of one to the start of the next. None if a start is unknown, or if they overlap.

    Half a sample's rounding is forgiven, and a clock that runs CLOCK_ERROR off: raw movies state the rate that was set,
    from which the true one, by which isx goes, differs.
    """
    if not (before.end and after.start):
        return None
    length = after.start - before.end
    allowed = before.info.period_s * max(0.5, CLOCK_ERROR * before.info.n_samples)
    return length if length.total_seconds() >= -allowed else None


def same_time(one: Member, other: Member) -> bool:
    """Whether they start together and last as long, to a sample of the slower one (or its filter's edge)."""
    if one.info.start is None or other.info.start is None or one.info.end is None or other.info.end is None:
        return False
    slack = timedelta(seconds=2 * max(one.info.period_s, other.info.period_s, 0.001))
    return abs(one.info.start - other.info.start) <= slack and abs(one.info.end - other.info.end) <= slack


def starts_together(one: Member, other: Member) -> bool:
    return one.info.start is not None and one.info.start == other.info.start


def within(inner: Member, outer: Member) -> bool:
    """Whether one lies in the time of the other: cropped or trimmed."""
    if inner.info.start is None or outer.info.start is None or inner.info.end is None or outer.info.end is None:
        return False
    slack = timedelta(seconds=2 * max(inner.info.period_s, outer.info.period_s, 0.001))
    return inner.info.start >= outer.info.start - slack and inner.info.end <= outer.info.end + slack


def said(time: timedelta) -> str:
    """A gap, for people."""
    seconds = round(abs(time.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    if seconds < 7200:
        return f"{round(seconds / 60)} min"
    return f"{round(seconds / 3600)} h" if seconds < 172800 else f"{round(seconds / 86400)} days"
