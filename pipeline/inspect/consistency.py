"""What a recording says about itself against what it holds. Nothing here refuses: each finding is a warning.

The pre-check refuses what cannot be read. What remains can be read and may still be wrong, which nobody would see.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.inspect.opened import OpenRecording
from pipeline.inspect.packets import part as part_at
from pipeline.inspect.packets import start_us
from recording import formats
from recording.errors import BadRecording, shown

EVENTS = 5  # type of an `.isxd` file
DENSE = 1  # type of a channel that has a value for each sample
FARTHEST = 14 * 3600  # seconds from UTC, of any place
BACKWARDS = "have values that are earlier than the one before"
AT_ONE_TIME = "have other values at the time of the one before"
CHUNK = 16 << 20  # bytes of a video
IMAGE = re.compile(rb"\xff\xd8\xff")
IMPLAUSIBLE = 1e12  # no sensor, counter of 32 bits or trace made of one comes near; single flipped bits go beyond

Warn = Callable[[str], None]


@dataclass
class Count:
    """Values that no sensor gives, counted array by array."""

    total: int = 0
    non_finite: int = 0
    implausible: int = 0

    def add(self, values: np.ndarray) -> None:
        finite = np.isfinite(values)
        self.total += values.size
        self.non_finite += values.size - np.count_nonzero(finite)
        self.implausible += np.count_nonzero(finite & (np.abs(values) > IMPLAUSIBLE))

    def report(self, what: str, warn: Warn) -> dict[str, int]:
        """Warns of them; for the JSON."""
        if self.non_finite:
            warn(f"{self.non_finite} of {self.total} {what} are not finite numbers: the file may be damaged")
        if self.implausible:
            warn(f"{self.implausible} of {self.total} {what} are beyond {IMPLAUSIBLE:g}: the file may be damaged")
        return {"n_non_finite_values": self.non_finite, "n_implausible_values": self.implausible}


def values(what: str, stored: np.ndarray | list[np.ndarray], warn: Warn) -> dict[str, int]:
    """Count, for the JSON, the stored values that are not finite numbers, and those that no sensor gives."""
    count = Count()
    for array in stored if isinstance(stored, list) else [stored]:
        count.add(array)
    return count.report(what, warn)


def frames(recording: OpenRecording, warn: Warn) -> None:
    """Whether the file holds just the frames that it claims; that it holds fewer ends in the pre-check."""
    layout = recording.layout
    extra = recording.data_size - layout.n_stored * layout.stride
    if extra:
        more = f", as much as {extra // layout.stride} of them" if extra >= layout.stride else ""
        warn(
            f"it holds {extra} bytes more than the {layout.n_stored} frames that it claims{more}: "
            "its number of frames or their size may be wrong"
        )


def packets(recording: OpenRecording, warn: Warn) -> None:
    """Whether the channels of an `.isxd` file hold what it says of them: how many values, and when."""
    footer, stored = recording.footer, recording.packets
    if stored is None:
        _parts(recording, footer, warn)
        return
    names = footer["channel list"]
    ordered = stored[np.argsort(stored["channel"], kind="stable")]
    channels = np.split(ordered, np.searchsorted(ordered["channel"], np.arange(1, len(names))))
    moments = (moment["secsSinceEpoch"] for moment in footer["global times"][:2])
    start, end = (moment["num"] / moment["den"] for moment in moments)
    _warn_of_late(stored["offset_us"], (end - start) * 1e6, warn)
    for what, wrong in _wrong_channels(channels, footer, end - start):
        _warn_of_channels(what, wrong, len(names), warn)
    lists = ("signalSteps", "signalTypes", "startOffsets", "numSamples")
    lengths = [f"{len(footer[name])} {name}" for name in lists if len(footer[name]) != len(names)]
    if lengths:
        warn(f"it names {len(names)} channels but states {', '.join(lengths)}: it may be damaged")
    if footer.get("type") == EVENTS and len({json.dumps(step) for step in footer["signalSteps"]}) > 1:
        warn("its cells have different sampling rates, although they are of one movie: it may be damaged")


def _parts(recording: OpenRecording, footer: Mapping[str, Any], warn: Warn) -> None:
    """Whether the parts of the channels follow each other, in files of the first kind (isxEventBasedFileV1.cpp), and
    hold values of the time that the file states."""
    places = sorted((place, name) for name, place in footer["channel offsets"].items())
    path, size = recording.stored, recording.data_size
    after = stray = 0
    stored: dict[str, np.ndarray] = {}
    for place, name in places:
        try:
            part = part_at(path, place, size)
        except (KeyError, TypeError, ValueError):
            warn("the description of one of its channels cannot be read: it may be damaged")
            return
        if part.name != name:
            warn(f"the channel {name} calls itself {shown(part.name)}: it may be damaged")
        stray += abs(place - after)
        stored[name], after = part.values, part.end
    stray += abs(size - after)
    if stray:
        warn(f"{stray} bytes belong to none of its {len(places)} channels: it may be damaged")
    _times_of_parts({name: part["time_us"] for name, part in stored.items()}, footer, warn)
    twice = [(name, _at_one_time(part["time_us"], part["value"])) for name, part in stored.items()]
    _warn_of_channels(AT_ONE_TIME, [f"{name} {count}" for name, count in twice if count], len(stored), warn)


def _times_of_parts(times: Mapping[str, np.ndarray], footer: Mapping[str, Any], warn: Warn) -> None:
    try:
        start, timing = start_us(footer), footer["timing info"]
        end_us = start + 1e6 * timing["numTimes"] * timing["period"]["num"] / timing["period"]["den"]
    except (ArithmeticError, KeyError, TypeError):
        warn("it does not state its start and end as it should: the times of its values cannot be checked")
        return
    everything = np.concatenate([*times.values(), np.zeros(0, np.uint64)])
    _warn_of_late(everything, end_us, warn)
    early = int((everything < start).sum())
    if early:
        were = f"{early} of {len(everything)} values lie before the start that the file states"
        warn(f"{were}, and are left out: it may be damaged")
    back = [f"{name} {count}" for name, offsets in times.items() if (count := _backwards(offsets))]
    _warn_of_channels(BACKWARDS, back, len(times), warn)


def _warn_of_late(times_us: np.ndarray, end_us: float, warn: Warn) -> None:
    late = int((times_us > end_us + 1e6).sum())  # a second, for clocks that are rounded
    if late:
        warn(f"{late} of {len(times_us)} values lie after the end that the file states: it may be damaged")


def _warn_of_channels(what: str, wrong: list[str], n_channels: int, warn: Warn) -> None:
    some = "; ".join(wrong[:3]) + ("; ..." if len(wrong) > 3 else "")
    if wrong:
        warn(f"{len(wrong)} of {n_channels} channels {what}: {some}")


def _backwards(times_us: np.ndarray) -> int:
    """How many are earlier than the one before."""
    return int((times_us[1:] < times_us[:-1]).sum())


def _at_one_time(times_us: np.ndarray, values: np.ndarray) -> int:
    """How many are at the time of the one before, and not what that one is."""
    differ = (values[1:] != values[:-1]) & ~(np.isnan(values[1:]) & np.isnan(values[:-1]))
    return int((differ & (times_us[1:] == times_us[:-1])).sum())


def _wrong_channels(
    channels: list[np.ndarray], footer: Mapping[str, Any], seconds: float
) -> Iterator[tuple[str, list[str]]]:
    """What the file says of its channels and does not keep, and of which."""
    named = list(zip(footer["channel list"], channels))
    claims = zip(named, footer["numSamples"])
    yield (
        "do not hold as many values as they claim",
        [f"{name} has {len(stored)} of {claimed}" for (name, stored), claimed in claims if len(stored) != claimed],
    )
    firsts = [
        (name, int(stored["offset_us"][0]), claimed)
        for (name, stored), claimed in zip(named, footer["startOffsets"])
        if len(stored)
    ]
    yield (
        "do not begin when they claim to",
        [f"{name} at {first} µs, not {claimed}" for name, first, claimed in firsts if first != claimed],
    )
    back = [(name, _backwards(stored["offset_us"])) for name, stored in named]
    yield BACKWARDS, [f"{name} {count}" for name, count in back if count]
    twice = [(name, _at_one_time(stored["offset_us"], stored["value"])) for name, stored in named]
    yield AT_ONE_TIME, [f"{name} {count}" for name, count in twice if count]
    regular = [
        (name, _off_grid(stored["offset_us"], step), len(stored) * step["num"] / step["den"] - seconds)
        for (name, stored), step, kind in zip(named, footer["signalSteps"], footer["signalTypes"])
        if kind == DENSE and step["num"]
    ]
    yield (
        "have values that are not at the times of their samples",
        [f"{name} {count}" for name, count, _ in regular if count],
    )
    yield (
        "do not last as long as the recording",
        [
            f"{name} {difference:+.3g} s"
            for name, _, difference in regular
            if abs(difference) > max(0.5, 0.01 * seconds)
        ],
    )


def _off_grid(times_us: np.ndarray, step: Mapping[str, int]) -> int:
    """How many values are not where the samples of a channel that misses none are; times are rounded."""
    return int((np.abs(times_us - np.arange(len(times_us)) * 1e6 * step["num"] / step["den"]) > 2).sum())


def stated(properties: Mapping[str, Any], warn: Warn) -> None:
    """What any recording says of its time, its pixels and its names, against what can be."""
    start = properties.get("start")
    if start is None or not "1970" <= start[:4] < "2100":
        warn(f"it starts at {start or 'a time that is no date'}, which is impossible: its time may be damaged")
    footer = properties.get("file_metadata") or {}
    timing = footer.get("timingInfo") or {}
    stated = [timing["start"]] if timing else footer.get("global times", [])[:1]
    offsets = [moment["utcOffset"] for moment in stated] + [60 * footer.get("header", {}).get("utc_offset_min", 0)]
    for offset in offsets:
        if abs(offset) > FARTHEST:
            warn(f"its offset from UTC is {offset / 3600:.3g} h, which no place has: its time may be damaged")
    period = properties.get("period_s") or 0
    if not 1e-6 <= period <= 86400:
        warn(f"its samples are {period:g} s apart, which is impossible: its timing may be damaged")
    sizes = [properties[name] for name in ("pixel_width_um", "pixel_height_um") if name in properties]
    if not all(0.01 <= size <= 1000 for size in sizes):
        warn(f"its pixels measure {' × '.join(f'{size:g}' for size in sizes)} µm, which is impossible")
    names = next((footer[key] for key in ("CellNames", "VesselNames", "channel list") if key in footer), [])
    twice = len(names) - len(set(names))
    if twice or not all(names):
        warn(f"{twice} of its {len(names)} names occur more than once, and {names.count('')} are empty")
    missing = [*(timing.get("dropped") or []), *(timing.get("blank") or [])]
    if len(missing) != len(set(missing)):
        warn(f"it lists {len(missing) - len(set(missing))} of its missing samples more than once: it may be damaged")


def video(
    recording: Path, header: formats.IsxbHeader, meta: Mapping[str, Any], session: Mapping[str, Any], warn: Warn
) -> None:
    """Whether an `.isxb` file holds the frames that it claims, and describes them without contradiction.

    Raises BadRecording if there are fewer: the library would look for the others for ever.
    """
    n_images = len(image_offsets(recording, header))
    if n_images < header.n_frames:
        raise BadRecording(
            recording,
            f"its video holds {n_images} of the {header.n_frames} frames that it should: it was cut short or damaged",
        )
    if n_images > header.n_frames:
        warn(f"its video holds {n_images} frames, but it claims {header.n_frames}: it may be damaged")
    ends = (header.video_offset + header.video_size, header.meta_offset + header.meta_size)
    if ends != (header.meta_offset, header.session_offset):
        warn("its parts do not follow each other as they should: its header may be damaged")
    samples = meta.get("samples", [])
    if meta and not samples:
        warn("its frame metadata describe no frame: when each was taken is not known")
    for name in ("fc", "tsc"):
        counted = [sample.get(name) if isinstance(sample, dict) else None for sample in samples]
        counts = [count for count in counted if isinstance(count, int)]
        back = sum(after <= before for before, after in zip(counts, counts[1:]))
        if back or len(counts) != len(samples):
            warn(f"{back + len(samples) - len(counts)} of {len(samples)} frames have no {name} after the one before")
        elif name == "fc" and counts:
            _dropped(counts, meta.get("droppedFrames") or [], warn)
    _tracked(samples, session, warn)


def image_offsets(recording: Path, header: formats.IsxbHeader) -> list[int]:
    """Where the images of the video begin. JPEGs begin with FFD8, and another marker follows: no compressed data holds
    that.
    """
    offsets, last, at = [], b"", header.video_offset
    with recording.open("rb") as file:
        file.seek(at)
        while at < header.meta_offset and (chunk := file.read(min(header.meta_offset - at, CHUNK))):
            both = last + chunk
            offsets += [at - len(last) + match.start() for match in IMAGE.finditer(both)]
            last, at = chunk[-2:], at + len(chunk)
    return offsets


def _dropped(counts: list[int], listed: Any, warn: Warn) -> None:
    if not isinstance(listed, list):
        warn("its list of dropped frames is no list: it may be damaged")
        return
    missing = counts[-1] - counts[0] + 1 - len(counts)
    if missing != len(listed):
        warn(f"{missing} frames are missing by its frame counter, {len(listed)} by its list: it may be damaged")


def has_boxes(samples: list[Any]) -> bool:
    """Whether every box that tracking found has its four numbers.

    The library takes them without asking whether they are there (isxNVisionTracking.cpp), which ends the process.
    """
    trackers = [sample.get("tracker") for sample in samples if isinstance(sample, dict)]
    boxes = [tracker["box"] for tracker in trackers if isinstance(tracker, dict) and "box" in tracker]
    return all(
        isinstance(box, list) and len(box) >= 4 and all(isinstance(number, (int, float)) for number in box[:4])
        for box in boxes
    )


def _tracked(samples: list[Any], session: Mapping[str, Any], warn: Warn) -> None:
    """Boxes, confidence and zones that nVision's tracking cannot have found."""
    trackers = [sample["tracker"] for sample in samples if isinstance(sample, dict) and "tracker" in sample]
    interfaces = session.get("trackingInterface")
    cameras = interfaces.values() if isinstance(interfaces, dict) else ()
    known = [camera.get("zones") for camera in cameras if isinstance(camera, dict)]
    zones = [
        (zone.get("id"), zone.get("name"))
        for listed in known
        if isinstance(listed, list)
        for zone in listed
        if isinstance(zone, dict)
    ]
    odd = sum(not _can_be(tracker, zones) for tracker in trackers)
    if odd:
        warn(f"{odd} of {len(trackers)} positions have an impossible box, confidence or zone: it may be damaged")


def _can_be(tracker: Any, zones: list[Any]) -> bool:
    try:
        left, top, right, bottom = tracker["box"]
        inside = tracker.get("zones") or []  # one, or a list of several
        inside = inside if isinstance(inside, list) else [inside]
        named = all((zone.get("id"), zone.get("name")) in zones for zone in inside)
        return 0 <= left <= right and 0 <= top <= bottom and 0 <= tracker["conf"] <= 100 and named
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
