"""A movie of what the cells do and nothing else: the sum over cells of footprint times trace.

    out(p, t) = sum_i A_i(p) c_i(t)

Accepted and undecided cells count, or the accepted ones alone; rejected ones never do. Samples that were not recorded
are not recorded in the movie either. The result is float32, in the unit of the traces times that of the footprints.
That the activity of cells is aggregated is public (isx.algo); how IDPS scales footprints before is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.files.cellsets import CellSet, Part, listed, read_cell_set
from open_engine.files.frames import Spacing, Timing
from recording import formats
from recording.errors import Unusable


def create_neural_activity_movie(
    input_cell_set_files: Sequence[str],
    output_neural_movie_files: Sequence[str],
    accepted_cells_only: bool = False,
    *,
    context: StepContext,
) -> None:
    """A movie of the cells alone: in each frame, the footprints times the values of their traces.

    input_cell_set_files, output_neural_movie_files : the parts of a series, in order of start.
    accepted_cells_only : leave out undecided cells as well as rejected ones.

    Raises Unusable if no cell is left.
    """
    cells = read_cell_set(input_cell_set_files)
    cells = cells.chosen(cells.usable(accepted_cells_only))
    if cells.n_cells == 0:
        raise Unusable(
            f"{cells.parts[0].path.name} has no {'accepted' if accepted_cells_only else 'accepted or undecided'} cell, "
            "so there is no activity to show"
        )
    unknown = [cells.names[i] for i in cells.without_values()]
    if unknown:
        context.warn(f"cells whose traces hold fewer than 3 numbers are dark in the movie: {listed(unknown)}")
    for i, (part, target) in enumerate(zip(cells.parts, output_neural_movie_files)):
        made = _activity(cells, part, context, frames.span_of(i, len(cells.parts)))
        timing, spacing = Timing.of(part.footer["timingInfo"]), Spacing.of(part.footer["spacingInfo"])
        extra = formats.extra_properties(part.footer)
        frames.write_movie(target, None, made, timing=timing, spacing=spacing, extra=extra)


def _activity(cells: CellSet, part: Part, context: StepContext, span: tuple[float, float]) -> Iterator[np.ndarray]:
    images = np.nan_to_num(cells.images).reshape(cells.n_cells, -1)
    traces = np.where(cells.valid, np.nan_to_num(cells.traces), 0)[:, part.start : part.stop]

    def work(start: int, stop: int) -> np.ndarray:
        return (traces[:, start:stop].T @ images).reshape(-1, *cells.shape)

    return frames.each_block(frames.cuts(part.stop - part.start, cells.shape), work, context, span)
