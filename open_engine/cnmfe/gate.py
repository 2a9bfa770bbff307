"""Which of the cells found are believed, and which are one cell found twice."""

from __future__ import annotations

import numpy as np
import scipy

from open_engine.cnmfe.alone import Alone, alone
from open_engine.cnmfe.cells import Cells
from open_engine.cnmfe.updates import Estimate, Patch
from open_engine.metrics import compactness

SAME_PLACE = 0.9  # cosine of footprints of which there can only be one
TWICE = 0.5  # cosine of footprints and r of traces above which what was found twice is the same
SIZES = 0.45, 1.8  # of a footprint, in cell diameters
LONGEST = 3.0  # length over width
MIN_SKEWNESS = 1.0  # of a raw trace; noise has 0, background about 0.5
LEAST_SKEWNESS = 0.1  # where peaks are clear, as a cell that fires all the time has hardly more
CLEAR = 2.0  # times the least peak to noise
MIN_LIKENESS = 0.94  # of a footprint to what lights up in its transients
LEAST_LIKENESS = 0.8  # where a footprint is round and compact, as pieces of something larger seldom are
ROUND, COMPACT = 1.4, 0.88  # at most so long, in widths; so much of its light near its centre at least
MOST_TRAVEL = 0.06  # cell diameters; more is a wave that passes
MORE_COMPACT, NO_LONGER = 0.9, 2.0  # where a footprint is so compact, and at most so long, in widths, or still alike:
WITHOUT_BACKGROUND = 0.94, 0.1  # likeness and travel that count instead, once the background is taken away


def cosines(cells: Cells) -> scipy.sparse.csr_matrix:
    """Cosine of each pair of footprints that overlap, (n, n)."""
    footprints = cells.matrix()
    norm = np.sqrt(np.asarray(footprints.multiply(footprints).sum(axis=1)).ravel())
    unit = scipy.sparse.diags(1 / np.maximum(norm, 1e-12)) @ footprints
    return (unit @ unit.T).tocsr()


def correlations(traces: np.ndarray) -> np.ndarray:
    z = traces - traces.mean(axis=1, keepdims=True)
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return z @ z.T


def merged(cells: Cells, least_correlation: float, least_cosine: float = 0.3) -> np.ndarray:
    """Cells whose traces and footprints are alike become one: the brightest stands for all.

    Returns of each cell why a brighter one stands for it (cells,), texts; "" for those that stay.
    """
    reasons = np.full(len(cells), "", dtype=object)
    if len(cells) < 2:
        return reasons
    cosine, r = cosines(cells).toarray(), correlations(cells.traces)
    alike = (r > least_correlation) & (cosine > least_cosine) | (cosine > SAME_PLACE)
    n, label = scipy.sparse.csgraph.connected_components(alike, directed=False)
    light = np.linalg.norm(cells.crops, axis=(1, 2)) * np.linalg.norm(cells.traces, axis=1)
    for k in range(n):
        members = np.flatnonzero(label == k)
        brightest = members[light[members].argmax()]
        for i in members[members != brightest]:
            like = max(np.flatnonzero(alike[i]), key=lambda j, i=i: r[i, j] if j != i else -1.0)
            reasons[i] = (
                f"merged with another cell: their traces correlate (r = {r[i, like]:.2f}, merge_threshold "
                f"{least_correlation:g}), their footprints overlap (cosine {cosine[i, like]:.2f})"
            )
    return reasons


