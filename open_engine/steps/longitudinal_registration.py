"""The same cells in several sessions.

The first session is the reference. Each other one is aligned to it by an affine transform (alignment.py); all are
resampled in the reference's field (bilinear; to the bit where a session needs no more than whole pixels) and cropped
to a rectangle that all of them reach.

Cells are matched session by session: the normalised cross-correlation of a cell with a known one is the highest with
any of its footprints so far, and the assignment with the greatest sum is taken among those of at least
`min_correlation`. Cells without a match become known ones of their own. Footprints are cut below 0.2 of their maximum
before they are compared, as those of PCA-ICA have a faint background. IDPS also aligns, correlates and asks for 0.5;
how it chooses the reference and in which order it matches is not public.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from open_engine.alignment import IDENTITY, align, cut_footprints, reached, rectangle_within, warped
from open_engine.context import StepContext
from open_engine.files.cellsets import CellSet, as_list, read_cell_set, warn_of_unmatched, write_like
from open_engine.files.frames import Spacing, chunks, open_movie, write_movie
from open_engine.files.whole import write_table
from open_engine.same_cells import Match, match_cells
from recording.errors import Unusable

Rectangle = tuple[int, int, int, int]  # x, y, width, height


def longitudinal_registration(
    input_cell_set_files: list[str],
    output_cell_set_files: list[str],
    input_movie_files: Sequence[str] = (),
    output_movie_files: Sequence[str] = (),
    csv_file: str = "",
    min_correlation: float = 0.5,
    accepted_cells_only: bool = False,
    transform_csv_file: str = "",
    crop_csv_file: str = "",
    *,
    context: StepContext,
) -> None:
    """Write each session's cell set, and movie if given, in the field that all share, and who is who.

    Rejected cells, or with `accepted_cells_only` all that are not accepted, are resampled like the others but neither
    aligned nor matched, so that a cell has the same index in input, output and tables.

    - `csv_file`: global_cell_index, local_cellset_index, local_cell_index, NCC, one row a matched or single cell.
    - `transform_csv_file`: one row a session, the transform from the reference to it, row-wise: a00, a01, t0, a10,
    a11, t1.
    - `crop_csv_file`: x, y, width, height of what is kept of the reference's field.

    The cell sets also state the matches in their footers, where IDPS keeps them. Raises Unusable if the sessions have
    no field in common, there is only one, or a movie is of another size than its cell set.
    """
    if len(as_list(input_cell_set_files)) < 2:
        raise Unusable("there is only one cell set: give those of two sessions or more")
    sessions = [read_cell_set(path) for path in as_list(input_cell_set_files)]
    movies = as_list(input_movie_files)
    _check_movies(movies, sessions)
    used = [session.usable(accepted_cells_only) for session in sessions]
    for session, cells in zip(sessions, used):
        if not cells:
            context.warn(f"{session.parts[0].path.name} has no cells to match")
        warn_of_unmatched(session.chosen(cells), context.warn)
    transforms = _transforms(sessions, used)
    crop = _shared_field(sessions, transforms)
    context.progress(0.3)
    registered = [_registered(session, transform, crop) for session, transform in zip(sessions, transforms)]
    matches = match_cells([images[cells] for images, cells in zip(registered, used)], used, min_correlation)
    context.progress(0.6)
    _write_sets(as_list(output_cell_set_files), sessions, registered, matches, crop)
    for number, (source, target) in enumerate(zip(movies, as_list(output_movie_files))):
        _write_movie(source, target, transforms[number], crop, sessions[0])
        context.progress(0.6 + 0.4 * (number + 1) / len(movies))
    if csv_file:
        rows = [(match.known, match.session, match.cell, match.correlation) for match in matches]
        write_table(csv_file, [("global_cell_index", "local_cellset_index", "local_cell_index", "NCC"), *rows])
    if transform_csv_file:
        write_table(transform_csv_file, [[float(number) for number in transform.ravel()] for transform in transforms])
    if crop_csv_file:
        write_table(crop_csv_file, [crop])


def _transforms(sessions: Sequence[CellSet], used: Sequence[Sequence[int]]) -> list[np.ndarray]:
    reference, *others = (cut_footprints(session.images[cells]) for session, cells in zip(sessions, used))
    return [IDENTITY.copy(), *(align(reference, other) for other in others)]


def _shared_field(sessions: Sequence[CellSet], transforms: Sequence[np.ndarray]) -> Rectangle:
    shape = sessions[0].shape
    everywhere = np.ones(shape, bool)
    for session, transform in zip(sessions, transforms):
        everywhere &= reached(transform, shape, session.shape)
        crop = rectangle_within(everywhere)
        if crop is None:
            raise Unusable(
                f"the field of {session.parts[0].path.name} has nothing in common with that of the sessions before it: "
                "leave it out, or check that it is of the same animal and place"
            )
    return crop


def _registered(session: CellSet, transform: np.ndarray, crop: Rectangle) -> np.ndarray:
    x, y, width, height = crop
    images = np.empty((session.n_cells, height, width), np.float32)
    for i, image in enumerate(session.images):
        images[i] = warped(np.asarray(image), transform, (height, width), (x, y))
    return images


def _write_sets(
    targets: Sequence[Path],
    sessions: Sequence[CellSet],
    registered: Sequence[np.ndarray],
    matches: Sequence[Match],
    crop: Rectangle,
) -> None:
    spacing = Spacing.of(sessions[0].footer["spacingInfo"]).cropped(*crop).as_json()
    n_known = 1 + max((match.known for match in matches), default=-1)
    for number, (target, session, images) in enumerate(zip(targets, sessions, registered)):
        write_like(target, session, images=images, spacing=spacing, **_stated(number, session, matches, n_known))


def _stated(number: int, session: CellSet, matches: Sequence[Match], n_known: int) -> dict[str, Any]:
    """Entries of a footer: of each cell its known one (-1 if it took no part), and the correlation."""
    who, scores = [-1] * session.n_cells, [0.0] * session.n_cells
    for match in matches:
        if match.session == number:
            who[match.cell], scores[match.cell] = match.known, match.correlation
    return {"SizeGlobalCS": n_known, "Matches": who, "PairScores": scores}


def _check_movies(movies: Sequence[Path], sessions: Sequence[CellSet]) -> None:
    if movies and len(movies) != len(sessions):
        raise Unusable(f"{len(movies)} movies for {len(sessions)} cell sets: give one for each, or none")
    for path, session in zip(movies, sessions):
        with open_movie(path) as movie:
            if movie.shape != session.shape:
                (h, w), (rows, columns) = movie.shape, session.shape
                raise Unusable(
                    f"the frames of {path.name} have {w} x {h} px but the footprints in {session.parts[0].path.name} "
                    f"{columns} x {rows} px: give the movie that the cells come from"
                )


def _write_movie(source: Path, target: Path, transform: np.ndarray, crop: Rectangle, reference: CellSet) -> None:
    x, y, width, height = crop
    spacing = Spacing.of(reference.footer["spacingInfo"]).cropped(*crop)
    with open_movie(source) as movie:

        def frames() -> Iterator[np.ndarray]:
            for start, stop in chunks(movie, 16):
                block = movie.read(start, stop)
                yield np.stack([warped(frame, transform, (height, width), (x, y)) for frame in block])

        write_movie(target, movie, frames(), movie.dtype, spacing=spacing)
