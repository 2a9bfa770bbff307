"""Motion from frame to frame of what changes in a region (spatio-temporal image correlation).

The frames' difference x from their mean, which takes away what does not move, is correlated with itself k = -1, 0, 1
frames later (Hebert, Costantino and Wiseman 2005, Biophys. J. 88):

    R_k(d) = sum_t sum_p x_t(p) x_(t+k)(p + d) / (overlap of the region with itself at d, times the variance of x)

The motion is where R_1 peaks. Between pixels the peak is that of the quadratic through the nine values around the
greatest. Without a peak of at least 5 robust standard deviations of R_1, or with one at the rim of what can be told
(half the region's longer side), there is no motion to be told.
"""

from __future__ import annotations

import numpy as np
import scipy

from open_engine.quadratic import peak_within
from open_engine.robust import noise_sd

SIGNIFICANT = 5.0  # robust standard deviations
LEAST_OVERLAP = 0.2  # of the region with itself


def peak_motion(region: np.ndarray, mask: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The motion a frame, x and y in px (NaN: none to be told), and the maps of R_-1, R_0, R_1: (3, side, side)."""
    reach = max(mask.shape) // 2
    maps = np.zeros((3, 2 * reach + 1, 2 * reach + 1), np.float32)
    nothing = np.full(2, np.nan)
    if np.count_nonzero(valid[1:] & valid[:-1]) < 2 or not mask.any():
        return nothing, maps
    changing = (region - region[valid].mean(axis=0)) * mask
    changing -= (changing.sum(axis=(1, 2)) / mask.sum())[:, np.newaxis, np.newaxis] * mask
    variance = float((changing[valid] ** 2).sum() / (np.count_nonzero(valid) * mask.sum()))
    if variance == 0:
        return nothing, maps
    padded = tuple(scipy.fft.next_fast_len(n + reach, real=True) for n in mask.shape)
    spectra = scipy.fft.rfft2(changing, padded)
    near = np.ix_(*(np.arange(-reach, reach + 1) % n for n in padded))
    shape = scipy.fft.rfft2(mask.astype(np.float32), padded)
    overlap = scipy.fft.irfft2(np.abs(shape) ** 2, padded)[near]
    told = overlap >= LEAST_OVERLAP * mask.sum()
    scale = np.where(told, 1 / np.maximum(overlap, 1), 0) / variance
    for k, place in ((0, 1), (1, 2)):
        pairs = valid[: len(valid) - k] & valid[k:]
        product = (np.conj(spectra[: len(valid) - k][pairs]) * spectra[k:][pairs]).mean(axis=0)
        maps[place] = scipy.fft.irfft2(product, padded)[near] * scale
    maps[0] = maps[2, ::-1, ::-1]  # the same pairs of frames, the other way round
    return _peak(maps[2], told), maps


def _peak(surface: np.ndarray, told: np.ndarray) -> np.ndarray:
    """Where the greatest value lies from the centre, as x and y; NaN where it is at the rim or does not stand out."""
    row, column = np.unravel_index(np.where(told, surface, -np.inf).argmax(), surface.shape)
    values = surface[told]
    around = np.s_[row - 1 : row + 2, column - 1 : column + 2]
    inner = 0 < row < len(surface) - 1 and 0 < column < len(surface) - 1 and told[around].all()
    if not inner or surface[row, column] - np.median(values) < SIGNIFICANT * noise_sd(values):
        return np.full(2, np.nan)
    centre = len(surface) // 2
    return np.array([column - centre, row - centre]) + peak_within(surface[around])[::-1]
