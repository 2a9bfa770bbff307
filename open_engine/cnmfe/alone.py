"""Whether a cell is all that lights up in its transients.

A piece of a wave, of a bright edge or of a patch out of focus has the rest of it around it in the frames in which it is
bright. Over many transients that may average out, as waves come from several sides, so each is looked at by itself; the
median over transients forgives a neighbour that happens to fire at the same time. And the light of a cell rises and
falls in one place, while that of a wave travels through a footprint.

The image of a transient is the regression of the movie on the cell's trace around it, before any background is taken
away, less the neighbours that are active at other times on the whole. A plane is taken from image and footprint, as
background is smooth.

In strong neuropil something else is always active around a cell. So it can be asked, too, how alone a cell is once the
background is taken away. It says less, as the background explains most of a wave or a patch as well, but not that a
piece of them has a cell's shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from open_engine.cnmfe.cells import Cells, Part, in_field, overlaps
from open_engine.cnmfe.updates import Patch, background_courses

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
    """A footprint and what it is compared with, at the pixels around it that are in the field."""

    movie: np.ndarray  # (rows, columns, frames)
    square: tuple[slice, ...]  # of the crop, where these are
    inside: np.ndarray  # (side, side) of the crop, what counts
    plane: np.ndarray  # (pixels that count, 3) orthonormal
    others: list[tuple[int, tuple[slice, slice], np.ndarray]]  # cells to take away: index, where, their light there
    crop: np.ndarray  # (side, side) the footprint
    behind: tuple[np.ndarray, np.ndarray] | None  # background to take away: (rows, columns, k) and (k, frames)

    def images(self, traces: np.ndarray, frames: slice, weights: np.ndarray) -> np.ndarray:
        """The regressions' numerators for weights (images, frames), without a plane: (images, pixels that count)."""
        images = np.zeros((len(weights), *self.inside.shape))
        seen = np.ascontiguousarray(self.movie[:, :, frames])
        images[:, self.square[0], self.square[1]] = np.moveaxis(seen @ weights.T, 2, 0)
        if self.behind:
            of_components, courses = self.behind
            light = of_components @ (courses[:, frames] @ weights.T)
            images[:, self.square[0], self.square[1]] -= np.moveaxis(light, 2, 0)
        if self.others:
            light = weights @ traces[[j for j, _, _ in self.others], frames].T
            for k, (_, (rows, columns), footprint) in enumerate(self.others):
                images[:, rows, columns] -= light[:, k, None, None] * footprint
        return self.flat(images)

    def flat(self, images: np.ndarray) -> np.ndarray:
        values = images[..., self.inside]
        return values - (values @ self.plane) @ self.plane.T

    @cached_property
    def footprint(self) -> np.ndarray:
        return self.flat(self.crop)

    @cached_property
    def power(self) -> float:
        """Of the footprint."""
        return max(float(self.footprint @ self.footprint), 1e-30)

    @cached_property
    def slopes(self) -> np.ndarray:
        """What a shift by 1 px adds to an image of the footprint but for its brightness: (2, pixels that count)."""
        slopes = self.flat(np.stack(np.gradient(self.crop)))
        return slopes - np.outer(slopes @ self.footprint, self.footprint) / self.power

    @cached_property
    def of_shift(self) -> np.ndarray:
        """The covariance of a shift, for noise of 1: (2, 2)."""
        return np.linalg.inv(self.slopes @ self.slopes.T + 1e-9 * np.eye(2))


def alone(
    patch: Patch,
    cells: Cells,
    together: np.ndarray,
    rate_hz: float,
    which: np.ndarray | None = None,
    without_background: bool = False,
) -> Alone:
    """Measure how alone each cell is, or those of `which` (indices); 0 for the others.

    Traces are denoised; `together`, shape (cells, cells), is their correlation. without_background: takes away from the
    movie what the patch's background explains.
    """
    likeness, travel = np.zeros(len(cells)), np.zeros(len(cells))
    apart = np.abs(together) < TOGETHER
    courses = background_courses(patch, cells) if without_background else None
    near = overlaps(cells.corners, cells.side)
    before, after = max(2, round(BEFORE_S * rate_hz)), round(DECAYS * _decay_frames(patch.decay))
    for i in range(len(cells)) if which is None else which:
        view = _view(patch, cells, i, [other for other in near[i] if apart[i, other[0]]], courses)
        seen = [_compared(view, cells.traces, i, *span, before, after) for span in transients(cells.traces[i])]
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


def _view(patch: Patch, cells: Cells, i: int, others: list[tuple[int, Part, Part]], courses: np.ndarray | None) -> View:
    """courses (k, frames): of the background's components, where it is to be taken away."""
    at = np.arange(cells.side) - cells.side // 2
    field, square = in_field(cells.corners[i], cells.side, patch.shape)
    inside = np.zeros((cells.side, cells.side), bool)
    inside[square] = (np.hypot(at[:, None], at) <= cells.side / 2)[square]
    planes = np.stack(np.broadcast_arrays(1.0, at[:, None], at), axis=-1)
    taken = [(j, here, cells.crops[j][there]) for j, here, there in others]
    crop = cells.crops[i].astype(np.float64)
    behind = None if courses is None else (patch.gain[field][:, :, None] * patch.images[field], courses)
    return View(patch.movie[field], square, inside, np.linalg.qr(planes[inside])[0], taken, crop, behind)


def _compared(
    view: View, traces: np.ndarray, i: int, first: int, last: int, before: int, after: int
) -> tuple[float, float]:
    """Likeness of a transient's image to the footprint, and the square of how far it travels; NaN where unknown."""
    trace = traces[i]
    window = slice(max(0, first - before), last + after + 1)
    around = trace[window]
    weights = np.stack(
        [around - around.mean(), *_halves(around, first - window.start, last - window.start, after // 2)]
    )
    image, *halves = view.images(traces, window, weights)
    noise, *of_halves = (weights**2).sum(axis=1).tolist()
    power = float(image @ image)
    power = max(power - len(image) * noise, power / 10, 1e-30)
    alike = float(view.footprint @ image) / np.sqrt(view.power * power) + np.sqrt(noise / power)
    lights = [float(view.footprint @ half) / view.power for half in halves]
    if len(halves) < 2 or min(lights) <= 0:
        return alike, np.nan
    (rise, fall), (of_rise, of_fall) = (
        [part / light**power for part, light in zip(parts, lights)] for parts, power in ((halves, 1), (of_halves, 2))
    )
    shift = view.of_shift @ (view.slopes @ (fall - rise))
    return alike, float(shift @ shift - DOUBT * np.trace(view.of_shift) * (of_rise + of_fall))


def _halves(around: np.ndarray, first: int, last: int, after: int) -> Iterator[np.ndarray]:
    """Weights of frames for the images of the rise and of the fall, each with the rest before taken away."""
    if first < 2 or last + 2 > len(around):
        return
    for begin, end in ((first, last + 1), (last + 1, last + 1 + after)):
        height = np.maximum(around[begin:end] - around[first - 1], 0)
        if height.any():
            weights = np.zeros_like(around)
            weights[:first] = -height.sum() / first
            weights[begin:end] = height
            yield weights
