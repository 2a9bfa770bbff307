"""New traces for the cells of a cell set, from other movies of the same field."""

from __future__ import annotations

import numpy as np

from open_engine.context import StepContext
from open_engine.files.cellsets import as_list, footer_like, listed, read_cell_set, write_cell_set
from open_engine.files.frames import open_series
from open_engine.weighted_means import weighted_means
from recording.errors import Unusable


def apply_cell_set(
    input_movie_files: str | list[str],
    input_cell_set_file: str | list[str],
    output_cell_set_files: str | list[str],
    threshold: float,
    *,
    context: StepContext,
) -> None:
    """Write a cell set for each movie, with the footprints that were applied, their names and statuses.

    A footprint keeps its values where they are positive and at least `threshold` of its maximum, and is 0 elsewhere.
    A trace is the mean of the frame weighted with it: sum of footprint x frame / sum of footprint, in the unit of the
    movie. IDPS reports a mean as well; whether it weights is not public.

    Raises Unusable if the field of the cell set is not that of the movie. A cell with an empty footprint gets a trace
    of NaN.
    """
    cells = read_cell_set(input_cell_set_file)
    footprints = np.array([_cut(image, threshold) for image in cells.images], np.float32).reshape(-1, *cells.shape)
    empty = [name for name, footprint in zip(cells.names, footprints) if not footprint.any()]
    if empty:
        context.warn(f"{len(empty)} cells have an empty footprint, so no trace: {listed(empty)}")
    with open_series(as_list(input_movie_files)) as series:
        if series.shape != cells.shape:
            (h, w), (rows, columns) = series.shape, cells.shape
            raise Unusable(
                f"the footprints in {cells.parts[0].path.name} have {columns} x {rows} px but the frames of "
                f"{series.parts[0].path.name} {w} x {h} px: apply the cell set to movies of its own field"
            )
        write_cell_set(
            output_cell_set_files,
            [footer_like(part) for part in series.parts],
            footprints,
            weighted_means(series, footprints, context.threads, context.progress),
            cells.names,
            cells.statuses,
            {"method": "applied", "type": cells.kind},
        )


def _cut(footprint: np.ndarray, threshold: float) -> np.ndarray:
    """A footprint without what is negative, not a number or below `threshold` of its maximum."""
    positive = np.maximum(np.nan_to_num(footprint, nan=0, posinf=0, neginf=0), 0)
    return np.where(positive >= threshold * positive.max(initial=0), positive, 0)
