"""Which of the cells found are believed, and which are one cell found twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse.csgraph import connected_components

from pipeline.engines.open.cells import Cells, join


def cosines(cells: Cells) -> np.ndarray:
    """Of each pair of footprints, (n, n)."""
    footprints = cells.matrix()
    norm = np.maximum(np.sqrt(np.asarray(footprints.multiply(footprints).sum(axis=1)).ravel()), 1e-12)
    return (footprints @ footprints.T).toarray() / np.outer(norm, norm)


def correlations(traces: np.ndarray) -> np.ndarray:
    z = traces - traces.mean(axis=1, keepdims=True)
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return z @ z.T


def merged(cells: Cells, least_correlation: float, least_cosine: float = 0.3) -> Cells:
    """Cells whose traces and footprints are alike become one: the brightest one's trace, all of their light."""
    if len(cells) < 2:
        return cells
    alike = (correlations(cells.traces) > least_correlation) & (cosines(cells) > least_cosine)
    n, label = connected_components(alike, directed=False)
    light = np.linalg.norm(cells.crops, axis=(1, 2)) * np.linalg.norm(cells.traces, axis=1)
    brightest = [np.flatnonzero(label == k)[light[label == k].argmax()] for k in range(n)]
    return cells.take(np.sort(brightest))


def peak_to_noise(denoised: np.ndarray, noise: np.ndarray, decay: float) -> np.ndarray:
    """The highest calcium peak over the noise that is left once a trace is filtered by the decay of calcium."""
    return denoised.max(axis=1) / np.maximum(noise * np.sqrt(1 - decay**2), 1e-12)
