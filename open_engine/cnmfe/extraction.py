"""Finding the cells of one patch of a one-photon movie: CNMF-E's model, with its own way to begin.

Constrained non-negative matrix factorisation for microendoscopic data (Zhou et al. 2018, eLife 7, e28728) explains a
movie as Y = A C + B + noise: footprints A, calcium traces C that follow an autoregressive model, and a background B
that is smooth in space. Two rounds look for cells in what is not explained yet (seeds.py); in each, traces and
footprints are updated in turn (updates.py, oasis.py), cells found twice are merged and those that are not believed
dropped (gate.py), and the background is estimated anew (background.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from open_engine.cnmfe import background, gate, oasis, seeds, updates
from open_engine.cnmfe.cells import Cells, in_field, join, none

ROUNDS = 2  # of looking for cells in the residual
ALTERNATIONS = 2  # of traces and footprints in each
RADIUS = 1.4  # of what a cell may cover, in diameters: tighter, and the halo of a bright cell makes false ones
DECAY_S = 0.6  # of calcium, until cells are known from which it can be measured
DECAY_LIMITS_S = 0.15, 3.0
ENOUGH = 5  # cells to measure it
BINS_PER_DIAMETER = 4  # about
STRETCHES, STRETCH = 4, 512  # of so many frames, from which a pixel's noise is measured


@dataclass(frozen=True)
class Settings:
    """What is asked for; lengths in px."""

    diameter: float
    rate_hz: float
    min_corr: float = 0.8
    min_pnr: float = 10.0
    merge_threshold: float = 0.7
    bin_size: int = 2
    ring_radius: float = 1.4  # in diameters: where the background of a pixel is taken from

    @property
    def decay(self) -> float:
        return float(np.exp(-1 / (self.rate_hz * DECAY_S)))

    @property
    def bins(self) -> int:
        """Size of the background's bins, where the diameter allows what is asked for."""
        return max(1, min(self.bin_size, round(self.diameter / BINS_PER_DIAMETER)))

    @property
    def working_copies(self) -> float:
        """Copies of a patch's movie that are held while it is worked on, the movie itself included."""
        return 1.3 + 2.2 / self.bins**2


@dataclass(frozen=True)
class Extracted:
    """Cells of a patch, in the movie's own units."""

    cells: Cells  # footprints with a peak of 1; traces as least squares leave them, not denoised
    noise: np.ndarray  # of each trace (cells,)
    doubts: np.ndarray  # why each is not believed (cells,), texts; "" if it is
    merged: np.ndarray  # whether a brighter cell stands for it (cells,); it is as it was then

    def take(self, which: np.ndarray) -> Extracted:
        return Extracted(self.cells.take(which), self.noise[which], self.doubts[which], self.merged[which])

    def clearest(self, n: int) -> Extracted:
        """So many at most, with the highest peaks over their noise first."""
        clear = self.cells.traces.max(axis=1, initial=0) / np.maximum(self.noise, 1e-30)
        return self.take(np.argsort(-clear, kind="stable")[:n])

    @property
    def believed(self) -> Extracted:
        return self.take(np.flatnonzero(self.doubts == ""))

    @property
    def single(self) -> Extracted:
        """Those that no brighter cell stands for."""
        return self.take(np.flatnonzero(~self.merged))

    @property
    def doubted(self) -> Extracted:
        return self.take(np.flatnonzero(self.doubts != ""))


def extract(movie: np.ndarray, settings: Settings) -> Extracted:
    """The cells of a movie (rows, columns, frames), float32, which is overwritten.

    Those that are not believed, and those that became one with another, have a reason.
    """
    patch, pixel_noise = prepared(movie, settings)
    side = 2 * int(np.ceil(RADIUS * settings.diameter)) + 1
    support = disc(side, RADIUS * settings.diameter)
    cells = none(patch.shape, side, movie.shape[2])
    estimate = updates.Estimate(cells, cells.traces, np.zeros(0))
    twins: list[tuple[updates.Estimate, np.ndarray]] = []  # and why each was merged with another cell
    for number in range(ROUNDS):
        known = estimate.with_raw_traces()
        fresh = seeds.new_cells(patch, known, settings.diameter, side, settings.min_corr, less_background=number > 0)
        if not len(fresh):
            continue
        cells = join(estimate.cells, fresh)
        for _ in range(ALTERNATIONS):
            estimate = updates.update_traces(patch, cells, sweeps=1)
            cells = updates.update_footprints(patch, estimate.cells, support)
            cells = updates.recentred(updates.cleaned(cells), settings.diameter / 2)
            living = alive(cells)
            reasons = gate.merged(cells.take(living), settings.merge_threshold)
            twins.append((_as_now(cells, estimate, living[reasons != ""]), reasons[reasons != ""]))
            cells = cells.take(living[reasons == ""])
        if number == 0:
            patch = replace(patch, decay=measured_decay(estimate, settings))
        patch = updates.with_background(patch, cells)
        estimate = updates.update_traces(patch, cells)
    doubts = gate.doubts(patch, estimate, settings.min_pnr, settings.diameter, settings.rate_hz)
    return in_movie_units(*_with_twins(estimate, doubts, twins), pixel_noise)


