"""What PID 1 and the process of the pre-check say to each other, and the records keep: findings as JSON.

Whoever reads refuses what is not exactly as it should be: a record lies where others may write.
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

from recording.errors import BadRecording
from recording.formats.info import RecordingInfo
from recording.kinds import KINDS

TOO_MUCH_MEMORY = "its metadata need more memory to check than there is: they are damaged, or the run needs more memory"
_COUNTS = ("size", "n_samples", "width", "height")


def path_to_json(path: Path) -> bytes:
    return json.dumps(str(path)).encode()


def path_from_json(line: bytes) -> Path:
    return Path(json.loads(line))


def refusal_to_json(reason: str) -> bytes:
    return json.dumps({"reason": reason}).encode()


def info_to_json(info: RecordingInfo) -> bytes:
    return json.dumps({"kind": info.kind, "size": info.size, "mtime_ns": info.mtime_ns, **facts(info)}).encode()


def from_json(path: Path, line: bytes) -> RecordingInfo:
    """Raises BadRecording for a refusal, ValueError for what is neither."""
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if isinstance(content.get("reason"), str):
        raise BadRecording(path, content["reason"])
    return info_of(path, content)


def facts(info: RecordingInfo) -> dict[str, Any]:
    """The part of the findings by which series are recognised."""
    return {
        "n_samples": info.n_samples,
        "period_s": info.period_s,
        "width": info.width,
        "height": info.height,
        "pixel_um": info.pixel_um,
        "names": info.names,
        "start": info.start.isoformat() if info.start else None,
    }


def info_of(path: Path, content: dict[str, Any]) -> RecordingInfo:
    """Raises ValueError if anything is missing, of another type, or no finite number."""
    try:
        start = datetime.fromisoformat(content["start"]) if content["start"] is not None else None
        info = RecordingInfo(
            path,
            content["kind"],
            mtime_ns=content["mtime_ns"],
            **{name: content[name] for name in _COUNTS},
            start=start,
            period_s=content["period_s"],
            pixel_um=tuple(content["pixel_um"]),
            names=tuple(content["names"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"no finding of the pre-check: {error!r}") from None
    counts = [getattr(info, name) for name in _COUNTS]
    lengths = [info.period_s, *info.pixel_um]
    sound = (
        isinstance(info.kind, str)
        and info.kind in KINDS
        and type(info.mtime_ns) is int
        and all(type(count) is int and 0 <= count < 1 << 63 for count in counts)
        and len(lengths) == 3
        and all(type(length) in (int, float) and math.isfinite(length) for length in lengths)
        and all(isinstance(name, str) for name in info.names)
        and (start is None or start.tzinfo is not None)
    )
    if not sound:
        raise ValueError("no finding of the pre-check")
    return info
