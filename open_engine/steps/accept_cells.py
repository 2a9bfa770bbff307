"""Accepts or rejects cells by their shape and their transients: a step of this project's own, which IDPS does not have.

The shape of a cell is that of `open_engine.cell_shape`.
"""

from __future__ import annotations

import numpy as np

from open_engine.cell_shape import doubts
from open_engine.cnmfe.gate import diameter_of_disc
from open_engine.context import StepContext
from open_engine.files.cellsets import (
    CellSet,
    edit_footer,
    idps_of,
    read_cell_set,
    scales_of,
    status_numbers,
    with_reasons,
)
from open_engine.metrics import read_events


def accept_cells(
    input_cell_set_files: str | list[str], input_event_set_files: str | list[str], *, context: StepContext
) -> None:
    """Accept the cells with a transient and the shape of a cell, reject the others; changes the cell sets in place.

    The cell diameter is the one that run_cnmfe was given, or else the median width of the footprints.
    """
    cells = read_cell_set(input_cell_set_files)
    events = read_events(input_event_set_files, cells)
    diameter = _diameter(cells)
    active = [i for i, its in enumerate(events) if len(its.samples)]
    reasons = ["no transient"] * cells.n_cells
    images = (np.nan_to_num(cells.images[i]) for i in active)
    for i, doubt in zip(active, doubts(images, _brightness(cells)[active], diameter)):
        reasons[i] = doubt
    if all(reasons):
        context.warn(f"none of {cells.n_cells} cells has a transient and the shape of a cell")
    statuses = status_numbers(["rejected" if reason else "accepted" for reason in reasons])
    for part in cells.parts:
        edit_footer(part.path, CellStatuses=statuses, **with_reasons(reasons))


def _brightness(cells: CellSet) -> np.ndarray:
    """The highest sample of each trace, in the units of the movie where they are known, (cells,)."""
    highest = np.nan_to_num(cells.traces).max(axis=1, initial=0)
    return highest * np.array(scales_of(cells.footer) or np.ones(cells.n_cells))


def _diameter(cells: CellSet) -> float:
    noted = idps_of(cells.footer).get("cnmfe")
    if isinstance(noted, dict) and isinstance(noted.get("cell_diameter"), (int, float)):
        return float(noted["cell_diameter"])
    widths = [diameter_of_disc(np.nan_to_num(image)) for image in cells.images]
    return float(np.median(widths)) if widths else 0.0
