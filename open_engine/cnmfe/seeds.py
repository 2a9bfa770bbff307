"""Where cells begin: transients in the movie that are as large as a cell.

The residual movie is filtered by a difference of Gaussians that matches a cell's size, and by the decay of calcium.
Its maxima in space and time, above 6.5 times the pixel's noise, are transients; each votes for the place where it
was, and the places with most votes become cells. The first footprint of a cell is the regression of the residual on a
trace that holds only the cell's own transients, so that two cells that overlap but fire at different times come apart.
"""

from __future__ import annotations

import functools

import numpy as np
import scipy

from open_engine.cnmfe import background, updates
from open_engine.cnmfe.cells import Cells, Footprints, in_field, none
from open_engine.robust import median, noise_sd

THRESHOLD = 6.5  # times the noise
INNER, OUTER = 0.3, 0.7  # sigmas of the difference of Gaussians, in cell diameters
BUSY = 1.5  # times the field's median noise: what varies more than that is not noise but a cell that seldom rests
NEGLIGIBLE = 1e-6  # tails of decays below this only cost time: processors are slow with denormal numbers
MISFIT = 0.05  # of the light of known cells nearby may be theirs though their footprints do not say so
APART = 0.35  # least distance of two seeds of a round, in diameters
AT_ONCE = 256  # frames that are filtered in space together, which stay in the processor's cache
STRETCH = 32  # samples that are filtered by one product
SAMPLE = 300  # frames from which noise is measured


