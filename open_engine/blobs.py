"""Bright discs of a range of sizes in an image."""

from __future__ import annotations

import math

import numpy as np
import scipy

from open_engine.robust import noise_sd

SCALE_STEP = 1.2  # ratio of one diameter to the next


LEAST_SPREADS = 4.0


def count_cells(image: np.ndarray, min_diameter: float, max_diameter: float, min_inter_dist: float = 0) -> int:
    """Blobs in an image, shape (rows, columns), whose diameter is within the limits, px; NaN counts as background."""
    return len(find_cells(image, min_diameter, max_diameter, min_inter_dist))


def find_cells(image: np.ndarray, min_diameter: float, max_diameter: float, min_inter_dist: float = 0) -> np.ndarray:
    """Centres and diameters, shape (cells, 3): row, column, diameter in px; the strongest first."""
    finite = np.isfinite(image)
    if not finite.any():
        return np.zeros((0, 3))
    image = np.where(finite, image, np.median(image[finite])).astype(np.float64)
    n_scales = max(2, math.ceil(math.log(max_diameter / min_diameter, SCALE_STEP)) + 1)
    within = np.geomspace(min_diameter, max_diameter, n_scales)
    ratio = within[1] / within[0]
    diameters = np.array([within[0] / ratio, *within, within[-1] * ratio])  # so that a maximum can lie inside
    answers = np.stack([_answer(image, diameter / math.sqrt(8)) for diameter in diameters])
    spreads = np.array([noise_sd(answer) for answer in answers])
    highest = scipy.ndimage.maximum_filter(answers, size=3, mode="nearest") == answers
    enough = answers > np.maximum(LEAST_SPREADS * spreads, 1e-9 * np.abs(image).max())[:, None, None]
    scale, row, column = np.nonzero(highest & enough)
    inside = (scale > 0) & (scale < len(diameters) - 1)
    scale, row, column = scale[inside], row[inside], column[inside]
    order = np.lexsort((column, row, -answers[scale, row, column] / np.maximum(spreads[scale], 1e-300)))
    cells = np.column_stack([row, column, diameters[scale]])[order]
    return cells[_apart(cells, max(min_inter_dist, min_diameter / 2))]


def _answer(image: np.ndarray, sigma: float) -> np.ndarray:
    return -(sigma**2) * scipy.ndimage.gaussian_laplace(image, sigma, mode="nearest")


def _apart(cells: np.ndarray, distance: float) -> list[int]:
    """Indices of those that have no stronger one, itself kept, nearer than `distance`."""
    if not len(cells):
        return []
    near = scipy.spatial.cKDTree(cells[:, :2]).query_ball_point(cells[:, :2], distance - 1e-9)
    kept: list[int] = []
    taken = np.zeros(len(cells), bool)
    for i, neighbours in enumerate(near):
        if not taken[neighbours].any():
            taken[i] = True
            kept.append(i)
    return kept
