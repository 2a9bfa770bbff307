"""`.isxb`: a header of 12 uint64, then video (Motion JPEG), frame metadata and session (both JSON)."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from recording.findings import RecordingInfo
from recording.formats.fields import BYTES_OF_MISSING, MAX_SAMPLES, MISSING_FREE, field, listed, to_datetime, whole
from recording.formats.file import Damaged, File, opened
from recording.formats.origin import of_camera
from recording.formats.timing import Timing, read_timing

HEADER = struct.Struct("<QQQq" + "Q" * 8)


@dataclass(frozen=True)
class IsxbHeader:
    """The header of an `.isxb` file; offsets and sizes in bytes."""

    version: int
    header_size: int
    epoch_ms: int
    utc_offset_min: int
    n_frames: int
    n_dropped: int
    video_offset: int
    video_size: int
    meta_offset: int
    meta_size: int
    session_offset: int
    session_size: int


def check(file: File) -> RecordingInfo:
    header, meta, session = _parts(file)
    samples = listed(meta, "samples") if "samples" in meta else []
    if len(samples) != header.n_frames and (samples or "timingInfo" not in session):
        raise Damaged(f"describes {len(samples)} frames but claims {header.n_frames}: it is damaged")
    if header.n_frames == 0:
        raise Damaged("the movie has no frames")
    timing = read_timing(session) if "timingInfo" in session else _timing_of(header, meta, samples)
    n_missing = timing.n_samples - timing.n_stored
    if n_missing > MISSING_FREE + file.size // BYTES_OF_MISSING or timing.n_samples > MAX_SAMPLES:
        raise Damaged(f"its header is damaged: it claims {timing.n_samples} frames")
    if timing.n_stored != header.n_frames:
        raise Damaged(
            f"claims {header.n_frames} frames, but {timing.n_samples} less {n_missing} that were dropped: it is damaged"
        )
    width, height = _size(session)
    tracked = "trackingInterface" in session or any(
        isinstance(sample, dict) and "tracker" in sample for sample in samples
    )
    return file.info(
        "nvision" if tracked else "behavior_movie",
        n_samples=timing.n_samples,
        start=timing.start,
        period_s=timing.period_s,
        width=width,
        height=height,
        origin=of_camera(session, _first_tick(samples, timing)),
    )


def _first_tick(samples: list[Any], timing: Timing) -> int | None:
    """The hardware clock in µs at the first frame, as isx has it: reckoned back if that one was dropped."""
    try:
        return samples[0]["tsc"] - round(timing.first_stored * timing.period_s * 1e6)
    except (IndexError, KeyError, TypeError):
        return None


def _timing_of(header: IsxbHeader, meta: dict[str, Any], samples: list[Any]) -> Timing:
    """Timing from clock and counter in the description of the frames, as in the library."""
    n_samples = header.n_frames + header.n_dropped
    first, last = samples[0], samples[-1]
    ticks = whole(last, "tsc") - whole(first, "tsc")
    frames = whole(last, "fc") - whole(first, "fc")
    if n_samples > 1 and (ticks <= 0 or frames <= 0):
        raise Damaged("its frame metadata are damaged: time does not advance")
    dropped = meta.get("droppedFrames") or []
    if not isinstance(dropped, list) or not all(isinstance(i, int) and 0 <= i < n_samples for i in dropped):
        raise Damaged("its frame metadata are damaged: droppedFrames")
    if dropped and len(set(dropped)) != header.n_dropped:
        raise Damaged(f"lists {len(set(dropped))} dropped frames but claims {header.n_dropped}: it is damaged")
    start = to_datetime(Fraction(header.epoch_ms, 1000), header.utc_offset_min * 60)
    return Timing(n_samples, ticks / frames / 1e6 if frames else 0.0, start, tuple(dropped), (), ())


def _size(session: dict[str, Any]) -> tuple[int, int]:
    """Size of a frame, in px, from where the library takes it."""
    if "spacingInfo" in session:
        view = field(field(session, "spacingInfo"), "numPixels")
        names = ("x", "y")
    else:
        camera = field(session, "cameraName")
        view = field(field(field(session, "processingInterface"), str(camera)), "recordFov")
        for name in ("originx", "originy"):
            field(view, name)
        names = ("width", "height")
    width, height = (whole(view, name, low=1, high=1 << 16) for name in names)
    return width, height


def _parts(file: File) -> tuple[IsxbHeader, dict[str, Any], dict[str, Any]]:
    if file.size < HEADER.size:
        raise Damaged("too short to hold its header")
    header = IsxbHeader(*HEADER.unpack(file.read(0, HEADER.size)))
    after = header.meta_offset + header.meta_size if header.meta_size else header.session_offset
    segments = {
        "video": (header.video_offset, header.video_size),
        "frame metadata": (header.meta_offset, header.meta_size),
        "session": (after, header.session_size),  # where the library looks for it
    }
    for name, (offset, size) in segments.items():
        if offset + size > file.size or (size == 0 and name == "session"):  # the library needs no other size
            raise Damaged(
                f"its {name} should lie at bytes {offset} to {offset + size} of {file.size}: it was cut short"
            )
    session = file.json(after, header.session_size, "session")
    if not header.meta_size or file.read(header.meta_offset, header.meta_size).strip(b"\0 ") == b"null":
        return header, {}, session  # processed movies need none
    return header, file.json(header.meta_offset, header.meta_size, "frame metadata"), session


def read_isxb(path: str | os.PathLike[str]) -> tuple[IsxbHeader, dict[str, Any], dict[str, Any]]:
    """Header, frame metadata and session of an `.isxb` file. Raises BadRecording."""
    with opened(path) as file:
        return _parts(file)
