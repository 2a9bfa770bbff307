"""Outlines of cells as JSON. Definition: outlines.py."""

from __future__ import annotations

import json

from open_engine.context import StepContext
from open_engine.files.cellsets import listed, read_cell_set
from open_engine.files.whole import write_text
from open_engine.outlines import outlines


def export_cell_contours(
    input_cell_set_file: str,
    output_json_file: str,
    threshold: float = 0.0,
    rectify_first: bool = True,
    *,
    context: StepContext,
) -> None:
    """Write for each cell, by its name, a list of outlines, one a component, each a list of [x, y] in px.

    A component is where the footprint exceeds `threshold` of its maximum; negative values count as 0 with
    `rectify_first`. A cell whose footprint is empty has an empty list.
    """
    cells = read_cell_set(input_cell_set_file)
    if not cells.n_cells:
        context.warn("the cell set has no cells, so there are no contours")
    contours = {
        name: [outline.points.tolist() for outline in outlines(image, threshold, rectify_first)]
        for name, image in zip(cells.names, cells.images)
    }
    empty = [name for name, lines in contours.items() if not lines]
    if empty:
        context.warn(f"cells without a contour, because their footprints are empty: {listed(empty)}")
    write_text(output_json_file, json.dumps(contours))
