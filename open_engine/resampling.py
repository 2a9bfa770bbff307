"""Frames moved by a fraction of a pixel: the cubic convolution of Keys (1981, IEEE Trans. ASSP 29, a = -1/2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from open_engine.files import frames

STRIP_PIXELS = 1 << 17  # of a frame that are resampled at a time, which stay in the processor's cache


def common_area(shape: tuple[int, int], shifts: np.ndarray) -> tuple[int, int, int, int]:
    """x, y, width and height of the pixels that all frames have once moved back by `shifts`, (n, 2) as (y, x)."""
    low = np.ceil(np.maximum(0, -shifts.min(axis=0))).astype(int)
    high = np.array(shape) - np.ceil(np.maximum(0, shifts.max(axis=0))).astype(int)
    height, width = high - low
    return int(low[1]), int(low[0]), int(width), int(height)


def move_back(frame: np.ndarray, shift: np.ndarray, area: tuple[int, int, int, int], out: np.ndarray) -> None:
    """Fill `out`, (height, width), with frame(p + shift) for the pixels p of the area; all of them are in the frame."""
    x, y, width, height = area
    if not shift.any():
        out[...] = frame[y : y + height, x : x + width]
        return
    whole = np.floor(shift).astype(int)
    down, right = (_keys(float(t)) for t in shift - whole)
    padded = _padded(frame)
    top, left = y + int(whole[0]) + 1, x + int(whole[1]) + 1  # of the first of four taps
    across = padded.shape[1]
    n_rows = max(1, STRIP_PIXELS // across)
    for first in range(0, height, n_rows):  # rows end to end, which is several times as fast
        last = min(first + n_rows, height)
        taps = padded[top + first : top + last + 3].ravel()
        moved = _weighted(_weighted(taps, down, across), right, 1)[: (last - first) * across]
        out[first:last] = frames.converted(moved, out.dtype).reshape(-1, across)[:, left : left + width]


def _padded(frame: np.ndarray) -> np.ndarray:
    """The frame as float32, with the pixels at its edges repeated twice on each side."""
    rows, columns = frame.shape
    padded = np.empty((rows + 4, columns + 4), np.float32)
    inner = padded[2:-2]
    inner[:, 2:-2] = frame
    inner[:, :2], inner[:, -2:] = inner[:, 2:3], inner[:, -3:-2]
    padded[:2], padded[-2:] = padded[2], padded[-3]
    return padded


def _keys(t: float) -> tuple[float, float, float, float]:
    """Weights of the samples at -1, 0, 1 and 2 for the value at t, 0 <= t < 1."""
    return (
        ((-0.5 * t + 1) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((-1.5 * t + 2) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )


def _weighted(flat: np.ndarray, weights: Sequence[float], step: int) -> np.ndarray:
    """sum over k of weights[k] flat[i + k step], for each i; of the same length, whose end means nothing."""
    n = len(flat) - 3 * step
    made, part = np.empty_like(flat), np.empty(n, np.float32)
    made[n:] = 0
    total = np.multiply(flat[step : step + n], weights[1], out=made[:n])
    for k in (0, 2, 3):
        if weights[k]:
            total += np.multiply(flat[k * step : k * step + n], weights[k], out=part)
    return made
