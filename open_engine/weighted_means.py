"""Traces of given footprints: what a movie shows under them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from open_engine.files.frames import Series, chunks, in_order

CHUNK_MB = 16  # of float32 frames, which take twice that while they are summed


def weighted_means(
    series: Series,
    footprints: np.ndarray,
    threads: int = 1,
    progress: Callable[[float], None] = lambda fraction: None,
) -> np.ndarray:
    """Mean of each frame, weighted with each footprint: sum of footprint x frame / sum of footprint.

    `footprints` has shape (cells, rows, columns), none negative. Returns float32, shape (cells, samples), NaN where no
    frame was recorded or the footprint is empty. Sums are in double precision.
    """
    n_pixels = series.shape[0] * series.shape[1]
    weights = scipy.sparse.csr_array(np.asarray(footprints, np.float64).reshape(len(footprints), n_pixels))
    totals = np.asarray(weights.sum(axis=1)).reshape(-1, 1)
    traces = np.full((len(footprints), series.n_frames), np.nan, np.float32)

    def means(cut: tuple[int, int]) -> tuple[slice, np.ndarray]:
        frames = series.read(*cut)
        with np.errstate(invalid="ignore", divide="ignore"):
            return slice(*cut), (weights @ frames.reshape(len(frames), -1).T.astype(np.float64)) / totals

    for place, of_chunk in in_order(means, chunks(series, CHUNK_MB), threads):
        traces[:, place] = of_chunk
        progress(place.stop / series.n_frames)
    traces[:, ~series.valid] = np.nan
    return traces
