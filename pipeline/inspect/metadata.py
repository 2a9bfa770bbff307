"""The JSON beside each recording's results: its properties, its origin and the software that read it."""

from __future__ import annotations

import functools
import json
import math
import platform
from collections.abc import Callable, Mapping
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from common import NAME
from common import version as ours
from recording.formats.fields import to_datetime

SCHEMA_VERSION = 1
READERS = ("isx", "numpy", "scipy", "pandas", "tifffile", "pillow", "matplotlib")


def common(recording: Path, kind: str) -> dict[str, Any]:
    """The part that every kind of recording has."""
    status = recording.stat()
    modified = to_datetime(Fraction(status.st_mtime_ns, 10**9), 0)  # None if it is of no year
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "input": {"name": recording.name, "size_bytes": status.st_size, "modified": modified and modified.isoformat()},
    }


def timing(timing: Any) -> dict[str, Any]:
    """What an isx.Timing states: rate, duration, start and how many samples are missing, and why."""
    period = timing.period.secs_float
    return {
        "sampling_rate_hz": 1 / period if period else None,
        "period_s": period,
        "n_samples": timing.num_samples,
        "duration_s": duration_s(timing),
        "start": start(timing),
        "n_dropped": len(timing.dropped),
        "n_cropped": sum(last - first + 1 for first, last in timing.cropped),
        "n_blank": len(timing.blank),
    }


def valid_samples(timing: Any) -> np.ndarray:
    """Whether each sample of an isx.Timing is neither dropped, cropped nor blank, shape (n_samples,)."""
    return timing.get_valid_samples_mask() if timing.num_samples else np.zeros(0, bool)


def traces(timing: Any, n: int, read: Callable[[int], np.ndarray]) -> np.ndarray:
    """Traces of n cells or vessels, shape (n, samples), float32; NaN if the sample is missing."""
    filled = np.full((n, timing.num_samples), np.nan, np.float32)
    valid = valid_samples(timing)
    for trace, i in zip(filled, range(n)):
        trace[valid] = read(i)[valid]
    return filled


def duration_s(timing: Any) -> float:
    """Duration of an isx.Timing, missing samples included, as near as float64 can be: 204.7, not 204.70000000000002."""
    period = timing.period._impl
    return timing.num_samples * period.num / period.den if period.den else 0.0


def start(timing: Any) -> str | None:
    """When an isx.Timing starts, ISO 8601 with the recording's own offset from UTC."""
    time = timing.start._impl  # isx.Time.to_datetime adds the offset and forgets it
    seconds = time.secs_since_epoch
    moment = to_datetime(Fraction(seconds.num, seconds.den), time.utc_offset) if seconds.den else None
    return moment.isoformat(timespec="milliseconds") if moment else None


def spacing(spacing: Any) -> dict[str, Any]:
    """What an isx.Spacing states: size in px, size of a pixel in µm on the sensor."""
    rows, columns = spacing.num_pixels
    width, height = spacing._impl.pixel_width._as_float(), spacing._impl.pixel_height._as_float()  # no public name
    return {"width_px": columns, "height_px": rows, "pixel_width_um": width, "pixel_height_um": height}


@functools.cache
def software() -> Mapping[str, Any]:
    """Versions of the software that reads recordings and writes results."""
    versions: dict[str, Any] = {NAME: ours(), "python": platform.python_version()}
    for package in READERS:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def write(path: Path, content: Any) -> None:
    """Write strict JSON: numbers that are not finite become null, arrays become lists."""
    text = json.dumps(_strict(content), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _strict(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(part) for part in value]
    if hasattr(value, "tolist"):  # NumPy's
        return _strict(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
