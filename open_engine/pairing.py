"""Two cell sets side by side: their footprints on one field, tables of how alike cells are, maps of who is who."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from open_engine.alignment import cut_footprints
from open_engine.files.cellsets import CellSet, read_cell_set
from open_engine.files.whole import write_table
from open_engine.overlap import overlaps

Pair = tuple[CellSet, CellSet]
MAP_CUT = 0.3  # of a footprint's maximum, from which a pixel belongs to the cell on a map


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
    matches = decisions(scores, *thresholds)
    write_table(paths[0], [["", *second.names], *([name, *map(float, row)] for name, row in zip(first.names, scores))])
    rows = [(i, first.names[i], float(scores[i, j]), second.names[j], match) for i, (j, match) in enumerate(matches)]
    write_table(paths[1], [("", names[0], f"max_{measure}", names[1], "match"), *rows])
    return matches


def decisions(scores: np.ndarray, lower: float, upper: float) -> list[tuple[int, str]]:
    """For each row, the column of the greatest score, and "yes", "no" or "uncertain".

    Yes from `upper` on, if no other row has a greater score in that column; no up to `lower`; else uncertain.
    """
    decided = []
    for i, row in enumerate(scores):
        j = int(row.argmax())
        if row[j] <= lower:
            decided.append((j, "no"))
        else:
            decided.append((j, "yes" if row[j] >= upper and scores[:, j].argmax() == i else "uncertain"))
    return decided


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
