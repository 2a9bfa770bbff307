"""Fields of the JSON in recordings, each with the type and range that it must have. All raise Damaged."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

from recording.errors import shown
from recording.formats.file import Damaged

MAX_SAMPLES = 1 << 31
# Frames that are not stored still get a row in tables, so their number must be in proportion to the file.
MISSING_FREE = 3_000_000  # a day at 30 Hz, cropped whole
BYTES_OF_MISSING = 16  # of file, for each further one
MAX_NAME = 1000  # characters; the name of a cell or channel is written beside each of its values


def field(holder: Any, name: str) -> Any:
    if not isinstance(holder, dict) or name not in holder:
        raise Damaged(f"its metadata are damaged: no {name}")
    return holder[name]


def whole(holder: Any, name: str, low: int = 0, high: int = (1 << 63) - 1) -> int:
    value = field(holder, name)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Damaged(f"its metadata are damaged: {name} is {shown(value)}")
    return value


def listed(holder: Any, name: str) -> list[Any]:
    value = field(holder, name)
    if not isinstance(value, list):
        raise Damaged(f"its metadata are damaged: {name} is not a list")
    return value


def names_in(holder: Any, name: str) -> tuple[str, ...]:
    names = listed(holder, name)
    if not all(isinstance(entry, str) for entry in names):
        raise Damaged(f"its metadata are damaged: {name} are not all text")
    if any(len(entry) > MAX_NAME for entry in names):
        raise Damaged(f"its metadata are damaged: {name} has a name of {max(map(len, names))} characters")
    return tuple(names)


def ratio(holder: Any, name: str, low: float, high: float) -> Fraction:
    parts = field(holder, name)
    num = whole(parts, "num", low=-(1 << 63))
    den = whole(parts, "den", low=1, high=10**12)
    value = Fraction(num, den)
    if not low <= value <= high:
        raise Damaged(f"its metadata are damaged: {name} is {float(value):g}")
    return value


def time(holder: Any, name: str) -> tuple[Fraction, int]:
    """Seconds since the epoch, and offset from UTC in seconds."""
    parts = field(holder, name)
    seconds = ratio(parts, "secsSinceEpoch", -1e12, 1e12)
    return seconds, whole(parts, "utcOffset", low=-(1 << 31), high=(1 << 31) - 1)


def to_datetime(seconds: Fraction, utc_offset: int) -> datetime | None:
    """A time as a datetime: in UTC if the offset is absurd, None if the time itself is."""
    zone = timezone(timedelta(seconds=utc_offset)) if abs(utc_offset) < 86400 else timezone.utc
    try:
        epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
        return (epoch + timedelta(microseconds=round(seconds * 1_000_000))).astimezone(zone)
    except OverflowError:
        return None
