"""Where cells begin: transients in the movie that are as large as a cell.

The residual movie is filtered by a difference of Gaussians that matches a cell's size, and by the decay of calcium.
Its maxima in space and time, above five times the pixel's noise, are transients; each votes for the place where it
was, and the places with most votes become cells. The first footprint of a cell is the regression of the residual on a
trace that holds only the cell's own transients, so that two cells that overlap but fire at different times come apart.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, signal

from open_engine.cnmfe import background, updates
from open_engine.cnmfe.cells import Cells, none

THRESHOLD = 5.0  # times the noise
INNER, OUTER = 0.3, 0.7  # sigmas of the difference of Gaussians, in cell diameters
BUSY = 1.5  # times the field's median noise: what varies more than that is not noise but a cell that seldom rests
NEGLIGIBLE = 1e-6  # tails of decays below this only cost time: processors are slow with denormal numbers
MISFIT = 0.05  # of the light of known cells nearby may be theirs though their footprints do not say so
APART = 0.35  # least distance of two seeds of a round, in diameters


def matched(residual: np.ndarray, sigma: float, decay: float) -> tuple[np.ndarray, np.ndarray]:
    """The movie (bins, bins, frames) filtered in space and time and divided by its noise, and that noise.

    sigma: one diameter, in bins.
    """
    h, w, n = residual.shape
    inner = background.both_ways(background.gaussian(h, INNER * sigma), background.gaussian(w, INNER * sigma), residual)
    inner -= background.both_ways(
        background.gaussian(h, OUTER * sigma), background.gaussian(w, OUTER * sigma), residual
    )
    inner = with_decay(inner, decay)
    sample = inner[:, :, :: max(1, n // 1000)]
    middle = np.median(sample, axis=2, keepdims=True)
    noise = np.maximum(1.4826 * np.median(np.abs(sample - middle), axis=2, keepdims=True), 1e-6)
    noise = np.minimum(noise, BUSY * np.median(noise))
    inner -= middle
    inner /= noise
    return inner, noise


def known_light(patch: updates.Patch, cells: Cells, sigma: float, noise: np.ndarray) -> np.ndarray:
    """What known cells add near each bin, in units of the matched filter's noise: (bins, bins, frames)."""
    h, w, n = patch.binned.shape
    images = updates.binned_footprints(patch, cells).reshape(-1, h, w)
    spread = background.gaussian(h, OUTER * sigma) @ images @ background.gaussian(w, OUTER * sigma).T
    traces = with_decay(np.maximum(cells.traces, 0)[None], patch.decay)[0]
    return (spread.reshape(len(cells), -1).T @ traces).reshape(h, w, n) / noise


def with_decay(traces: np.ndarray, decay: float) -> np.ndarray:
    """Correlation along the last axis with an exponential decay: the matched filter of a transient."""
    b, a = np.ones(1, traces.dtype), np.array([1, -decay], traces.dtype)
    filtered = signal.lfilter(b, a, traces[..., ::-1])[..., ::-1]
    filtered[np.abs(filtered) < NEGLIGIBLE] = 0
    return filtered


def transients(z: np.ndarray, threshold: float = THRESHOLD) -> tuple[np.ndarray, np.ndarray]:
    """Places and times (events, 3) of the maxima of z above the threshold, and their heights."""
    at = np.argwhere(z > threshold)
    height = z[tuple(at.T)]
    largest = np.ones(len(at), bool)
    for step in np.ndindex(3, 3, 5):
        step = np.array(step) - (1, 1, 2)
        if not step.any():
            continue
        there = np.clip(at + step, 0, np.array(z.shape) - 1)
        other = z[tuple(there.T)]
        before = tuple(step) < (0, 0, 0)
        largest &= (height > other) if before else (height >= other)
        largest |= False
    return at[largest], height[largest]


def votes(at: np.ndarray, height: np.ndarray, shape: tuple[int, int], sigma: float) -> np.ndarray:
    tally = np.zeros(shape)
    np.add.at(tally, (at[:, 0], at[:, 1]), np.minimum(height, 20.0))
    return ndimage.gaussian_filter(tally, sigma) * 2 * np.pi * max(sigma, 0.4) ** 2


def places(tally: np.ndarray, apart: float, least: float) -> np.ndarray:
    """Maxima of the votes, (seeds, 2) in bins, the highest first, none closer than `apart` to a higher one."""
    peak = (tally == ndimage.maximum_filter(tally, 3)) & (tally > least)
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


def new_cells(patch: updates.Patch, cells: Cells, diameter: float, side: int, min_corr: float) -> Cells:
    """Cells that the residual movie shows besides those given."""
    size = patch.bins.size
    n_frames = patch.movie.shape[2]
    left = updates.residual(patch, cells)
    z, noise = matched(left, diameter / size, patch.decay)
    if len(cells):
        z /= 1 + MISFIT * known_light(patch, cells, diameter / size, noise)
    at, height = transients(z)
    if not len(at):
        return none(patch.shape, side, n_frames)
    found = places(votes(at, height, z.shape[:2], 0.12 * diameter / size), APART * diameter / size, THRESHOLD)
    found = found[neighbour_correlation(z, found) >= min_corr]
    if not len(found):
        return none(patch.shape, side, n_frames)
    distance = np.linalg.norm(at[:, None, :2] - found[None], axis=2)
    owner = distance.argmin(axis=1)
    near = distance.min(axis=1) <= 0.3 * diameter / size
    traces = np.zeros((len(found), n_frames), np.float32)
    np.add.at(traces, (owner[near], at[near, 2]), height[near])
    kept = traces.any(axis=1)
    found, traces = found[kept], with_decay(traces[kept][:, ::-1], patch.decay)[:, ::-1]
    corners = np.rint((found + 0.5) * size - 0.5).astype(int) - side // 2
    fresh = Cells(patch.shape, corners, np.zeros((len(corners), side, side), np.float32), traces)
    return _first_footprints(patch, cells, fresh, diameter)


def _first_footprints(patch: updates.Patch, cells: Cells, fresh: Cells, diameter: float) -> Cells:
    centred = fresh.centred
    n, n_frames = centred.shape
    left = patch.binned.reshape(-1, n_frames) @ centred.T
    known = cells.centred @ centred.T
    if len(cells):
        left -= updates.binned_footprints(patch, cells).T @ known
        taken = cells.matrix()
    low = updates.smooth_part(patch, left.reshape(*patch.binned.shape[:2], n))
    power = (centred**2).sum(axis=1)
    at = np.arange(fresh.side) - fresh.side // 2
    window = np.hypot(at[:, None], at) <= 0.75 * diameter
    crops = np.zeros_like(fresh.crops)
    for i, corner in enumerate(fresh.corners):
        field, square = updates.in_field(corner, fresh.side, patch.shape)
        image = patch.movie[field] @ centred[i]
        if len(cells):
            image -= (taken.T @ known[:, i]).reshape(patch.shape)[field]
        image -= patch.gain[field] * (patch.bins.up_rows[field[0]] @ low[:, :, i] @ patch.bins.up_columns[field[1]].T)
        crops[i][square] = image / power[i]
    return Cells(fresh.shape, fresh.corners, np.where(window, np.maximum(crops, 0), 0), fresh.traces)
