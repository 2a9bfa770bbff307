"""Which of the cells found are believed, and which are one cell found twice."""

from __future__ import annotations

import numpy as np
from scipy import sparse, stats
from scipy.sparse.csgraph import connected_components

from open_engine.cnmfe.cells import Cells
from open_engine.cnmfe.updates import Estimate

SAME_PLACE = 0.9  # cosine of footprints of which there can only be one
SIZES = 0.45, 1.8  # of a footprint, in cell diameters
LONGEST = 3.0  # length over width
MIN_SKEWNESS = 1.0  # of a raw trace; noise has 0, background about 0.5


def cosines(cells: Cells) -> sparse.csr_matrix:
    """Of each pair of footprints that overlap, (n, n)."""
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


def believed(estimate: Estimate, decay: float, min_pnr: float, diameter: float) -> np.ndarray:
    """Indices of the cells whose traces have transients and whose footprints are about as large and round as a cell.

    Transients are peaks well above the noise, and an upward skew. Dendrites are too long; single pixels too small.
    """
    pnr = peak_to_noise(estimate, decay)
    skewness = stats.skew(estimate.raw, axis=1) if len(estimate.raw) else np.zeros(0)
    width, elongation = shapes(estimate.cells)
    cell_like = (width >= SIZES[0] * diameter) & (width <= SIZES[1] * diameter) & (elongation <= LONGEST)
    return np.flatnonzero((pnr >= min_pnr) & (skewness > MIN_SKEWNESS) & cell_like)


def shapes(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Of each footprint's part above half its peak: diameter of a disc as large, px, and length over width."""
    width, elongation = np.zeros(len(cells)), np.ones(len(cells))
    for i, crop in enumerate(cells.crops):
        pixels = np.argwhere(crop > crop.max() / 2)
        width[i] = 2 * np.sqrt(len(pixels) / np.pi)
        if len(pixels) > 2:
            spread = np.linalg.eigvalsh(np.cov(pixels.T) + np.eye(2) / 12)  # a pixel has a width of its own
            elongation[i] = np.sqrt(spread[1] / spread[0])
    return width, elongation


def peak_to_noise(estimate: Estimate, decay: float) -> np.ndarray:
    """The highest calcium peak over the noise that is left once a trace is filtered by the decay of calcium."""
    peak = estimate.cells.traces.max(axis=1, initial=0)
    return peak / np.maximum(estimate.noise * np.sqrt(1 - decay**2), 1e-12)
