"""One neuron that was found as several cells: its trace."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def joined_trace(footprints: Sequence[np.ndarray], traces: Sequence[np.ndarray], scales: Sequence[float]) -> np.ndarray:
    """The trace of the first cell if all of these are it, in the unit of its own trace.

    The model has the sum of all footprints times their traces in the movie; least squares explain that sum by the first
    footprint alone, so each trace counts as much as its footprint is like the first one. Where the activity of one
    neuron was shared out between cells in one place, this is its sum.

    Parameters
    ----------
    footprints : (rows, columns) each.
    traces : (samples,) each; NaN where nothing was recorded.
    scales : what each trace is multiplied by to be in the units of the movie.
    """
    first = np.nan_to_num(footprints[0]).astype(np.float64)
    power = float((first * first).sum())
    if not power > 0:
        return traces[0]
    total = np.zeros(len(traces[0]))
    for footprint, trace, scale in zip(footprints, traces, scales):
        total += float((np.nan_to_num(footprint) * first).sum()) / power * scale * trace
    return (total / scales[0]).astype(np.float32)
