"""What a recording says about itself against what it holds. Nothing here refuses: each finding is a warning.

The pre-check refuses what cannot be read. What remains can be read and may still be wrong, which nobody would see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.inspect.packets import PACKET
from recording import formats

IMPLAUSIBLE = 1e12  # no sensor, counter of 32 bits or trace made of one comes near; single flipped bits go beyond

Warn = Callable[[str], None]


def values(what: str, found: np.ndarray | list[np.ndarray], warn: Warn) -> dict[str, int]:
    """Count, for the JSON, the stored values that are no finite numbers, and those that no sensor gives."""
    arrays = found if isinstance(found, list) else [found]
    non_finite = sum(int(each.size - np.isfinite(each).sum()) for each in arrays)
    implausible = sum(int((np.isfinite(each) & (np.abs(each) > IMPLAUSIBLE)).sum()) for each in arrays)
    total = sum(each.size for each in arrays)
    if non_finite:
        warn(f"{non_finite} of {total} {what} are no finite numbers: the file may be damaged")
    if implausible:
        warn(f"{implausible} of {total} {what} are beyond {IMPLAUSIBLE:g}: the file may be damaged")
    return {"n_non_finite_values": non_finite, "n_implausible_values": implausible}


def frames(recording: Path, layout: formats.MovieLayout, warn: Warn) -> None:
    """Whether the file holds just the frames that it claims; that it holds fewer ends in the pre-check."""
    extra = formats.data_size(recording) - layout.n_stored * layout.stride
    if extra:
        more = f", as much as {extra // layout.stride} of them" if extra >= layout.stride else ""
        warn(
            f"it holds {extra} bytes more than the {layout.n_stored} frames that it claims{more}: "
            "its number of frames or their size may be wrong"
        )


def packets(recording: Path, footer: Mapping[str, Any], warn: Warn) -> None:
    """Whether each channel of an `.isxd` file has as many values as it claims, and all of them in its time."""
    if not formats.has_packets(footer):
        return
    stored = np.fromfile(recording, PACKET, count=formats.data_size(recording) // PACKET.itemsize)
    names = footer["channel list"]
    counts = np.bincount(stored["channel"].astype(np.int64), minlength=len(names))
    wrong = [
        f"{name} has {count} of {claimed}"
        for name, count, claimed in zip(names, counts, footer["numSamples"])
        if count != claimed
    ]
    if wrong:
        some = "; ".join(wrong[:3]) + ("; ..." if len(wrong) > 3 else "")
        warn(f"{len(wrong)} of {len(names)} channels do not hold as many values as they claim: {some}")
    start, end = (each["secsSinceEpoch"]["num"] / each["secsSinceEpoch"]["den"] for each in footer["global times"])
    late = int((stored["offset_us"] > (end - start) * 1e6 + 1e6).sum())  # a second, for clocks that are rounded
    if late:
        warn(f"{late} of {len(stored)} values lie after the end that the file states: it may be damaged")
