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
    middle = median(values, axis, keepdims=True) if around is None else around
    return MAD_TO_SD * median(np.abs(values - middle), axis, keepdims)


def median(values: np.ndarray, axis: int | None = None, keepdims: bool = False) -> np.ndarray:
    """The median as np.median has it, along an axis by sorting: of many short rows, that is several times as fast."""
    if axis is None or not values.shape[axis]:
        return np.median(values, axis=axis, keepdims=keepdims)
    ordered, n = np.moveaxis(np.sort(values, axis=axis), axis, -1), values.shape[axis]
    middle = ordered[..., [(n - 1) // 2, n // 2]].mean(axis=-1)
    middle = np.where(np.isnan(ordered[..., -1]), ordered[..., -1], middle)  # what is not a number comes last
    return np.expand_dims(middle, axis) if keepdims else middle


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
