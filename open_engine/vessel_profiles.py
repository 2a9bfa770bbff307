"""The profile of a vessel across a line, and its width."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from open_engine.context import StepContext
from open_engine.files import frames, vesselsets
from open_engine.files.frames import Movie
from recording.errors import Unusable

PARAMETRIC = "Parametric FWHM"


LEAST_PROFILE = 5  # px


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
        seen = [block[:, line[..., 1], line[..., 0]].mean(axis=1, dtype=np.float64) for line in drawn]
        return block.sum(axis=0, dtype=np.float64), seen

    total, values = np.zeros(movie.shape), []
    for part, seen in frames.each_block(frames.chunks(movie, frames.BLOCK_MB), work, context, span):
        total += part
        values.append(seen)
    return vesselsets.mean_image(total, movie), [np.concatenate(of_line) for of_line in zip(*values)]


def px_per_step(line: np.ndarray, n: int) -> float:
    return float(np.hypot(*(line[1] - line[0]))) / (n - 1)


def _um_per_px(movie: Movie, line: np.ndarray) -> float:
    """Along the line, as pixels need not be square."""
    apart = (line[1] - line[0]).astype(float)
    return float(np.hypot(*(apart * [float(size) for size in movie.spacing.pixel])) / np.hypot(*apart))


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
    fit = scipy.optimize.least_squares(lambda p: lorentzian(x, *p) - profile, start, bounds=(low, high), x_scale=scale)
    return tuple(float(value) for value in fit.x)


def lorentzian(x: np.ndarray, amplitude: float, fwhm: float, centre: float) -> np.ndarray:
    return (amplitude * 0.5 * fwhm / np.pi) / ((x - centre) ** 2 + (0.5 * fwhm) ** 2)
