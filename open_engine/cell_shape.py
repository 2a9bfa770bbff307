"""Whether a footprint has the shape of a cell.

Light that is 1 to 3 diameters wide, such as waves of neuropil, a bright edge or a patch out of focus, is found as
pieces that are larger than a cell, or bent. Compactness tells them (metrics.py). IDPS's "# Comps" does not: one stray
pixel above half of the peak is a second component, and noise leaves many.
"""

from __future__ import annotations

import numpy as np

from open_engine.cnmfe.gate import elongation
from open_engine.metrics import compactness

LEAST_COMPACT = 0.8
LEAST_COMPACT_OF_ROUND = 0.77  # a large cell is round; a piece of something larger seldom is
ROUND = 1.25  # length over width
ON_BORDER = 0.21  # diameters from it: the centre of what is seen of a cell of which half is


def is_cell(footprint: np.ndarray, diameter: float) -> bool:
    """Whether a footprint (rows, columns) is compact, and its cell's centre in the field."""
    return not doubt(footprint, diameter)


def doubt(footprint: np.ndarray, diameter: float, least_compact: float = 0) -> str:
    """Why a footprint (rows, columns) is no cell's, in words; "" if it may be one's.

    least_compact: of it, where more is asked for than of others.
    """
    if not footprint.max(initial=0) > 0:
        return "its footprint is empty"
    power = np.maximum(footprint, 0).astype(np.float64) ** 2
    for axis, length in enumerate(footprint.shape):
        middle = np.average(np.arange(length), weights=power.sum(axis=1 - axis))
        if min(middle + 0.5, length - 0.5 - middle) < ON_BORDER * diameter:
            return "on the border of the field, its centre outside"
    compact = compactness(footprint, diameter)
    least = max(least_compact, LEAST_COMPACT_OF_ROUND if elongation(footprint) < ROUND else LEAST_COMPACT)
    if compact > least:
        return ""
    return f"not compact: {100 * compact:.0f}% of its light is near its centre, less than {100 * least:.0f}%"