def doubts(patch: Patch, estimate: Estimate, min_pnr: float, diameter: float, rate_hz: float) -> np.ndarray:
    """For each cell, the reason why the gate drops it. "" if its trace has transients and its footprint is about as
    large and round as a cell.

    Transients are peaks well above the noise, and upward. Dendrites are too long; single pixels too small; a piece of
    something larger, or of something that passes, is not alone (alone.py).
    """
    pnr = peak_to_noise(estimate, patch.decay)
    skewness = skewnesses(estimate.raw)
    width, length = shapes(estimate.cells)
    seen, alike, still = _alone(patch, estimate.cells, length, skewness, diameter, rate_hz)
    rises = (skewness > MIN_SKEWNESS) | ((pnr >= CLEAR * min_pnr) & (skewness > LEAST_SKEWNESS))
    why = np.full(len(pnr), "", dtype=object)
    for i in range(len(pnr)):
        reasons = (
            (pnr[i] >= min_pnr, f"its highest peak is {pnr[i]:.1f} times the noise (min_pnr {min_pnr:g})"),
            (rises[i], f"its trace is as often below its mean as above (skewness {skewness[i]:.2f})"),
            (width[i] >= SIZES[0] * diameter, f"too narrow: {width[i]:.1f} px for cells of {diameter:.3g} px"),
            (width[i] <= SIZES[1] * diameter, f"too wide: {width[i]:.1f} px for cells of {diameter:.3g} px"),
            (length[i] <= LONGEST, f"too long: {length[i]:.1f} times its width"),
            (alike[i], f"its surroundings light up with it (likeness {seen.likeness[i]:.2f})"),
            (still[i], f"its light moves: {seen.travel[i]:.1f} px in a transient"),
        )
        why[i] = "; ".join(reason for passes, reason in reasons if not passes)
    return why


def _alone(
    patch: Patch, cells: Cells, length: np.ndarray, skewness: np.ndarray, diameter: float, rate_hz: float
) -> tuple[Alone, np.ndarray, np.ndarray]:
    """How alone cells are; which of them light up without their surroundings, and in one place.

    What lights up around a compact footprint may be neuropil: it is, if it is gone once the background is taken away.
    This is not asked where brightness only flickers, as at the edge of a speck of dust while the tissue moves.
    """
    compact = np.array([compactness(crop, diameter) for crop in cells.crops])
    together = correlations(cells.traces)
    seen = alone(patch, cells, together, rate_hz)
    least = np.where((length < ROUND) & (compact > COMPACT), LEAST_LIKENESS, MIN_LIKENESS)
    alike, still = seen.likeness >= least, seen.travel <= MOST_TRAVEL * diameter
    perhaps = ~(alike & still) & (alike | (compact > MORE_COMPACT) & (length < NO_LONGER))
    perhaps &= skewness > MIN_SKEWNESS
    left = alone(patch, cells, together, rate_hz, np.flatnonzero(perhaps), without_background=True)
    least, most_travel = WITHOUT_BACKGROUND
    believed = (left.likeness >= least) & (left.travel <= most_travel * diameter)
    return seen, alike | believed, still | believed


def skewnesses(traces: np.ndarray) -> np.ndarray:
    """Of each trace (cells, frames); 0 where nothing changes. SciPy's takes a third of a second to import."""
    away = traces - traces.mean(axis=1, keepdims=True)
    variance = (away**2).mean(axis=1)
    return (away**3).mean(axis=1) / np.maximum(variance, 1e-20) ** 1.5


def diameter_of_disc(footprint: np.ndarray) -> float:
    """Diameter, px, of a disc as large as the part of a footprint above half of its peak."""
    return 2 * float(np.sqrt((footprint > footprint.max(initial=0) / 2).sum() / np.pi))


def elongation(footprint: np.ndarray) -> float:
    """Length over width of the part of a footprint above half of its peak."""
    pixels = np.argwhere(footprint > footprint.max(initial=0) / 2)
    if len(pixels) < 3:
        return 1.0
    spread = np.linalg.eigvalsh(np.cov(pixels.T) + np.eye(2) / 12)  # a pixel has a width of its own
    return float(np.sqrt(spread[1] / spread[0]))


def shapes(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Shape of each footprint above half its peak: diameter of a disc of equal area (px), and length over width."""
    width = np.array([diameter_of_disc(crop) for crop in cells.crops])
    return width, np.array([elongation(crop) for crop in cells.crops])


def peak_to_noise(estimate: Estimate, decay: float) -> np.ndarray:
    """The highest calcium peak over the noise that is left once a trace is filtered by the decay of calcium."""
    peak = estimate.cells.traces.max(axis=1, initial=0)
    return peak / np.maximum(estimate.noise * np.sqrt(1 - decay**2), 1e-12)
