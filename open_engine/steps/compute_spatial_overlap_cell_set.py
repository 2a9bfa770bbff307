"""Overlap of each pair of footprints of two cell sets, as a table. Definitions: overlap.py."""

from __future__ import annotations

from open_engine.context import StepContext
from open_engine.files.cellsets import read_cell_set, warn_of_unmatched
from open_engine.files.whole import write_table
from open_engine.overlap import overlaps


def compute_spatial_overlap_cell_set(
    input_cellset_file1: str,
    input_cellset_file2: str,
    output_csv_file: str,
    accepted_cells_only: bool = False,
    *,
    context: StepContext,
) -> None:
    """Write a table with a row for each cell of the first set and a column for each of the second, both by name.

    Rejected cells are left out, with `accepted_cells_only` undecided ones too. Raises Unusable if there are no cells,
    the fields differ in size, or one set is binary and the other analog.
    """
    first, second = (read_cell_set(path) for path in (input_cellset_file1, input_cellset_file2))
    first, second = (cells.chosen(cells.usable(accepted_cells_only)) for cells in (first, second))
    for cells in (first, second):
        warn_of_unmatched(cells, context.warn)
    _, scores = overlaps(first, second)
    rows = [[name, *map(float, row)] for name, row in zip(first.names, scores)]
    write_table(output_csv_file, [["", *second.names], *rows])
