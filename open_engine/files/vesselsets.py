"""What the two measurements on vessels share: windows of time, one vessel at a time, and the file they end in.

Both measure in a window of `time_window` seconds, and in the next one `time_increment` seconds later. The sample of a
vessel set stands for the window that begins at its time. A window in which no frame was recorded is a dropped sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import isx
import numpy as np

from open_engine.files import frames
from open_engine.files.cellsets import edit_footer
from open_engine.files.frames import Movie, Timing
from open_engine.files.whole import complete
from recording.errors import Unusable


@dataclass(frozen=True)
class Windows:
    """Where in a movie each window begins, and how many frames it has."""

    starts: np.ndarray  # (n,) int
    length: int
    timing: Timing  # of the vessel set
    stated: dict[str, float]  # as IDPS keeps window and increment, in s


def windows(movie: Movie, time_window: float, time_increment: float) -> Windows:
    """Raises Unusable where the movie is shorter than a window."""
    length = max(1, round(time_window * movie.timing.rate_hz))
    step = max(1, round(time_increment * movie.timing.rate_hz))
    if length > movie.n_frames:
        raise Unusable(
            f"{movie.path.name} lasts {float(movie.n_frames * movie.timing.period):g} s, less than time_window "
            f"({time_window:g} s): lower time_window"
        )
    starts = np.arange(0, movie.n_frames - length + 1, step)
    lost = [i for i, start in enumerate(starts) if not movie.valid[start : start + length].any()]
    period = Fraction(step) * movie.timing.period
    timing = replace(movie.timing, n_samples=len(starts), period=period, dropped=tuple(lost), cropped=(), blank=())
    stated = {"timeWindow": float(time_window), "timeIncrement": float(time_increment)}
    return Windows(starts, length, timing, stated)


def mean_image(total: np.ndarray, movie: Movie) -> np.ndarray:
    """Mean image, float32, from the sum of all frames. Frames that were not recorded add zero."""
    return (total / max(1, np.count_nonzero(movie.valid))).astype(np.float32)


def names_of(given: Sequence[str], n: int) -> list[str]:
    """Those given, or V0, V1, ... padded with zeros to one length."""
    return list(given) or [f"V{i:0{len(str(n - 1))}}" for i in range(n)]


def refuse_outside(movie: Movie, what: str, points: np.ndarray) -> None:
    """`points` are (..., 2) as x, y. Raises Unusable where one does not lie in the field."""
    rows, columns = movie.shape
    if (points < 0).any() or (points >= (columns, rows)).any():
        raise Unusable(
            f"{what} {points.tolist()} does not lie in the field of {movie.path.name}, which is {columns} px wide and "
            f"{rows} px high"
        )


def write(
    target: str,
    kind: str,
    movie: Movie,
    windows: Windows,
    vessels: Sequence[tuple[Any, ...]],
    statuses: Sequence[str],
    **noted: Any,
) -> None:
    """A vessel set of `kind` "vessel diameter" or "rbc velocity"; `vessels` hold what isx takes for each but the index.

    isx writes the data; timing, spacing and extra properties are put into the footer afterwards, as isx has no way to
    pass them. `noted` is what IDPS keeps in `idps.vesselset`.
    """
    path, timing = Path(target), windows.timing
    with complete(path) as temporary:
        made = isx.VesselSet.write(str(temporary), isx.Timing(timing.n_samples), isx.Spacing(movie.shape), kind)
        put = made.set_vessel_diameter_data if kind == "vessel diameter" else made.set_rbc_velocity_data
        for i, vessel in enumerate(vessels):
            put(i, *vessel)
        made.flush()
        del made, put
        what = "red blood cell velocity" if kind == "rbc velocity" else kind
        noted = {"type": what, "projectionType": "mean", **windows.stated, **noted}
        edit_footer(
            temporary,
            timingInfo=timing.as_json(),
            spacingInfo=movie.spacing.as_json(),
            extraProperties=frames.with_idps(movie.extra, vesselset=noted),
            VesselStatuses=[("accepted", "undecided", "rejected").index(status) for status in statuses],
        )
