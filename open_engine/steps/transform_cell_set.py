"""Footprints in the field as it was before motion correction cropped it.

IDPS notes that field in the extra properties as `idps.pre_mc`: width and height in px, and the top left corner in µm on
the sensor, cut to whole numbers. The footprints are padded to it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from open_engine.context import StepContext
from open_engine.files.cellsets import CellSet, read_cell_set, write_like
from open_engine.files.frames import Spacing
from recording.errors import Unusable


def transform_cell_set(
    input_cellset_file: str, output_cellset_file: str, pad_value: float = math.nan, *, context: StepContext
) -> None:
    """Write a cell set whose footprints are padded with `pad_value` to the size before motion correction.

    Traces, names and statuses stay. Footprints that have that size already (motion correction that padded) are copied.
    Raises Unusable if the cell set does not state the size, or states one that does not hold its field.
    """
    cells = read_cell_set(input_cellset_file)
    left, top, width, height = _place(cells)
    rows, columns = cells.shape
    right, bottom = width - columns - left, height - rows - top
    if min(left, top, right, bottom) < 0:
        raise Unusable(
            f"{cells.parts[0].path.name} has a field of {columns} x {rows} px that does not lie in the field of "
            f"{width} x {height} px before motion correction that it states, so it cannot be padded: it was resampled"
        )
    margins = ((top, bottom), (left, right))
    images = (np.pad(image, margins, constant_values=np.float32(pad_value)) for image in cells.images)
    spacing = Spacing.of(cells.footer["spacingInfo"]).cropped(-left, -top, width, height)
    write_like(output_cellset_file, cells, images=images, spacing=spacing.as_json())


def _place(cells: CellSet) -> tuple[int, int, int, int]:
    """Columns and rows to add at the left and at the top, and the size then."""
    stated = _stated(cells)
    width, height = stated["width"], stated["height"]
    if cells.shape == (height, width):
        return 0, 0, width, height
    spacing = Spacing.of(cells.footer["spacingInfo"])
    # The stated corner lacks up to 1 µm, which is less than half a pixel of any Inscopix microscope.
    left, top = (
        round((float(corner) - stated["topLeft"][axis]) / float(pixel))
        for axis, corner, pixel in zip("xy", spacing.top_left, spacing.pixel)
    )
    return left, top, width, height


def _stated(cells: CellSet) -> dict[str, Any]:
    try:
        stated = cells.footer["extraProperties"]["idps"]["pre_mc"]
        int(stated["width"]), int(stated["height"]), float(stated["topLeft"]["x"]), float(stated["topLeft"]["y"])
    except (KeyError, TypeError, ValueError):
        raise Unusable(
            f"{cells.parts[0].path.name} does not state the field before motion correction (idps.pre_mc): "
            "give a cell set that comes from a motion-corrected movie"
        ) from None
    return stated
