"""Traces of regions that somebody drew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from open_engine import polygons
from open_engine.context import StepContext
from open_engine.files.cellsets import as_list, footer_like, write_cell_set
from open_engine.files.frames import open_series
from open_engine.weighted_means import weighted_means
from recording.errors import Unusable

NOTED = {"method": "manual", "type": "binary"}


def apply_rois(
    input_movie_files: str | list[str],
    output_cell_set_files: str | list[str],
    rois: Sequence[Sequence[Sequence[int]]],
    cell_names: Sequence[str] = (),
    *,
    context: StepContext,
) -> None:
    """Write a cell set for each movie, one cell a region: its mask (1 inside, else 0) and its mean in each frame.

    A region is a polygon of [x, y] in px; the pixels on its border belong to it. Parts outside the field are cut off.
    Cells are named C0, C1, ... unless `cell_names` has as many names. Raises Unusable if a region lies outside the
    field or the number of names differs.
    """
    if cell_names and len(cell_names) != len(rois):
        raise Unusable(f"cell_names has {len(cell_names)} names for {len(rois)} rois: give one for each, or none")
    with open_series(as_list(input_movie_files)) as series:
        masks = np.stack([polygons.mask(corners, series.shape) for corners in rois])
        for i, (mask, corners) in enumerate(zip(masks, rois)):
            if not mask.any():
                rows, columns = series.shape
                raise Unusable(
                    f"roi {i}, which starts at {tuple(corners[0])}, lies outside the field of {columns} x {rows} px: "
                    "correct its corners, which are [x, y]"
                )
        write_cell_set(
            output_cell_set_files,
            [footer_like(part) for part in series.parts],
            masks,
            weighted_means(series, masks, context.threads, context.progress),
            cell_names,
            noted=NOTED,
            isRoiSet=True,
        )
