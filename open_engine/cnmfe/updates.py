"""Alternating updates of traces and footprints, as in CNMF-E (Zhou et al. 2018, eLife 7, e28728).

The movie Y is in units of each pixel's noise, so that plain least squares are weighted by it. With the background
B = gain * sum of components, whose courses are linear in Y - A C (background.py), least squares for the traces of given
footprints A are

    M C = F,   F = A Y - K D(Y),   M = A A' - K D(A)',

with D the courses of the components in a movie or a footprint, and K one weight for each cell and component. F takes
one pass over the movie; all that follows works on (cells, frames).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

from open_engine.cnmfe import background, oasis
from open_engine.cnmfe.cells import Cells, in_field, overlaps, shared

SMOOTHING = 0.7  # px
SIGNIFICANCE = 2.0  # standard errors
FAINTEST = 0.05  # of a footprint's peak
SMALLEST_STEP = 0.4  # of a footprint's power is left when the background is taken: with less, descent would diverge
SWEEPS = 2  # of coordinate descent
NEGLIGIBLE = 1e-3  # of the noise: the end of a decay


@dataclass(frozen=True)
class Patch:
    """A part of the field, ready to be worked on."""

    movie: np.ndarray  # (rows, columns, frames) float32, the mean removed, in units of the noise
    bins: background.Grid
    sharp: np.ndarray  # (bins, bins, frames): the movie on bins, filtered in space for what is as large as a cell
    low: np.ndarray  # (coefficients, frames): the same, low-passed
    gain: np.ndarray  # (rows, columns)
    components: np.ndarray  # (coefficients, k) of the background
    images: np.ndarray  # (rows, columns, k): they at the pixels
    courses: np.ndarray  # (k, frames): they in the movie, cells included
    decay: float  # of calcium from one frame to the next

    @property
    def shape(self) -> tuple[int, int]:
        return self.movie.shape[:2]


@dataclass(frozen=True)
class Estimate:
    """Cells with denoised traces, their raw traces and the noise of these."""

    cells: Cells
    raw: np.ndarray  # (cells, frames) what least squares leave for a cell if the others' denoised traces are taken away
    noise: np.ndarray  # (cells,)

    def with_raw_traces(self) -> Cells:
        return replace(self.cells, traces=self.raw)

    def take(self, which: np.ndarray) -> Estimate:
        return Estimate(self.cells.take(which), self.raw[which], self.noise[which])


def on_bins(patch: Patch, cells: Cells) -> np.ndarray:
    """Footprints averaged over bins: (bins, bins, cells)."""
    return cells.footprints.once("on bins", lambda: _averaged(patch, cells.images()))


def low_of(patch: Patch, cells: Cells) -> np.ndarray:
    """Footprints low-passed: (coefficients, cells)."""
    return cells.footprints.once("low", lambda: background.low_pass(patch.bins, on_bins(patch, cells)))


def background_on_bins(patch: Patch) -> np.ndarray:
    """The background's images averaged over bins: (bins, bins, k)."""
    return _averaged(patch, np.moveaxis(patch.gain[:, :, None] * patch.images, 2, 0))


def _averaged(patch: Patch, images: np.ndarray) -> np.ndarray:
    """Images (n, rows, columns) over the patch's bins: (bins, bins, n)."""
    return np.ascontiguousarray(np.moveaxis(patch.bins.rows.down @ images @ patch.bins.columns.down.T, 0, 2))


def background_courses(patch: Patch, cells: Cells) -> np.ndarray:
    """What the background's components do over time, the cells taken away: (k, frames)."""
    return patch.courses - courses_of(patch, cells) @ cells.centred


def with_background(patch: Patch, cells: Cells) -> Patch:
    """The patch with the background's components and gain estimated anew."""
    low = patch.low - low_of(patch, cells) @ cells.centred
    chosen = background.components(patch.bins, low)
    images = background.images(patch.bins, chosen)
    gain = background.gain(patch.movie, images, chosen.T @ low, patch.gain, cells.images(), cells.traces)
    return replace(patch, gain=gain, components=chosen, images=images, courses=chosen.T @ patch.low)


def courses_of(patch: Patch, cells: Cells) -> np.ndarray:
    """What the background's components would take of the footprints: (k, cells)."""
    return patch.components.T @ low_of(patch, cells)


