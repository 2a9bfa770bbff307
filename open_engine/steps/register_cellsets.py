"""Which cells of two cell sets of one field are the same, by the overlap of their footprints (overlap.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from open_engine.alignment import cut_footprints
from open_engine.context import StepContext
from open_engine.files.cellsets import CellSet, read_cell_set, warn_of_unmatched
from open_engine.overlap import overlaps, write_table

Pair = tuple[CellSet, CellSet]
MAP_CUT = 0.3  # of a footprint's maximum, from which a pixel belongs to the cell on a map


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


def read_pair(paths: Sequence[Path], accepted_only: bool) -> Pair:
    """Two cell sets, without cells that are rejected or, with `accepted_only`, undecided."""
    first, second = (cells.chosen(cells.usable(accepted_only)) for cells in map(read_cell_set, paths))
    return first, second


def write_tables(
    paths: tuple[str, str], pair: Pair, names: tuple[str, str], thresholds: tuple[float, float]
) -> list[tuple[int, str]]:
    """Write the overlap of each pair of cells and the matches; returns the decisions. Raises Unusable."""
    first, second = pair
    measure, scores = overlaps(first, second)
    found = decisions(scores, *thresholds)
    write_table(paths[0], [["", *second.names], *([name, *map(float, row)] for name, row in zip(first.names, scores))])
    rows = [(i, first.names[i], float(scores[i, j]), second.names[j], match) for i, (j, match) in enumerate(found)]
    write_table(paths[1], [("", names[0], f"max_{measure}", names[1], "match"), *rows])
    return found


def decisions(scores: np.ndarray, lower: float, upper: float) -> list[tuple[int, str]]:
    """Of each row the column of the greatest score, and "yes", "no" or "uncertain".

    Yes from `upper` on, if no other row has a greater score in that column; no up to `lower`; else uncertain.
    """
    found = []
    for i, row in enumerate(scores):
        j = int(row.argmax())
        if row[j] <= lower:
            found.append((j, "no"))
        else:
            found.append((j, "yes" if row[j] >= upper and scores[:, j].argmax() == i else "uncertain"))
    return found


def write_maps(folder: Path, pair: Pair, stems: Sequence[str], colours: tuple[int, int], extension: str) -> None:
    """Where the cells lie: white on black for each set, and both in their colours, which add up where they overlap."""
    folder.mkdir(parents=True, exist_ok=True)
    masks = [(cut_footprints(cells.images) >= MAP_CUT).any(axis=0) for cells in pair]
    for mask, stem in zip(masks, stems):
        Image.fromarray((255 * mask).astype(np.uint8)).save(folder / f"{stem}-cellmap.{extension}")
    shades = [np.array([colour >> 16 & 255, colour >> 8 & 255, colour & 255]) for colour in colours]
    layers = [mask[..., np.newaxis] * shade for mask, shade in zip(masks, shades)]
    overlay = np.maximum(*layers).astype(np.uint8)
    Image.fromarray(overlay).save(folder / f"{stems[0]}-cellmap-overlay.{extension}")
