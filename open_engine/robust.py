"""How strong noise is, whatever stands out from it."""

from __future__ import annotations

import numpy as np

from common.normal import MAD_TO_SD, SD_TO_MAD


def noise_sd(
    values: np.ndarray, axis: int | None = None, keepdims: bool = False, around: np.ndarray | float | None = None
) -> np.ndarray:
    """Standard deviation of normal noise, from its median absolute deviation, in the unit of the values.

    The deviation is from `around`, or from the median. Of all values, or along an axis.
    """
    middle = np.median(values, axis=axis, keepdims=True) if around is None else around
    return MAD_TO_SD * np.median(np.abs(values - middle), axis=axis, keepdims=keepdims)


def spread(values: np.ndarray) -> float:
    """The same of all values together, rounded as in Donoho and Johnstone (1994). `values` must not be empty."""
    return float(np.median(np.abs(values - np.median(values)))) / SD_TO_MAD


def modified_z(values: np.ndarray) -> np.ndarray:
    """How far values lie from their median, of the shape of the values; 0 where most values are equal.

    The modified z-score of Iglewicz and Hoaglin (1993, How to Detect and Handle Outliers).
    """
    away = values - np.median(values)
    deviation = np.median(np.abs(away))
    return SD_TO_MAD * away / deviation if deviation > 0 else np.zeros_like(away)
