"""create_neural_activity_movie against its definition."""

from __future__ import annotations

from pathlib import Path

import isx
import numpy as np
import pytest

from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.steps.create_neural_activity_movie import create_neural_activity_movie
from recording.errors import Unusable
from samples import recordings


@pytest.mark.parametrize("accepted_only, statuses", [(False, ("accepted", "undecided")), (True, ("accepted",))])
def test_it_is_the_sum_of_footprints_times_traces(
    tmp_path: Path, context: StepContext, accepted_only: bool, statuses: tuple[str, ...]
) -> None:
    path, target = recordings.cell_set(tmp_path / "a.isxd", n_cells=5), tmp_path / "b.isxd"
    create_neural_activity_movie([str(path)], [str(target)], accepted_only, context=context)
    cells = isx.CellSet.read(str(path))
    expected = np.zeros((200, 48, 64))
    for i in range(5):
        if cells.get_cell_status(i) in statuses:
            trace = np.nan_to_num(cells.get_cell_trace_data(i))
            expected += trace[:, np.newaxis, np.newaxis] * cells.get_cell_image_data(i)
    with frames.open_movie(target) as movie:
        made = movie.read(0, 200)
        assert movie.timing.dropped == (10,)
        np.testing.assert_allclose(made[movie.valid], expected[movie.valid], atol=1e-4)
    assert isx.Movie.read(str(target)).timing == cells.timing


def test_without_cells_it_is_refused(tmp_path: Path, context: StepContext) -> None:
    path = recordings.cell_set(tmp_path / "a.isxd", n_cells=1)
    cells = isx.CellSet.read(str(path), read_only=False)
    cells.set_cell_status(0, "rejected")
    del cells
    with pytest.raises(Unusable, match=r"a\.isxd has no accepted cell"):
        create_neural_activity_movie([str(path)], [str(tmp_path / "b.isxd")], True, context=context)
