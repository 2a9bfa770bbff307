"""Where a peak lies between samples."""

from __future__ import annotations

import numpy as np


def peak_within(around: np.ndarray) -> np.ndarray:
    """Where the quadratic through 3 x 3 values peaks, from the middle one, the greatest: (y, x) in samples.

    At most half a sample; 0, 0 if it has no peak.
    """
    (a, b, c), (d, e, f), (g, h, i) = around.astype(float)
    dy, dx = (h - b) / 2, (f - d) / 2
    dyy, dxx, dxy = h + b - 2 * e, f + d - 2 * e, (i + a - c - g) / 4
    determinant = dyy * dxx - dxy**2
    if not determinant > 0:
        return np.zeros(2)
    return np.clip(np.array([dxy * dx - dxx * dy, dxy * dy - dyy * dx]) / determinant, -0.5, 0.5)
