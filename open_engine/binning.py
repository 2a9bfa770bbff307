"""Bins of a movie in space and time, and what they leave of its timing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from open_engine.files.frames import Timing


def binned_timing(timing: Timing, factor: int) -> Timing:
    """The timing of means over `factor` samples, which are recorded if any of their samples is."""
    n = timing.n_samples // factor
    some = timing.valid[: n * factor].reshape(n, factor).any(axis=1)
    lost = {i for i in range(n) if not some[i]}
    reasons = {i * factor for i in lost}
    dropped, blank = reasons.intersection(timing.dropped), reasons.intersection(timing.blank)
    cropped = sorted(i // factor for i in reasons - dropped - blank)
    return replace(
        timing,
        n_samples=n,
        period=timing.period * factor,
        dropped=tuple(sorted(i // factor for i in dropped)),
        blank=tuple(sorted(i // factor for i in blank)),
        cropped=runs(cropped),
    )


def runs(indices: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """First and last of each run of adjacent numbers; `indices` are sorted."""
    adjacent: list[tuple[int, int]] = []
    for i in indices:
        if adjacent and adjacent[-1][1] == i - 1:
            adjacent[-1] = (adjacent[-1][0], i)
        else:
            adjacent.append((i, i))
    return tuple(adjacent)


def binned(block: np.ndarray, valid: np.ndarray, in_time: int, in_space: int) -> np.ndarray:
    """Means over bins; shape (n, rows, columns) float32, whose sizes are multiples of the factors. `valid`: (n,)."""
    count = valid.reshape(-1, in_time).sum(axis=1)
    total = _summed(_summed(_summed(block, in_time, 0), in_space, 1), in_space, 2)  # zero where not recorded
    n_values = (np.maximum(count, 1) * in_space**2).astype(np.float32)
    return total if in_time == in_space == 1 else np.divide(total, n_values[:, np.newaxis, np.newaxis], out=total)


def _summed(block: np.ndarray, factor: int, axis: int) -> np.ndarray:
    """Over groups of `factor` along an axis. Adds slices, as that is far quicker than to reduce a short axis."""
    every = [slice(None)] * 3
    total = block
    for i in range(1, factor):
        every[axis] = slice(i, None, factor)
        piece = block[tuple(every)]
        if i == 1:
            every[axis] = slice(0, None, factor)
            total = block[tuple(every)] + piece
        else:
            total += piece
    return total
