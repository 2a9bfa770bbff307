"""How strong noise is, whatever stands out from it."""

from __future__ import annotations

import numpy as np

MAD_TO_SD = 1.4826  # of normal noise


def noise_sd(
    values: np.ndarray, axis: int | None = None, keepdims: bool = False, around: np.ndarray | float | None = None
) -> np.ndarray:
    """Standard deviation of normal noise, from its median absolute deviation, in the unit of the values.

    The deviation is from `around`, or from the median. Of all values, or along an axis.
    """
    middle = np.median(values, axis=axis, keepdims=True) if around is None else around
    return MAD_TO_SD * np.median(np.abs(values - middle), axis=axis, keepdims=keepdims)
