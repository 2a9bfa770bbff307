"""Independent components from principal ones; steps/pca_ica.py says by which method, and cites it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from open_engine.files.frames import in_order
from open_engine.pca import SEED, SLAB, Components

SHIFT = 0.5  # part of the former direction in each step


def rotation(
    components: Components,
    weight: float,
    max_iterations: int,
    threshold: float,
    threads: int = 1,
    progress: Callable[[float], None] = lambda fraction: None,
) -> tuple[np.ndarray, bool]:
    """The unmixing matrix, shape (components, components), orthonormal, and whether the iteration converged."""
    sides = [(1 - weight, components.images), (weight, components.traces)]
    start = np.random.default_rng(SEED).standard_normal((len(components.strengths),) * 2)
    unmixing = _orthonormal(start)
    for number in range(max_iterations):
        step = sum(share * _third_moment(vectors, unmixing, threads) for share, vectors in sides if share > 0)
        lengths = np.linalg.norm(step, axis=1, keepdims=True)
        before, unmixing = unmixing, _orthonormal(step + SHIFT * lengths * unmixing)
        progress((number + 1) / max_iterations)
        if 1 - np.abs((before * unmixing).sum(axis=1)).min() < threshold:
            return unmixing, True
    return unmixing, False


def unmixed(components: Components, unmixing: np.ndarray, unmix_type: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (cells, pixels) and traces (cells, recorded frames) of the first `n`, signs and scale as of pca_ica."""
    small = unmixing.astype(np.float32)
    strengths = components.strengths.astype(np.float32)
    images, traces = small @ components.images, small @ components.traces
    if unmix_type == "spatial":
        traces = (small * strengths) @ components.traces
    elif unmix_type == "temporal":
        images = (small * strengths) @ components.images
    else:
        traces *= (small**2 @ strengths)[:, None]
    sign = np.where(_skewness(images) < 0, -1, 1).astype(np.float32)[:, None]
    images *= sign
    traces *= sign
    first = np.argsort(-_skewness(traces), kind="stable")[:n]
    images, traces = images[first], traces[first]
    traces *= images.max(axis=1, keepdims=True)
    spread = images.std(axis=1, ddof=1, keepdims=True) if images.shape[1] > 1 else np.ones((len(images), 1))
    images /= np.where(spread > 0, spread, 1).astype(np.float32)
    return images, traces


def _third_moment(vectors: np.ndarray, unmixing: np.ndarray, threads: int) -> np.ndarray:
    """Mean over samples of z (w.z)^2 for each row w of the unmixing matrix.

    `vectors` has a sample a column and rows of length 1; z is the whitened sample, whose components have mean square 1.
    """
    small = unmixing.astype(np.float32)

    def part(first: int) -> np.ndarray:
        slab = vectors[:, first : first + SLAB]
        sources = small @ slab
        return np.square(sources, out=sources) @ slab.T

    total = np.zeros(unmixing.shape)
    for moment in in_order(part, range(0, vectors.shape[1], SLAB), threads):
        total += moment
    return total * math.sqrt(vectors.shape[1])


def _orthonormal(matrix: np.ndarray) -> np.ndarray:
    """The nearest matrix with orthonormal rows."""
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    return left @ right


def _skewness(rows: np.ndarray) -> np.ndarray:
    """Skewness of each row; 0 where it is constant."""
    skewness = np.zeros(len(rows))
    for i, row in enumerate(rows):
        off = row - row.mean(dtype=np.float64)
        variance = np.mean(off**2)
        if variance > 0:
            skewness[i] = np.mean(off**3) / variance**1.5
    return skewness
