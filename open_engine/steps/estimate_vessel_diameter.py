"""The diameter of a blood vessel where a line crosses it, over time.

For each window of time, the profile of the mean image along the line: the mean of three parallel lines, the line
itself and its neighbours one pixel to either side, each drawn pixel by pixel (Bresenham 1965, IBM Systems J. 4; the
neighbours of a steep line lie left and right, those of another above and below), less its least value. The vessel is
the profile's peak.

- **Parametric FWHM**: the width of the Lorentzian fitted to the profile by least squares,
  L(x) = (a w / 2 pi) / ((x - c)^2 + (w / 2)^2), with amplitude a, full width at half maximum w and centre c. As the
  least value is subtracted before, the tails of a true Lorentzian are cut off: on a line of five to eight diameters
  its width comes out 4 to 9% too small.
- **Non-Parametric FWHM**: the distance between the places on either side of the greatest value where the profile falls
  through half the height, found between pixels by a straight line. `height_estimate_rule` says what half is: halfway
  from the peak to the least value of its own side (`independent`), to the least value of all (`global`), or the higher
  of the two halves of both sides, on both sides (`local`).

Widths and centres count steps along the drawn line; they are scaled to pixels by the distance of its end points over
its number of steps. Microns are pixels times the size of a pixel that the movie states.

With `auto_accept_reject` a vessel is rejected if its diameter changes from one sample to the next by more than
`rejection_threshold_fraction` of its mean, more than `rejection_threshold_count` times; else it is accepted.

The profile, the Lorentzian and the rules are public (docstrings of isx.algo). How IDPS fits, and where it draws the two
parallel lines of a slanted one, is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from open_engine.context import StepContext
from open_engine.files import frames, vesselsets
from open_engine.vessel_profiles import _along, _measured, _um_per_px, drawn_profile, px_per_step


def estimate_vessel_diameter(
    input_movie_files: Sequence[str],
    output_vessel_set_files: Sequence[str],
    lines: Sequence[Any],
    time_window: float = 2,
    time_increment: float = 1,
    output_units: str = "pixels",
    estimation_method: str = "Non-Parametric FWHM",
    height_estimate_rule: str = "independent",
    auto_accept_reject: bool = True,
    rejection_threshold_fraction: float = 0.2,
    rejection_threshold_count: int = 5,
    vessel_names: Sequence[str] = (),
    *,
    context: StepContext,
) -> None:
    """Diameter of the vessel under each line, over time; a vessel set for each movie.

    lines : pairs of points [x, y], px, each across one vessel.
    time_window, time_increment : length of a window and its step to the next, s.
    output_units : "pixels" or "microns" (by the size of a pixel that the movie states).
    estimation_method : "Parametric FWHM" or "Non-Parametric FWHM".
    height_estimate_rule : "independent", "global" or "local", for the second method.
    auto_accept_reject, rejection_threshold_fraction, rejection_threshold_count : see the last rule above.
    vessel_names : one for each line; V0, V1, ... if there are none.

    A sample without a peak is NaN. Raises Unusable if a line is outside the field or too short.
    """
    for i, (source, target) in enumerate(zip(input_movie_files, output_vessel_set_files)):
        with frames.open_movie(source) as movie:
            windows = vesselsets.windows(movie, time_window, time_increment)
            drawn = [drawn_profile(movie, np.asarray(line, int)) for line in lines]
            image, values = _along(movie, drawn, context, frames.span_of(i, len(input_movie_files)))
            vessels, statuses = [], []
            names = vesselsets.names_of(vessel_names, len(lines))
            for line, name, seen in zip(lines, names, values):
                line = np.asarray(line, np.int64)
                profiles = [_window_mean(seen, movie.valid, start, windows.length) for start in windows.starts]
                fits = [_measured(profile, estimation_method, height_estimate_rule) for profile in profiles]
                length, centre = (np.array(fits) * px_per_step(line, seen.shape[1])).T
                bad = _is_unsteady(length, rejection_threshold_fraction, rejection_threshold_count)
                statuses.append(("rejected" if bad else "accepted") if auto_accept_reject else "undecided")
                trace = length * (_um_per_px(movie, line) if output_units == "microns" else 1)
                vessels.append((image, line, trace.astype(np.float32), centre.astype(np.float32), name))
            noted = {"units": output_units, "estimationMethod": estimation_method}
            vesselsets.write(target, "vessel diameter", movie, windows, vessels, statuses, **noted)


def _window_mean(seen: np.ndarray, valid: np.ndarray, start: int, length: int) -> np.ndarray:
    """Mean of the recorded frames of a window, less its least value; NaN where there is none."""
    recorded = seen[start : start + length][valid[start : start + length]]
    if len(recorded) == 0:
        return np.full(seen.shape[1], np.nan)
    mean = recorded.mean(axis=0)
    return mean - mean.min()


def _is_unsteady(trace: np.ndarray, fraction: float, count: int) -> bool:
    """Whether a trace jumps too much; true also where nothing was measured."""
    if not np.isfinite(trace).any():
        return True
    with np.errstate(invalid="ignore"):
        return bool(np.count_nonzero(np.abs(np.diff(trace)) > fraction * np.nanmean(trace)) > count)
