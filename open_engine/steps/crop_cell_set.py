"""A part of the field of a cell set."""

from __future__ import annotations

from collections.abc import Sequence

from open_engine.context import StepContext
from open_engine.files.cellsets import read_cell_set, write_like
from open_engine.files.frames import Spacing
from recording.errors import Unusable


def crop_cell_set(
    input_cellset_file: str, output_cellset_file: str, crop: Sequence[int], *, context: StepContext
) -> None:
    """Write a cell set without `crop` = [left, right, top, bottom] px at the sides of each footprint.

    Traces, names and statuses stay, also of cells that lie outside now. Raises Unusable if nothing would be left.
    """
    cells = read_cell_set(input_cellset_file)
    left, right, top, bottom = crop
    rows, columns = cells.shape
    height, width = rows - top - bottom, columns - left - right
    if width < 1 or height < 1:
        raise Unusable(
            f"crop = {list(crop)} (left, right, top, bottom) leaves nothing of the {columns} x {rows} px of "
            f"{cells.parts[0].path.name}: make it smaller"
        )
    images = cells.images[:, top : top + height, left : left + width]
    spacing = Spacing.of(cells.footer["spacingInfo"]).cropped(left, top, width, height)
    write_like(output_cellset_file, cells, images=images, spacing=spacing.as_json())
    lost = sum(not image.any() for image in images) - sum(not image.any() for image in cells.images)
    if lost:
        context.warn(f"{lost} of {cells.n_cells} footprints lie wholly in what was cropped")
