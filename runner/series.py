"""Parts of one recording: recognised by their names, confirmed by their metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from recording.findings import RecordingInfo
from runner.discover import Recording

CLOCK_ERROR = 0.002  # 0.0008 was seen in a recording of 10 Hz
_NAMED_PART = re.compile(r"part[ _-]*(\d+)", re.ASCII | re.IGNORECASE)
_LAST_NUMBER = re.compile(r"(\d+)(?!.*\d)", re.ASCII | re.DOTALL)


def part_of(recording: Recording) -> tuple[str, str, str, int] | None:
    """The folder and the stem without its part number, the suffix, and the number; None without a number.

    The part number follows the word "part", or else is the last number of the stem.
    """
    match = _NAMED_PART.search(recording.stem) or _LAST_NUMBER.search(recording.stem)
    if not match:
        return None
    rest = recording.stem[: match.start(1)] + "#" + recording.stem[match.end(1) :]
    return recording.folder, rest, recording.suffix, int(match[1])


def is_named_part(recording: Recording) -> bool:
    """Whether its name says that it is a part, not only that it has a number."""
    return _NAMED_PART.search(recording.stem) is not None


def name_groups(recordings: Iterable[Recording]) -> list[list[Recording]]:
    """Group recordings whose names differ only by a part number; the rest stand alone. Order is kept."""
    groups: dict[object, list[Recording]] = {}
    for recording in recordings:
        part = part_of(recording)
        groups.setdefault(part[:3] if part else recording.relative, []).append(recording)
    return list(groups.values())


def find_series(recordings: Sequence[Recording], infos: Mapping[str, RecordingInfo]) -> list[list[Recording]]:
    """Series among the recordings (of which `infos` knows, by relative path), each in order of start.

    Parts lie in one folder, have names that differ only by a part number, are of one kind, spacing and rate, and
    their times do not overlap. Only groups of two and more are series.
    """
    series = []
    for group in name_groups(recordings):
        alike: dict[object, list[Recording]] = {}
        for recording in group:
            info = infos.get(recording.relative)
            if info and info.start and info.end:
                alike.setdefault(info.series_key, []).append(recording)
        for parts in alike.values():
            parts.sort(key=lambda part: (infos[part.relative].start, part.relative))
            if len(parts) > 1 and not _overlap([infos[part.relative] for part in parts]):
                series.append(parts)
    return series


def _overlap(infos: Sequence[RecordingInfo]) -> bool:
    """Whether one begins before the one before it has ended.

    Half a sample's rounding is forgiven, and a clock that runs CLOCK_ERROR off: raw movies state the rate that was set,
    from which the true one, by which isx goes, differs.
    """
    return any(
        (before.end - after.start).total_seconds()  # type: ignore[operator]
        > before.period_s * max(0.5, CLOCK_ERROR * before.n_samples)
        for before, after in zip(infos, infos[1:])
    )