def update_traces(patch: Patch, cells: Cells, sweeps: int = SWEEPS) -> Estimate:
    """Traces of given footprints, by coordinate descent: one cell's trace is denoised, then its neighbours' follow."""
    footprints = cells.matrix()
    n_frames = patch.movie.shape[2]
    weights = footprints.multiply(patch.gain.reshape(1, -1)).tocsr() @ patch.images.reshape(footprints.shape[1], -1)
    f = footprints @ patch.movie.reshape(-1, n_frames) - weights @ patch.courses
    gram = (footprints @ footprints.T).toarray()
    m = (gram - weights @ courses_of(patch, cells)).astype(np.float32)
    own = np.maximum(np.maximum(np.diag(m), SMALLEST_STEP * np.diag(gram)), 1e-6)
    traces = cells.traces.copy()
    raw = np.zeros_like(traces)
    noise = np.zeros(len(cells))
    for _ in range(sweeps):
        for group in _independent(m):
            raw[group] = (f[group] - m[group] @ traces) / own[group, None] + traces[group]
            raw[group] -= baseline(raw[group])
            noise[group] = oasis.noise_level(raw[group])
            denoised = oasis.denoise(raw[group], patch.decay, noise[group])
            traces[group] = np.where(denoised < NEGLIGIBLE, 0, denoised)
    return Estimate(replace(cells, traces=traces), raw, noise)


def _independent(m: np.ndarray) -> list[np.ndarray]:
    """Groups of cells that do not influence one another much, so that each group is updated at once."""
    strength = np.abs(m) / np.maximum(np.diag(m), 1e-6)[:, None]
    linked = (strength > 0.02) | (strength.T > 0.02)
    np.fill_diagonal(linked, False)
    colour = np.full(len(m), -1)
    for i in range(len(m)):
        taken = set(colour[linked[i]].tolist())
        colour[i] = next(c for c in range(len(m) + 1) if c not in taken)
    return [np.flatnonzero(colour == c) for c in range(colour.max(initial=-1) + 1)]


def baseline(raw: np.ndarray) -> np.ndarray:
    """Where traces rest, (cells, 1): the median of their lower 80%, a mode that transients do not raise."""
    n = int(0.8 * (raw.shape[1] - 1)) + 1
    middle = [(n - 1) // 2, n // 2]
    return np.sort(raw, axis=1)[:, middle].mean(axis=1, keepdims=True)


def update_footprints(patch: Patch, cells: Cells, support: np.ndarray) -> Cells:
    """Non-negative least squares for the footprints of given traces, by HALS (Cichocki and Phan 2009).

    support (side, side): pixels around its centre that a cell may have.
    """
    centred = cells.centred
    gram = centred @ centred.T
    power = np.maximum(np.diag(gram), 1e-6)
    target = _projections(patch, cells, centred, gram)
    allowed = cells.inside() & support
    crops = cells.crops.copy()
    near = [
        [(r[j], crops[j][there], here) for j, here, there in others]
        for r, others in zip(gram.tolist(), overlaps(cells.corners, cells.side))
    ]
    for _ in range(SWEEPS):
        for i in range(len(cells)):
            rest = target[i].copy()
            for r, crop, here in near[i]:
                rest[here] -= r * crop
            crops[i] = np.where(allowed[i], np.maximum(rest / power[i], 0), 0)
    return cells.reshaped(crops)


def _projections(patch: Patch, cells: Cells, centred: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """(Y - B) C' on each cell's own square, (cells, side, side)."""
    left = patch.courses @ centred.T - courses_of(patch, cells) @ gram
    out = np.zeros_like(cells.crops)
    for i, corner in enumerate(cells.corners):
        field, square = in_field(corner, cells.side, patch.shape)
        out[i][square] = patch.movie[field] @ centred[i] - patch.gain[field] * (patch.images[field] @ left[:, i])
    return out


def cleaned(cells: Cells) -> Cells:
    """Footprints without what is not significant or not connected to the brightest pixel.

    The standard error of a pixel's weight is 1/|c| in a movie in units of noise, and after smoothing 0.4 of that.
    """
    error = 0.4 / np.maximum(np.linalg.norm(cells.centred, axis=1), 1e-6)
    crops = cells.crops.copy()
    for crop, its_error in zip(crops, error):
        smooth = scipy.ndimage.gaussian_filter(crop, SMOOTHING)
        labels, _ = scipy.ndimage.label(smooth > max(SIGNIFICANCE * its_error, FAINTEST * smooth.max()))
        peak = labels[np.unravel_index(smooth.argmax(), smooth.shape)]
        crop[(labels != peak) | (peak == 0)] = 0
    return cells.reshaped(crops)


def recentred(cells: Cells, max_move: float) -> Cells:
    """Squares moved so that each footprint's centre of mass is in the middle."""
    at = cells.centres()
    shift = np.clip(np.rint(at - cells.corners - cells.side // 2), -max_move, max_move).astype(int)
    crops = np.zeros_like(cells.crops)
    for i, (old, move) in enumerate(zip(cells.crops, shift)):
        here, there = shared(*move.tolist(), cells.side)
        crops[i][there] = old[here]
    return cells.reshaped(crops, cells.corners + shift)
