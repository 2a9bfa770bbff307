"""Whether a cell is all that lights up in its transients.

A piece of a wave, of a bright edge or of a patch out of focus has the rest of it around it in the frames in which it is
bright. Over many transients that may average out, as waves come from several sides, so each is looked at by itself; the
median over transients forgives a neighbour that happens to fire at the same time. And the light of a cell rises and
falls in one place, while that of a wave travels through a footprint.

The image of a transient is the regression of the movie on the cell's trace around it, before any background is taken
away, less the neighbours that are active at other times on the whole. A plane is taken from image and footprint, as
background is smooth.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from open_engine.cnmfe.cells import Cells, neighbours, shared
from open_engine.cnmfe.updates import Patch, in_field

TOGETHER = 0.5  # r of traces above which two are one thing or parts of it
LARGEST = 8  # transients of a cell that are looked at
LARGE = 0.3  # of the largest
BEFORE_S = 1.0  # of rest before a transient
DECAYS = 2  # time constants of what comes after its peak
LEAST = 1e-3  # of a trace's peak, for a sample to count as a rise
DOUBT = 3.0  # variances of a shift that are put down to noise


@dataclass(frozen=True)
class Alone:
    """How alone each cell is when it lights up: medians over its transients."""

    likeness: np.ndarray  # (cells,) correlation of the footprint with the image, noise allowed for, and one error more
    travel: np.ndarray  # (cells,) px from the image of the rise to that of the fall, less what noise may have done


@dataclass(frozen=True)
class View:
    """What a footprint is compared with, at the pixels around it that are in the field."""

    movie: np.ndarray  # (rows, columns, frames)
    square: tuple[slice, ...]  # of the crop, where these are
    inside: np.ndarray  # (side, side) of the crop, what counts
    plane: np.ndarray  # (pixels that count, 3) orthonormal
    others: list[tuple[int, tuple[slice, slice], np.ndarray]]  # cells to take away: index, where, their light there

    def image(self, traces: np.ndarray, frames: slice, weights: np.ndarray) -> np.ndarray:
        """The regression's numerator, without a plane: (pixels that count,)."""
        image = np.zeros(self.inside.shape)
        image[self.square] = self.movie[:, :, frames] @ weights
        for j, here, light in self.others:
            image[here] -= (traces[j, frames] @ weights) * light
        return self.flat(image)

    def flat(self, image: np.ndarray) -> np.ndarray:
        values = image[self.inside]
        return values - self.plane @ (self.plane.T @ values)


def alone(patch: Patch, cells: Cells, together: np.ndarray, rate_hz: float) -> Alone:
    """Measure how alone each cell is. Traces are denoised; `together`, shape (cells, cells), is their correlation."""
    likeness, travel = np.zeros(len(cells)), np.zeros(len(cells))
    apart = np.abs(together) < TOGETHER
    near = neighbours(cells.corners, cells.side)
    before, after = max(2, round(BEFORE_S * rate_hz)), round(DECAYS * _decay_frames(patch.decay))
    for i, trace in enumerate(cells.traces):
        view = _view(patch, cells, i, near[i][apart[i, near[i]]])
        seen = [_compared(view, cells, i, *span, before, after) for span in transients(trace)]
        if seen:
            alike, shifts = np.array(seen).T
            likeness[i] = np.median(alike)
            known = shifts[np.isfinite(shifts)]
            travel[i] = np.sqrt(max(0.0, float(np.median(known)))) if len(known) else 0.0
    return Alone(likeness, travel)


def transients(trace: np.ndarray) -> list[tuple[int, int]]:
    """First and last rising frame of the largest transients of a denoised trace, the largest first."""
    steps = np.diff(trace, prepend=trace[:1])
    rising = np.flatnonzero(steps > LEAST * trace.max(initial=0))
    if not len(rising):
        return []
    runs = np.split(rising, np.flatnonzero(np.diff(rising) > 1) + 1)
    heights = np.array([trace[run[-1]] - trace[max(run[0] - 1, 0)] for run in runs])
    order = np.argsort(-heights, kind="stable")[:LARGEST]
    return [(int(runs[k][0]), int(runs[k][-1])) for k in order if heights[k] >= LARGE * heights[order[0]]]


def _decay_frames(decay: float) -> float:
    return max(2.0, -1 / np.log(decay))


def _view(patch: Patch, cells: Cells, i: int, others: np.ndarray) -> View:
    at = np.arange(cells.side) - cells.side // 2
    field, square = in_field(cells.corners[i], cells.side, patch.shape)
    inside = np.zeros((cells.side, cells.side), bool)
    inside[square] = (np.hypot(at[:, None], at) <= cells.side / 2)[square]
    planes = np.stack(np.broadcast_arrays(1.0, at[:, None], at), axis=-1)
    places = [shared(cells.corners[i], cells.corners[j], cells.side) for j in others]
    taken = [(int(j), here, cells.crops[j][there]) for j, (here, there) in zip(others, places)]
    return View(patch.movie[field], square, inside, np.linalg.qr(planes[inside])[0], taken)


def _compared(view: View, cells: Cells, i: int, first: int, last: int, before: int, after: int) -> tuple[float, float]:
    """Likeness of a transient's image to the footprint, and the square of how far it travels; NaN where unknown."""
    crop, trace = cells.crops[i].astype(np.float64), cells.traces[i]
    footprint = view.flat(crop)
    own = max(float(footprint @ footprint), 1e-30)
    window = slice(max(0, first - before), last + after + 1)
    weights = trace[window] - trace[window].mean()
    image, noise = view.image(cells.traces, window, weights), float(weights @ weights)
    power = float(image @ image)
    power = max(power - len(image) * noise, power / 10, 1e-30)
    alike = float(footprint @ image) / np.sqrt(own * power) + np.sqrt(noise / power)
    halves = []
    for start, weights in _halves(trace, first, last, before, after // 2):
        image = view.image(cells.traces, slice(start, start + len(weights)), weights)
        light = float(footprint @ image) / own
        if light > 0:
            halves.append((image / light, float(weights @ weights) / light**2))
    if len(halves) < 2:
        return alike, np.nan
    (rise, of_rise), (fall, of_fall) = halves
    slopes = np.stack([view.flat(slope) for slope in np.gradient(crop)], axis=1)
    slopes -= np.outer(footprint, footprint @ slopes) / own
    inverse = np.linalg.inv(slopes.T @ slopes + 1e-9 * np.eye(2))
    shift = inverse @ (slopes.T @ (fall - rise))
    return alike, float(shift @ shift - DOUBT * np.trace(inverse) * (of_rise + of_fall))


def _halves(trace: np.ndarray, first: int, last: int, before: int, after: int) -> Iterator[tuple[int, np.ndarray]]:
    """Weights of frames for the images of the rise and of the fall, each with the rest before taken away."""
    start = max(0, first - before)
    resting = first - start
    if resting < 2 or last + 2 > len(trace):
        return
    for begin, end in ((first, last + 1), (last + 1, last + 1 + after)):
        height = np.maximum(trace[begin:end] - trace[first - 1], 0)
        if height.any():
            rest = np.full(resting, -height.sum() / resting)
            yield start, np.concatenate([rest, np.zeros(begin - first), height])
