"""Traces of regions that somebody drew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

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
        masks = np.stack([polygon(corners, series.shape) for corners in rois])
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


def polygon(corners: Sequence[Sequence[int]], shape: tuple[int, int]) -> np.ndarray:
    """1 where the pixel's centre is inside a polygon or its border passes through the pixel, else 0.

    Float32, of this shape (rows, columns). Where the border crosses itself, the even-odd rule decides.
    """
    mask = np.zeros(shape, np.float32)
    x, y = np.array(corners).T
    left, top = max(x.min(), 0), max(y.min(), 0)
    right, bottom = min(x.max(), shape[1] - 1), min(y.max(), shape[0] - 1)
    if left > right or top > bottom:
        return mask
    row, column = np.mgrid[top : bottom + 1, left : right + 1]
    inside = np.zeros(row.shape, bool)
    for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1)):
        side = (x1 - x0) * (row - y0) - (y1 - y0) * (column - x0)  # of the edge, on which the pixel lies
        inside ^= ((y0 <= row) & (row < y1) & (side < 0)) | ((y1 <= row) & (row < y0) & (side > 0))
    border = Image.new("1", (inside.shape[1], inside.shape[0]))
    closed = np.column_stack([np.append(x, x[0]) - left, np.append(y, y[0]) - top])
    ImageDraw.Draw(border).line([tuple(each) for each in closed.tolist()], fill=1)
    mask[top : bottom + 1, left : right + 1] = inside | np.asarray(border)
    return mask
