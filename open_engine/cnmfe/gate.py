"""Which of the cells found are believed, and which are one cell found twice."""

from __future__ import annotations

import numpy as np
from scipy import sparse, stats
from scipy.sparse.csgraph import connected_components

from open_engine.cnmfe.cells import Cells, neighbours, shared
from open_engine.cnmfe.updates import Estimate, Patch, in_field

SAME_PLACE = 0.9  # cosine of footprints of which there can only be one
SIZES = 0.45, 1.8  # of a footprint, in cell diameters
LONGEST = 3.0  # length over width
TOGETHER = 0.5  # r of traces above which two are one thing or parts of it
MIN_SKEWNESS = 1.0  # of a raw trace; noise has 0, background about 0.5
LEAST_SKEWNESS = 0.1  # where peaks are clear, as a cell that fires all the time has hardly more
CLEAR = 2.0  # times the least peak to noise
MIN_LIKENESS = 0.9  # of a footprint to what lights up with it


def cosines(cells: Cells) -> sparse.csr_matrix:
    """Cosine of each pair of footprints that overlap, (n, n)."""
    footprints = cells.matrix()
    norm = np.sqrt(np.asarray(footprints.multiply(footprints).sum(axis=1)).ravel())
    unit = sparse.diags(1 / np.maximum(norm, 1e-12)) @ footprints
    return (unit @ unit.T).tocsr()


def correlations(traces: np.ndarray) -> np.ndarray:
    z = traces - traces.mean(axis=1, keepdims=True)
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return z @ z.T


def merged(cells: Cells, least_correlation: float, least_cosine: float = 0.3) -> Cells:
    """Cells whose traces and footprints are alike become one: the brightest stands for all."""
    if len(cells) < 2:
        return cells
    cosine = cosines(cells).toarray()
    alike = (correlations(cells.traces) > least_correlation) & (cosine > least_cosine) | (cosine > SAME_PLACE)
    n, label = connected_components(alike, directed=False)
    light = np.linalg.norm(cells.crops, axis=(1, 2)) * np.linalg.norm(cells.traces, axis=1)
    brightest = [np.flatnonzero(label == k)[light[label == k].argmax()] for k in range(n)]
    return cells.take(np.sort(brightest))


def doubts(patch: Patch, estimate: Estimate, min_pnr: float, diameter: float) -> np.ndarray:
    """Of each cell, why it is not believed; "" if its trace has transients and its footprint is about as large
    and round as a cell.

    Transients are peaks well above the noise, and upward. Dendrites are too long; single pixels too small; a piece of
    something larger is not alone.
    """
    pnr = peak_to_noise(estimate, patch.decay)
    skewness = stats.skew(estimate.raw, axis=1) if len(estimate.raw) else np.zeros(0)
    width, elongation = shapes(estimate.cells)
    alike = likeness(patch, estimate)
    rises = (skewness > MIN_SKEWNESS) | ((pnr >= CLEAR * min_pnr) & (skewness > LEAST_SKEWNESS))
    found = np.full(len(pnr), "", dtype=object)
    for i in range(len(pnr)):
        reasons = (
            (pnr[i] >= min_pnr, f"its highest peak is {pnr[i]:.1f} times the noise (min_pnr {min_pnr:g})"),
            (rises[i], f"its trace is as often below its mean as above (skewness {skewness[i]:.2f})"),
            (width[i] >= SIZES[0] * diameter, f"too narrow: {width[i]:.1f} px for cells of {diameter:.3g} px"),
            (width[i] <= SIZES[1] * diameter, f"too wide: {width[i]:.1f} px for cells of {diameter:.3g} px"),
            (elongation[i] <= LONGEST, f"too long: {elongation[i]:.1f} times its width"),
            (alike[i] >= MIN_LIKENESS, f"what is around it lights up with it (likeness {alike[i]:.2f})"),
        )
        found[i] = "; ".join(reason for passes, reason in reasons if not passes)
    return found


def diameter_of_disc(footprint: np.ndarray) -> float:
    """As large as the part of a footprint above half of its peak, px."""
    return 2 * float(np.sqrt((footprint > footprint.max(initial=0) / 2).sum() / np.pi))


def shapes(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """What each footprint is above half its peak: diameter of a disc as large, px, and length over width."""
    width, elongation = np.zeros(len(cells)), np.ones(len(cells))
    for i, crop in enumerate(cells.crops):
        pixels = np.argwhere(crop > crop.max() / 2)
        width[i] = diameter_of_disc(crop)
        if len(pixels) > 2:
            spread = np.linalg.eigvalsh(np.cov(pixels.T) + np.eye(2) / 12)  # a pixel has a width of its own
            elongation[i] = np.sqrt(spread[1] / spread[0])
    return width, elongation


def likeness(patch: Patch, estimate: Estimate) -> np.ndarray:
    """Correlation of each footprint with what lights up with its trace around it, before background is taken away.

    A cell is alone in this; a piece of a wave or of a patch of light has the rest of it around it. That is so where the
    rest was taken for other cells too, so only those that are active at other times are taken away. A plane is taken
    from both images, as background is smooth, and noise is allowed for.
    """
    cells = estimate.cells
    centred = cells.centred
    gram = centred @ centred.T
    power = np.maximum(np.diag(gram), 1e-6)
    apart = np.abs(correlations(cells.traces)) < TOGETHER
    near = neighbours(cells.corners, cells.side)
    at = np.arange(cells.side) - cells.side // 2
    window = np.hypot(at[:, None], at) <= cells.side / 2
    planes = np.stack(np.broadcast_arrays(1.0, at[:, None], at), axis=-1)
    found = np.zeros(len(cells))
    for i, corner in enumerate(cells.corners):
        field, square = in_field(corner, cells.side, patch.shape)
        image = np.zeros((cells.side, cells.side))
        image[square] = patch.movie[field] @ centred[i]
        for j in near[i][apart[i, near[i]]]:
            here, there = shared(corner, cells.corners[j], cells.side)
            image[here] -= gram[i, j] * cells.crops[j][there]
        inside = np.zeros(window.shape, bool)
        inside[square] = window[square]
        plane = planes[inside]
        both = np.stack([cells.crops[i][inside], image[inside] / power[i]], axis=1)
        both = both - plane @ np.linalg.lstsq(plane, both, rcond=None)[0]
        product, own, seen = (both[:, a] @ both[:, b] for a, b in ((0, 1), (0, 0), (1, 1)))
        seen = max(seen - inside.sum() / power[i], seen / 10)
        found[i] = product / np.sqrt(max(own * seen, 1e-30))
    return found


def peak_to_noise(estimate: Estimate, decay: float) -> np.ndarray:
    """The highest calcium peak over the noise that is left once a trace is filtered by the decay of calcium."""
    peak = estimate.cells.traces.max(axis=1, initial=0)
    return peak / np.maximum(estimate.noise * np.sqrt(1 - decay**2), 1e-12)