def matched(residual: np.ndarray, sigma: float, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """The movie (bins, bins, frames) filtered in space and time and divided by its noise, and that noise.

    sigma: one diameter, in bins.
    """
    z = in_space(residual, sigma)
    return z, in_time(z, decay)


def in_space(movie: np.ndarray, sigma: float) -> np.ndarray:
    """The movie (bins, bins, frames) less what is wider than a cell; sigma: one diameter, in bins."""
    h, w, n = movie.shape
    inner, outer = ([background.Smoothing.by(width * sigma, size) for size in (h, w)] for width in (INNER, OUTER))
    out = np.empty_like(movie)
    for first in range(0, n, AT_ONCE):
        some = np.ascontiguousarray(movie[:, :, first : first + AT_ONCE])
        out[:, :, first : first + AT_ONCE] = background.smoothed(*inner, some) - background.smoothed(*outer, some)
    return out


def in_time(movie: np.ndarray, decay: float) -> np.ndarray:
    """Filters a movie (bins, bins, frames) by the decay of calcium, takes its median away and divides it by its noise.

    In place; returns the noise, (bins, bins, 1).
    """
    middle, noise = np.empty((2, *movie.shape[:2], 1), movie.dtype)
    for row, its_middle, its_noise in zip(movie, middle, noise):
        row[:] = with_decay(row, decay)
        sample = row[:, :: max(1, row.shape[1] // SAMPLE)]
        its_middle[:] = median(sample, axis=1, keepdims=True)
        its_noise[:] = noise_sd(sample, axis=1, keepdims=True, around=its_middle)
    noise = np.maximum(noise, 1e-6)
    noise = np.minimum(noise, BUSY * np.median(noise))
    for row, its_middle, its_noise in zip(movie, middle, noise):
        row -= its_middle
        row /= its_noise
    return noise


def standing_out(patch: updates.Patch, cells: Cells, sigma: float, less_background: bool) -> np.ndarray:
    """The matched movie (bins, bins, frames) without the cells, lower where those are active nearby.

    Part of what is left there may be their light, though their footprints do not say so. less_background: takes the
    background away, too. Vessels make it as sharp as cells are, so it would count as noise. sigma: one diameter, in
    bins.
    """
    images = updates.on_bins(patch, cells)
    h, w, _ = images.shape
    known, courses = images, cells.centred
    if less_background:
        known = np.concatenate([images, updates.background_on_bins(patch)], axis=2)
        courses = np.concatenate([cells.centred, updates.background_courses(patch, cells)])
    sharp, z = in_space(known, sigma), np.empty_like(patch.sharp)
    for row, its_movie, its_images in zip(z, patch.sharp, sharp):
        np.subtract(its_movie, its_images @ courses, out=row)
    noise = in_time(z, patch.decay)
    if len(cells):
        spread = background.both_ways(*(background.gaussian(n, OUTER * sigma) for n in (h, w)), images)
        traces = MISFIT * with_decay(np.maximum(cells.traces, 0), patch.decay)
        for row, its_spread, its_noise in zip(z, spread, noise):
            row /= 1 + (its_spread / its_noise) @ traces
    return z


def with_decay(traces: np.ndarray, decay: float) -> np.ndarray:
    """Correlation along the last axis with an exponential decay: the matched filter of a transient.

    It runs from the end, a stretch at a time. Within one it is a product with powers of the decay; what a stretch gets
    from the next one is added to its last sample.
    """
    *others, n = traces.shape
    padded = np.zeros((int(np.prod(others)), -(-n // STRETCH) * STRETCH), np.float32)
    padded[:, :n] = traces.reshape(-1, n)
    stretches, powers = padded.reshape(len(padded), -1, STRETCH), _powers(float(decay))
    firsts = stretches @ powers[:, 0]
    for i in range(firsts.shape[1] - 2, -1, -1):
        firsts[:, i] += np.float32(decay**STRETCH) * firsts[:, i + 1]
    firsts[np.abs(firsts) < NEGLIGIBLE] = 0
    stretches[:, :-1, -1] += np.float32(decay) * firsts[:, 1:]
    return (stretches.reshape(-1, STRETCH) @ powers).reshape(*others, -1)[..., :n]


@functools.lru_cache(maxsize=4)
def _powers(decay: float) -> np.ndarray:
    """What a sample (row) adds to an earlier one of its stretch (column)."""
    age = np.subtract.outer(np.arange(STRETCH), np.arange(STRETCH))
    return np.where(age >= 0, decay ** np.maximum(age, 0), 0).astype(np.float32)


def transients(z: np.ndarray, threshold: float = THRESHOLD) -> tuple[np.ndarray, np.ndarray]:
    """Places and times (events, 3) of the maxima of z above the threshold, and their heights."""
    at = np.flatnonzero(z > threshold)
    height = z.reshape(-1)[at]
    at = np.stack(np.unravel_index(at, z.shape), axis=1)
    largest = np.ones(len(at), bool)
    for step in np.ndindex(3, 3, 5):
        step = np.array(step) - (1, 1, 2)
        if not step.any():
            continue
        there = np.clip(at + step, 0, np.array(z.shape) - 1)
        other = np.where((there == at + step).all(axis=1), z[tuple(there.T)], -np.inf)
        before = tuple(step) < (0, 0, 0)
        largest &= (height > other) if before else (height >= other)
    return at[largest], height[largest]


def votes(at: np.ndarray, height: np.ndarray, shape: tuple[int, int], sigma: float) -> np.ndarray:
    tally = np.zeros(shape)
    np.add.at(tally, (at[:, 0], at[:, 1]), np.minimum(height, 20.0))
    return scipy.ndimage.gaussian_filter(tally, sigma) * 2 * np.pi * max(sigma, 0.4) ** 2


def places(tally: np.ndarray, apart: float, least: float) -> np.ndarray:
    """Maxima of the votes, (seeds, 2) in bins, the highest first, none closer than `apart` to a higher one."""
    peak = (tally == scipy.ndimage.maximum_filter(tally, 3)) & (tally > least)
    at = np.argwhere(peak)
    at = at[np.argsort(-tally[tuple(at.T)], kind="stable")]
    kept: list[np.ndarray] = []
    for one in at:
        if all(((one - other) ** 2).sum() >= apart**2 for other in kept):
            kept.append(one)
    return np.array(kept).reshape(-1, 2)


def neighbour_correlation(z: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Mean correlation of the movie at each place (n, 2) with the bins beside it, noise set to 0 as CNMF-E does."""
    out = np.zeros(len(places))
    for i, place in enumerate(places):
        beside = place + np.array([(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)])
        beside = beside[((beside >= 0) & (beside < z.shape[:2])).all(axis=1)]
        traces = z[tuple(beside.T)]
        traces = np.where(traces > 3, traces, 0)
        traces = traces - traces.mean(axis=1, keepdims=True)
        norms = np.maximum(np.linalg.norm(traces, axis=1), 1e-12)
        out[i] = (traces[1:] @ traces[0] / (norms[1:] * norms[0])).mean()
    return out


def new_cells(
    patch: updates.Patch, cells: Cells, diameter: float, side: int, min_corr: float, less_background: bool
) -> Cells:
    """Cells that the residual movie shows besides those given.

    min_corr is that of pixels beside each other. Bins are `size` times as far apart, over which it is taken to fall
    exponentially. less_background: seeks them once the background is taken away. This finds cells in strong neuropil,
    but as long as cells are unknown, part of them may count as background.
    """
    size = patch.bins.size
    n_frames = patch.movie.shape[2]
    z = standing_out(patch, cells, diameter / size, less_background)
    at, height = transients(z)
    if not len(at):
        return none(patch.shape, side, n_frames)
    centres = places(votes(at, height, z.shape[:2], 0.12 * diameter / size), APART * diameter / size, THRESHOLD)
    centres = centres[neighbour_correlation(z, centres) >= min_corr**size]
    if not len(centres):
        return none(patch.shape, side, n_frames)
    distance = np.linalg.norm(at[:, None, :2] - centres[None], axis=2)
    owner = distance.argmin(axis=1)
    near = distance.min(axis=1) <= 0.3 * diameter / size
    traces = np.zeros((len(centres), n_frames), np.float32)
    np.add.at(traces, (owner[near], at[near, 2]), height[near])
    kept = traces.any(axis=1)
    centres, traces = centres[kept], with_decay(traces[kept][:, ::-1], patch.decay)[:, ::-1]
    corners = np.rint((centres + 0.5) * size - 0.5).astype(int) - side // 2
    nothing = np.zeros((len(corners), side, side), np.float32)
    fresh = Cells(Footprints(patch.shape, corners, nothing), traces)
    return _first_footprints(patch, cells, fresh, diameter)


def _first_footprints(patch: updates.Patch, cells: Cells, fresh: Cells, diameter: float) -> Cells:
    centred = fresh.centred
    known = cells.centred @ centred.T
    left = patch.courses @ centred.T - updates.courses_of(patch, cells) @ known
    taken = cells.matrix().T.tocsr()
    power = (centred**2).sum(axis=1)
    at = np.arange(fresh.side) - fresh.side // 2
    window = np.hypot(at[:, None], at) <= 0.75 * diameter
    crops = np.zeros_like(fresh.crops)
    for i, corner in enumerate(fresh.corners):
        field, square = in_field(corner, fresh.side, patch.shape)
        image = patch.movie[field] @ centred[i] - patch.gain[field] * (patch.images[field] @ left[:, i])
        image -= (taken @ known[:, i]).reshape(patch.shape)[field]
        crops[i][square] = image / power[i]
    return fresh.reshaped(np.where(window, np.maximum(crops, 0), 0))
