"""Which cells of two cell sets of one field are the same, by the overlap of their footprints (overlap.py)."""

from __future__ import annotations

from pathlib import Path

from open_engine.context import StepContext
from open_engine.files.cellsets import warn_of_unmatched
from open_engine.pairing import read_pair, write_maps, write_tables


def register_cellsets(
    input_cellset_file1: str,
    input_cellset_file2: str,
    output_spatial_overlap_csv_file: str,
    output_registration_matrix_csv_file: str,
    output_directory: str = ".",
    lower_threshold: float = 0.3,
    upper_threshold: float = 0.7,
    accepted_cells_only: bool = False,
    primary_cellset_name: str = "primary",
    secondary_cellset_name: str = "secondary",
    primary_color: int = 0x00FF00,
    secondary_color: int = 0xFF0000,
    *,
    context: StepContext,
) -> None:
    """Write the overlap of each pair, a table of matches, and maps of the cells, to `output_directory`.

    The table has for each cell of the first set the one of the second that overlaps it most, by how much (`max_ncc` or
    `max_jaccard_index`), and whether they match (`decisions`). Rejected cells are left out, with `accepted_cells_only`
    undecided ones too. Maps: `<stem>-cellmap.tiff` of each set, `<first stem>-cellmap-overlay.tiff` in both colours.

    Raises Unusable if there are no cells, the fields differ in size, or one set is binary and the other analog.
    """
    paths = [Path(input_cellset_file1), Path(input_cellset_file2)]
    pair = read_pair(paths, accepted_cells_only)
    for cells in pair:
        warn_of_unmatched(cells, context.warn)
    tables = (output_spatial_overlap_csv_file, output_registration_matrix_csv_file)
    write_tables(tables, pair, (primary_cellset_name, secondary_cellset_name), (lower_threshold, upper_threshold))
    write_maps(Path(output_directory), pair, [path.stem for path in paths], (primary_color, secondary_color), "tiff")
