"""Footprints of 0 and 1."""

from __future__ import annotations

import numpy as np

from open_engine.context import StepContext
from open_engine.files.cellsets import listed, read_cell_set, write_like


def binarize_cell_set(
    input_cellset_file: str,
    output_cellset_file: str,
    threshold: float,
    use_percentile_threshold: bool = False,
    *,
    context: StepContext,
) -> None:
    """Write a cell set whose footprints are 1 where they exceed `threshold`, else 0 (also where they are not a number).

    With `use_percentile_threshold` each footprint has a threshold of its own, that percentile of its pixels, between
    two values on a straight line. Traces, names and statuses stay.
    """
    cells = read_cell_set(input_cellset_file)
    binary = np.empty(cells.images.shape, np.float32)
    for image, footprint in zip(cells.images, binary):
        footprint[:] = _exceeds(image, threshold, use_percentile_threshold)
    write_like(output_cellset_file, cells, images=binary, noted={"type": "binary"})
    empty = [name for name, footprint in zip(cells.names, binary) if not footprint.any()]
    if empty:
        few = f"{len(empty)} of {cells.n_cells} footprints have no pixel above the threshold"
        context.warn(f"{few}: {listed(empty)}")


def _exceeds(image: np.ndarray, threshold: float, percentile: bool) -> np.ndarray:
    finite = image[np.isfinite(image)]
    least = np.percentile(finite.astype(np.float64), threshold) if percentile and finite.size else threshold
    with np.errstate(invalid="ignore"):
        return np.asarray(image, np.float64) > least
