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
from scipy.optimize import least_squares

from open_engine.context import StepContext
from open_engine.files import frames, vesselsets
from open_engine.files.frames import Movie
from recording.errors import Unusable

PARAMETRIC = "Parametric FWHM"
LEAST_PROFILE = 5  # px


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
    """See the module. `lines` are pairs of points [x, y]; samples without a peak are NaN."""
    for i, (source, target) in enumerate(zip(input_movie_files, output_vessel_set_files)):
        with frames.open_movie(source) as movie:
            windows = vesselsets.windows(movie, time_window, time_increment)
            drawn = [drawn_profile(movie, np.asarray(line, int)) for line in lines]
            image, values = _along(movie, drawn, context, frames.share(i, len(input_movie_files)))
            vessels, statuses = [], []
            names = vesselsets.names_of(vessel_names, len(lines))
            for line, name, seen in zip(lines, names, values):
                line = np.asarray(line, np.int64)
                profiles = [_window_mean(seen, movie.valid, start, windows.length) for start in windows.starts]
                found = [_measured(profile, estimation_method, height_estimate_rule) for profile in profiles]
                length, centre = (np.array(found) * px_per_step(line, seen.shape[1])).T
                bad = _is_unsteady(length, rejection_threshold_fraction, rejection_threshold_count)
                statuses.append(("rejected" if bad else "accepted") if auto_accept_reject else "undecided")
                trace = length * (_um_per_px(movie, line) if output_units == "microns" else 1)
                vessels.append((image, line, trace.astype(np.float32), centre.astype(np.float32), name))
            noted = {"units": output_units, "estimationMethod": estimation_method}
            vesselsets.write(target, "vessel diameter", movie, windows, vessels, statuses, **noted)


def drawn_line(start: Sequence[int], end: Sequence[int]) -> np.ndarray:
    """The pixels of a line, from start to end, (n, 2) as x, y: one for each step along its longer axis."""
    start, end = np.asarray(start, int), np.asarray(end, int)
    n = int(np.abs(end - start).max())
    steps = np.arange(n + 1)[:, np.newaxis]
    # halves are rounded away from the start, as Bresenham's error term does
    offsets = (2 * steps * np.abs(end - start) + n) // (2 * n) if n else 0 * steps
    return start + np.sign(end - start) * offsets


def drawn_profile(movie: Movie, line: np.ndarray) -> np.ndarray:
    """The line and its neighbours, (3, n, 2) as x, y. Those beyond the edge of the field are held at it."""
    vesselsets.refuse_outside(movie, "the line", line)
    middle = drawn_line(*line)
    if len(middle) < LEAST_PROFILE:
        raise Unusable(
            f"the line {line.tolist()} is {len(middle)} px long, too short for a vessel: draw it from tissue to tissue"
        )
    across, down = np.abs(line[1] - line[0])
    aside = np.array([0, 1] if across >= down else [1, 0])
    rows, columns = movie.shape
    return np.clip([middle - aside, middle, middle + aside], 0, [columns - 1, rows - 1])


def _along(
    movie: Movie, drawn: Sequence[np.ndarray], context: StepContext, span: tuple[float, float]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The movie's mean image, and for each line what each frame shows along it, (frames, n): the mean of its three."""

    def work(start: int, stop: int) -> tuple[np.ndarray, list[np.ndarray]]:
        block = movie.read(start, stop)
        seen = [block[:, each[..., 1], each[..., 0]].mean(axis=1, dtype=np.float64) for each in drawn]
        return block.sum(axis=0, dtype=np.float64), seen

    total, values = np.zeros(movie.shape), []
    for part, seen in frames.each_block(frames.chunks(movie, frames.BLOCK_MB), work, context, span):
        total += part
        values.append(seen)
    return vesselsets.mean_image(total, movie), [np.concatenate(each) for each in zip(*values)]


def _window_mean(seen: np.ndarray, valid: np.ndarray, start: int, length: int) -> np.ndarray:
    """Of the recorded frames of a window, less its least value; NaN where there is none."""
    recorded = seen[start : start + length][valid[start : start + length]]
    if len(recorded) == 0:
        return np.full(seen.shape[1], np.nan)
    mean = recorded.mean(axis=0)
    return mean - mean.min()


def px_per_step(line: np.ndarray, n: int) -> float:
    return float(np.hypot(*(line[1] - line[0]))) / (n - 1)


def _um_per_px(movie: Movie, line: np.ndarray) -> float:
    """Along the line, as pixels need not be square."""
    apart = (line[1] - line[0]).astype(float)
    return float(np.hypot(*(apart * [float(each) for each in movie.spacing.pixel])) / np.hypot(*apart))


def _measured(profile: np.ndarray, method: str, rule: str) -> tuple[float, float]:
    """Width and centre in steps along the profile; NaN where there is no peak."""
    if not np.isfinite(profile).all() or profile.max() <= 0:
        return np.nan, np.nan
    if method == PARAMETRIC:
        _, width, centre = fitted_lorentzian(profile)
        return width, centre
    left, right = half_heights(profile, rule)
    return right - left, (left + right) / 2


def half_heights(profile: np.ndarray, rule: str) -> tuple[float, float]:
    """Where the profile falls through half its height on either side of its greatest value; NaN where it does not."""
    peak = int(profile.argmax())
    sides = (profile[peak::-1], profile[peak:])
    halves = [(profile[peak] + side.min()) / 2 for side in sides]
    if rule == "global":
        halves = [(profile[peak] + profile.min()) / 2] * 2
    elif rule == "local":
        halves = [max(halves)] * 2
    left, right = (_fall(side, half) for side, half in zip(sides, halves))
    return peak - left, peak + right


def _fall(side: np.ndarray, half: float) -> float:
    """How many steps from its start a profile falls to a value."""
    below = np.flatnonzero(side <= half)
    if len(below) == 0 or below[0] == 0:
        return np.nan
    k = int(below[0])
    return k - 1 + float((side[k - 1] - half) / (side[k - 1] - side[k]))


def fitted_lorentzian(profile: np.ndarray) -> tuple[float, float, float]:
    """Amplitude, full width at half maximum and centre, in steps. Starts from the peak and its width at half height."""
    x = np.arange(len(profile))
    left, right = half_heights(profile, "global")
    width = right - left if np.isfinite(right - left) else len(profile) / 4
    start = [profile.max() * np.pi * width / 2, width, float(profile.argmax())]
    low, high = [0, 1e-3, 0], [np.inf, 4 * len(profile), len(profile) - 1]
    start = np.clip(start, np.add(low, 1e-9), np.subtract(high, 1e-9))
    scale = np.maximum(np.abs(start), 1e-3)
    found = least_squares(lambda p: lorentzian(x, *p) - profile, start, bounds=(low, high), x_scale=scale)
    return tuple(float(each) for each in found.x)


def lorentzian(x: np.ndarray, amplitude: float, fwhm: float, centre: float) -> np.ndarray:
    return (amplitude * 0.5 * fwhm / np.pi) / ((x - centre) ** 2 + (0.5 * fwhm) ** 2)


def _is_unsteady(trace: np.ndarray, fraction: float, count: int) -> bool:
    """Also where nothing was measured."""
    if not np.isfinite(trace).any():
        return True
    with np.errstate(invalid="ignore"):
        return bool(np.count_nonzero(np.abs(np.diff(trace)) > fraction * np.nanmean(trace)) > count)