def _as_now(cells: Cells, estimate: updates.Estimate, which: np.ndarray) -> updates.Estimate:
    """These cells, whose traces are those of the estimate."""
    return replace(estimate, cells=cells).take(which)


def _with_twins(
    estimate: updates.Estimate, doubts: np.ndarray, twins: list[tuple[updates.Estimate, np.ndarray]]
) -> tuple[updates.Estimate, np.ndarray, np.ndarray]:
    """With the cells that were merged with others, where none is now, each once: the same may be found again.

    Returns the cells, the reasons of each, and which of them were merged.
    """
    earlier = [those for those in reversed(twins) if len(those[1])]  # the last time first: they are at their best
    if not earlier:
        return estimate, doubts, np.zeros(len(doubts), bool)
    cells = join(*(one.cells for one, _ in earlier))
    raw, noise, reasons = map(np.concatenate, zip(*((one.raw, one.noise, why) for one, why in earlier)))
    alike = (gate.cosines(cells).toarray() > gate.TWICE) & (gate.correlations(raw) > gate.TWICE)
    n = len(doubts)
    there = gate.cosines(join(estimate.cells, cells))[:n, n:].toarray() > gate.SAME_PLACE
    new = np.flatnonzero(~np.tril(alike, -1).any(axis=1) & ~there.any(axis=0))
    all_of_them = updates.Estimate(
        join(estimate.cells, cells.take(new)),
        np.concatenate([estimate.raw, raw[new]]),
        np.concatenate([estimate.noise, noise[new]]),
    )
    merged = np.repeat([False, True], [n, len(new)])
    return all_of_them, np.concatenate([doubts, reasons[new]]), merged


def prepared(movie: np.ndarray, settings: Settings) -> tuple[updates.Patch, np.ndarray]:
    """The movie as a patch, and the noise of each pixel (rows, columns), infinite where nothing changes."""
    noise = np.empty(movie.shape[:2], np.float32)
    for row, its_noise in zip(movie, noise):  # which stays in the processor's cache
        row -= row.mean(axis=1, keepdims=True)
        its_noise[:] = _noise(row)
    noise[noise <= 1e-6 * np.median(noise)] = np.inf
    for row, its_noise in zip(movie, noise):
        row /= its_noise[:, None]
    bins = background.grid(movie.shape[:2], settings.bins, settings.ring_radius / 1.4 * settings.diameter)
    binned = background.down(bins, movie)
    sharp, low = seeds.in_space(binned, settings.diameter / settings.bins), background.low_pass(bins, binned)
    even = np.ones(movie.shape[:2], np.float32)
    nothing = np.zeros((len(low), 0), np.float32)
    images, courses = np.zeros((*even.shape, 0), np.float32), np.zeros((0, movie.shape[2]), np.float32)
    patch = updates.Patch(movie, bins, sharp, low, even, nothing, images, courses, settings.decay)
    return updates.with_background(patch, none(patch.shape, 1, movie.shape[2])), noise


def _noise(row: np.ndarray) -> np.ndarray:
    """Noise of pixels (pixels, frames), from stretches of long movies: they tell it well enough."""
    n = row.shape[1]
    if n <= STRETCHES * STRETCH:
        return oasis.noise_level(row)
    starts = np.linspace(0, n - STRETCH, STRETCHES).astype(int)
    pieces = np.stack([row[:, start : start + STRETCH] for start in starts])
    return np.sqrt((oasis.noise_level(pieces) ** 2).mean(axis=0))


def measured_decay(estimate: updates.Estimate, settings: Settings) -> float:
    """The median over cells, within limits; what was assumed if there are too few cells to tell."""
    if len(estimate.noise) < ENOUGH:
        return settings.decay
    return typical_decay(estimate.raw, estimate.noise, settings.rate_hz)


def typical_decay(traces: np.ndarray, noise: np.ndarray, rate_hz: float) -> float:
    """Decay of calcium from one sample to the next: the median over traces (cells, samples), within limits."""
    decays = oasis.decay_per_sample(traces, noise)
    shortest, longest = (np.exp(-1 / (rate_hz * s)) for s in DECAY_LIMITS_S)
    return float(np.clip(np.median(decays), shortest, longest))


def disc(side: int, radius: float) -> np.ndarray:
    at = np.arange(side) - side // 2
    return np.hypot(at[:, None], at) <= radius


def alive(cells: Cells) -> np.ndarray:
    """Indices of those that have any light and any activity."""
    return np.flatnonzero(cells.crops.any(axis=(1, 2)) & cells.traces.any(axis=1))


def in_movie_units(
    estimate: updates.Estimate, doubts: np.ndarray, merged: np.ndarray, pixel_noise: np.ndarray
) -> Extracted:
    """Footprints times the noise of their pixels, scaled to a peak of 1; traces and their noise scaled to match."""
    cells = estimate.with_raw_traces()
    crops = cells.crops.copy()
    for crop, corner in zip(crops, cells.corners):
        field, square = in_field(corner, cells.side, cells.shape)
        crop[square] *= np.where(np.isfinite(pixel_noise[field]), pixel_noise[field], 0)
    peak = np.maximum(crops.max(axis=(1, 2), initial=0), 1e-30)
    scaled = replace(cells.reshaped(crops / peak[:, None, None]), traces=cells.traces * peak[:, None])
    return Extracted(scaled, estimate.noise * peak, doubts, merged)
