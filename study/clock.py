"""One clock for a session: when each of its recordings begins, in seconds from the session's start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from recording.findings import RecordingInfo
from study.facts import Member
from study.relations import Session

MICROSECOND = timedelta(microseconds=1)
HARDWARE, STATED, IN_ORDER = "the hardware clock", "the stated start", "the end of the one before"
NO_TIME = "the session's start, because no start is known"


@dataclass(frozen=True)
class Placement:
    """When a recording begins."""

    offset_us: int  # from the session's start
    by: str  # what tells


@dataclass(frozen=True)
class Clock:
    """A session's times."""

    start: datetime | None  # of the first of its recordings
    places: Mapping[str, Placement]  # by path

    def sentence(self) -> str:
        """What the times go by, for the log and the page."""
        by = dict.fromkeys(place.by for place in self.places.values())
        return f"times go by {' and '.join(by)}"


def clock_of(session: Session, infos: Mapping[str, RecordingInfo], made_from: Mapping[str, str]) -> Clock:
    """Hardware time stamps of one UUID place recordings to a µs; else the starts that they state do.

    Parts of which no start is known follow one another without a gap. What was made from a recording goes with it.
    """
    members = {path: Member(path, infos[path]) for path in session.members}
    lead = members[session.parts[0]]
    reference = lead if _has_clock(lead) else next(filter(_has_clock, members.values()), None)
    placed: dict[str, Placement] = {}
    origin = lead.start or next((one.start for one in members.values() if one.start), None)
    for one in members.values():
        root = one.path
        while root in made_from and made_from[root] in members:
            root = made_from[root]
        if root != one.path and root in placed:
            placed[one.path] = _with_root(one, members[root], placed[root])
        else:
            placed[one.path] = _place(one, members, reference, origin, placed, session.parts)
    zero = min(placed[path].offset_us for path in members if path not in session.products)
    places = {path: Placement(place.offset_us - zero, place.by) for path, place in placed.items()}
    return Clock(origin + zero * MICROSECOND if origin else None, places)


def _place(
    one: Member,
    members: Mapping[str, Member],
    reference: Member | None,
    origin: datetime | None,
    placed: Mapping[str, Placement],
    parts: Sequence[str],
) -> Placement:
    """Where a recording begins, from `origin`: the start of the first part, if it is known."""
    if reference and origin and reference.start and one.path != parts[0] and _share_clock(one, reference):
        ticks = int(one.origin.clock_us or 0) - int(reference.origin.clock_us or 0)
        return Placement((reference.start - origin) // MICROSECOND + ticks, HARDWARE)
    if one.start and origin:
        return Placement((one.start - origin) // MICROSECOND, STATED)
    if one.path in parts[1:]:
        before = members[parts[parts.index(one.path) - 1]]
        length_us = round(1e6 * before.info.n_samples * before.info.period_s)
        return Placement(placed[before.path].offset_us + length_us, IN_ORDER)
    return Placement(0, NO_TIME)


def _with_root(one: Member, root: Member, place: Placement) -> Placement:
    """The place of a product: as much later than what it was made from as it states."""
    if one.is_timeless or not (one.start and root.start):
        return place
    return Placement(place.offset_us + (one.start - root.start) // MICROSECOND, place.by)


def _share_clock(one: Member, other: Member) -> bool:
    return _has_clock(one) and one.origin.uuid == other.origin.uuid


def _has_clock(one: Member) -> bool:
    return bool(one.origin.uuid) and one.origin.clock_us is not None
