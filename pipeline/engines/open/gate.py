"""Which of the cells found are believed, and which are one cell found twice."""

from __future__ import annotations

import numpy as np
from scipy import sparse, stats
from scipy.sparse.csgraph import connected_components

from pipeline.engines.open.cells import Cells
from pipeline.engines.open.updates import Estimate

MAX_ELONGATION = (
    2.5  # of a footprint; a cell body cut in half by the field's edge has 2, dendrites and vessels 3 or more
)
FOOT = 0.2  # of a footprint's peak: what is dimmer says little of its shape
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
    alike = (correlations(cells.traces) > least_correlation) & (cosines(cells).toarray() > least_cosine)
    n, label = connected_components(alike, directed=False)
    light = np.linalg.norm(cells.crops, axis=(1, 2)) * np.linalg.norm(cells.traces, axis=1)
    brightest = [np.flatnonzero(label == k)[light[label == k].argmax()] for k in range(n)]
    return cells.take(np.sort(brightest))


def believed(estimate: Estimate, decay: float, min_pnr: float) -> np.ndarray:
    """Indices of the cells that look like cell bodies and whose traces have transients.

    These are peaks well above the noise, and an upward skew.
    """
    pnr = peak_to_noise(estimate, decay)
    skewness = stats.skew(estimate.raw, axis=1) if len(estimate.raw) else np.zeros(0)
    is_round = elongations(estimate.cells) <= MAX_ELONGATION
    return np.flatnonzero((pnr >= min_pnr) & (skewness > MIN_SKEWNESS) & is_round)


def elongations(cells: Cells) -> np.ndarray:
    """Length over width of each footprint, (n,): roots of its second moments along its axes, each with a pixel's."""
    return np.array([_elongation(crop) for crop in cells.crops])


def _elongation(crop: np.ndarray) -> float:
    light = np.where(crop >= FOOT * crop.max(initial=0), crop, 0).astype(np.float64)
    if not light.any():
        return 1.0
    place = np.indices(crop.shape).reshape(2, -1)
    least, most = np.linalg.eigvalsh(np.cov(place, aweights=light.ravel(), ddof=0) + np.eye(2) / 12)
    return float(np.sqrt(most / least))


def peak_to_noise(estimate: Estimate, decay: float) -> np.ndarray:
    """The highest calcium peak over the noise that is left once a trace is filtered by the decay of calcium."""
    peak = estimate.cells.traces.max(axis=1, initial=0)
    return peak / np.maximum(estimate.noise * np.sqrt(1 - decay**2), 1e-12)
