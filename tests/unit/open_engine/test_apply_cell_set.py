from __future__ import annotations

import isx
import numpy as np
import pytest

from open_engine.files.cellsets import read_cell_set, write_cell_set
from open_engine.steps.apply_cell_set import apply_cell_set
from recording import formats
from recording.errors import Unusable
from samples import recordings


@pytest.fixture
def files(tmp_path):
    """A movie of noise, and three cells: one analog, one with negative lobes, one empty."""
    data = np.random.default_rng(0).normal(100, 10, (30, 10, 12)).astype(np.float32)
    movie = recordings.movie_from(tmp_path / "movie.isxd", data, dropped=[4])
    images = np.zeros((3, 10, 12), np.float32)
    images[0, 2:5, 3:6] = [[0.1, 0.5, 0.1], [0.5, 1, 0.5], [0.1, 0.5, 0.2]]
    images[1, 6:8, 6:9] = [[2, 1, -3], [0.5, 4, np.nan]]
    write_cell_set(
        tmp_path / "cells.isxd",
        [formats.read_footer(movie)],
        images,
        np.zeros((3, 31)),
        ["a", "b", "c"],
        ["accepted", "rejected", "undecided"],
        {"method": "cnmfe", "type": "analog", "units": "dF"},
    )
    return movie, tmp_path / "cells.isxd", data, images


@pytest.mark.parametrize("threshold", [0, 0.2, 0.5, 1])
def test_traces_are_means_weighted_with_the_cut_footprints(tmp_path, context, files, threshold):
    movie, cells, data, images = files
    out = tmp_path / "out.isxd"
    apply_cell_set(str(movie), str(cells), str(out), threshold, context=context)
    applied = read_cell_set(out)
    recorded = np.delete(applied.traces, 4, axis=1)
    for i in (0, 1):
        positive = np.maximum(np.nan_to_num(images[i]), 0).astype(np.float64)
        footprint = np.where(positive >= threshold * positive.max(), positive, 0)
        assert np.array_equal(applied.images[i], footprint)
        expected = (data * footprint).sum(axis=(1, 2)) / footprint.sum()
        assert recorded[i] == pytest.approx(expected, rel=1e-6)
    assert np.isnan(applied.traces[:, 4]).all()


def test_names_and_statuses_are_kept_and_an_empty_footprint_is_reported(tmp_path, context, warnings, files):
    movie, cells, _, _ = files
    out = tmp_path / "out.isxd"
    apply_cell_set([str(movie)], [str(cells)], [str(out)], 0.5, context=context)
    by_isx = isx.CellSet.read(str(out))
    assert [by_isx.get_cell_name(i) for i in range(3)] == ["a", "b", "c"]
    assert [by_isx.get_cell_status(i) for i in range(3)] == ["accepted", "rejected", "undecided"]
    assert np.isnan(by_isx.get_cell_trace_data(2)).all()
    assert warnings == ["1 cells have an empty footprint, so no trace: c"]
    noted = formats.read_footer(out)["extraProperties"]["idps"]["cellset"]
    assert noted == {"method": "applied", "type": "analog"}


def test_each_movie_of_a_series_gets_its_cell_set(tmp_path, context, files):
    movie, cells, data, _ = files
    other = recordings.movie_from(tmp_path / "other.isxd", data[:7] * 2)
    outs = [tmp_path / "one.isxd", tmp_path / "two.isxd"]
    apply_cell_set([str(movie), str(other)], str(cells), [str(out) for out in outs], 0, context=context)
    one, two = (read_cell_set(out) for out in outs)
    assert two.traces[:2, :4] == pytest.approx(2 * one.traces[:2, :4], rel=1e-6)
    assert two.traces.shape == (3, 7)


def test_a_field_of_another_size_is_refused(tmp_path, context, files):
    other = recordings.movie(tmp_path / "other.isxd", 5, 8, 12)
    message = r"footprints in cells\.isxd have 12 x 10 px but the frames of other\.isxd 12 x 8 px"
    with pytest.raises(Unusable, match=message):
        apply_cell_set(str(other), str(files[1]), str(tmp_path / "out.isxd"), 0, context=context)
    assert not (tmp_path / "out.isxd").exists()


def test_no_cells_give_a_cell_set_without_cells(tmp_path, context, files):
    movie = files[0]
    write_cell_set(tmp_path / "none.isxd", [formats.read_footer(movie)], np.zeros((0, 10, 12)), np.zeros((0, 31)))
    apply_cell_set(str(movie), str(tmp_path / "none.isxd"), str(tmp_path / "out.isxd"), 0, context=context)
    assert isx.CellSet.read(str(tmp_path / "out.isxd")).num_cells == 0
