"""Which cells of one colour are also there in the other: register_cellsets.py for cell sets of two colours.

Like IDPS, it first brings both sets to one form: where the fields differ in size, each one that motion correction
cropped is padded to its former field (suffix -REG); where one set is binary, the other is binarized (-BIN), each
footprint at half its maximum. IDPS's threshold for that is not public.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from open_engine.context import StepContext
from open_engine.files.cellsets import idps_of, read_cell_set, warn_of_unmatched, write_like
from open_engine.pairing import read_pair, write_maps, write_tables
from open_engine.steps.transform_cell_set import transform_cell_set

CUT = 0.5  # of a footprint's maximum
COLOURS = (0x00FF00, 0xFF00FF)  # as isx.overlay_cellmaps draws them


def multicolor_registration(
    input_cellset_file1: str,
    input_cellset_file2: str,
    output_spatial_overlap_csv_file: str,
    output_registration_matrix_csv_file: str,
    output_directory: str = ".",
    lower_threshold: float = 0.2,
    upper_threshold: float = 0.5,
    accepted_cells_only: bool = False,
    save_matched_cellset: bool = True,
    save_unmatched_cellset: bool = True,
    save_uncertain_cellset: bool = True,
    image_format: str = "tiff",
    *,
    context: StepContext,
) -> None:
    """Write the overlap of each pair, a table of matches, maps, and the first set's cells by how they were decided.

    Tables as of `register_cellsets`. To `output_directory` go the sets as they were compared, if they were changed,
    maps in `image_format`, and `<stem>-cellset-matched.isxd`, `-cellset-non-matched.isxd` and `-cellset-
    uncertain.isxd`, those that have cells. Raises Unusable as `register_cellsets` does, before anything is written to
    the tables.
    """
    folder = Path(output_directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [Path(input_cellset_file1), Path(input_cellset_file2)]
    if len({read_cell_set(path).shape for path in paths}) > 1:
        paths = [_padded(path, folder, context) if _was_cropped(path) else path for path in paths]
    kinds = [read_cell_set(path).kind for path in paths]
    if kinds[0] != kinds[1]:
        paths = [path if kind == "binary" else _binarized(path, folder) for path, kind in zip(paths, kinds)]
    pair = read_pair(paths, accepted_cells_only)
    for cells in pair:
        warn_of_unmatched(cells, context.warn)
    tables = (output_spatial_overlap_csv_file, output_registration_matrix_csv_file)
    matches = write_tables(tables, pair, ("primary", "secondary"), (lower_threshold, upper_threshold))
    write_maps(folder, pair, [path.stem for path in paths], COLOURS, image_format)
    wanted = {
        "matched": ("yes", save_matched_cellset),
        "non-matched": ("no", save_unmatched_cellset),
        "uncertain": ("uncertain", save_uncertain_cellset),
    }
    for name, (decision, save) in wanted.items():
        cells = [i for i, (_, match) in enumerate(matches) if match == decision]
        if save and cells:
            write_like(folder / f"{paths[0].stem}-cellset-{name}.isxd", pair[0].chosen(cells))


def _was_cropped(path: Path) -> bool:
    return "pre_mc" in idps_of(read_cell_set(path).footer)


def _padded(path: Path, folder: Path, context: StepContext) -> Path:
    target = folder / f"{path.stem}-REG.isxd"
    transform_cell_set(str(path), str(target), 0, context=context)
    return target


def _binarized(path: Path, folder: Path) -> Path:
    cells = read_cell_set(path)
    binary = np.empty(cells.images.shape, np.float32)
    for image, footprint in zip(cells.images, binary):
        peak = np.nanmax(image)
        footprint[:] = (image > CUT * peak) & (peak > 0)
    target = folder / f"{path.stem}-BIN.isxd"
    write_like(target, cells, images=binary, noted={"type": "binary"})
    return target
