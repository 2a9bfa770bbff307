from __future__ import annotations

import isx
import numpy as np
import pytest

from open_engine.files import cellsets
from recording import formats
from recording.errors import Unusable
from samples import recordings


def test_what_isx_wrote_is_read(tmp_path):
    path = recordings.cell_set(tmp_path / "cells.isxd", n_cells=4)
    cells = cellsets.read_cell_set(str(path))
    by_isx = isx.CellSet.read(str(path))
    assert cells.names == ("C0", "C1", "C2", "C3")
    assert cells.statuses == ("accepted", "undecided", "rejected", "accepted")
    assert cells.period_s == pytest.approx(0.05)
    assert np.flatnonzero(~cells.valid).tolist() == [10]
    for i in range(4):
        assert np.array_equal(cells.images[i], by_isx.get_cell_image_data(i))
        assert np.array_equal(cells.traces[i], by_isx.get_cell_trace_data(i), equal_nan=True)


def test_what_is_written_opens_in_isx_with_timing_spacing_and_acquisition_data(tmp_path):
    movie = recordings.movie(tmp_path / "movie.isxd", n=12, rows=6, columns=8, dropped=[2], cropped=[(4, 5)], blank=[7])
    footer = formats.read_footer(movie)
    footer["extraProperties"] = {"name": "session 7", "idps": {"mc_padding": False, "pre_mc": {"width": 8}}}
    rng = np.random.default_rng(0)
    images, traces = rng.normal(size=(3, 6, 8)).astype("f4"), rng.normal(size=(3, 12)).astype("f4")
    target = tmp_path / "cells.isxd"
    noted = {"method": "pca-ica", "type": "analog", "units": "dF over F"}
    cellsets.write_cell_set(target, [footer], images, traces, ["a", "b", "µ"], ["accepted"] * 3, noted)

    by_isx, movie_by_isx = isx.CellSet.read(str(target)), isx.Movie.read(str(movie))
    assert by_isx.num_cells == 3
    assert by_isx.timing == movie_by_isx.timing
    assert by_isx.timing.dropped == [2] and by_isx.timing.cropped == [(4, 5)] and by_isx.timing.blank == [7]
    assert by_isx.spacing == movie_by_isx.spacing
    assert [by_isx.get_cell_name(i) for i in range(3)] == ["a", "b", "µ"]
    assert {by_isx.get_cell_status(i) for i in range(3)} == {"accepted"}
    assert by_isx.get_acquisition_info()["Session Name"] == "session 7"
    assert by_isx.get_acquisition_info()["Trace Units"] == "dF over F"
    valid = by_isx.timing.get_valid_samples_mask()
    for i in range(3):
        assert np.array_equal(by_isx.get_cell_image_data(i), images[i])
        assert np.array_equal(by_isx.get_cell_trace_data(i)[valid], traces[i][valid])
        assert np.isnan(by_isx.get_cell_trace_data(i)[~valid]).all()
    extra = formats.read_footer(target)["extraProperties"]
    assert extra["idps"] == {"mc_padding": False, "pre_mc": {"width": 8}, "cellset": noted}
    assert formats.check(target).names == ("a", "b", "µ")


def test_isx_can_edit_what_is_written(tmp_path):
    movie = recordings.movie(tmp_path / "movie.isxd", n=5, rows=6, columns=8)
    target = tmp_path / "cells.isxd"
    cellsets.write_cell_set(target, [formats.read_footer(movie)], np.ones((2, 6, 8), "f4"), np.ones((2, 5), "f4"))
    opened = isx.CellSet.read(str(target), read_only=False)
    opened.set_cell_status(1, "rejected")
    del opened
    cells = cellsets.read_cell_set(target)
    assert cells.statuses == ("undecided", "rejected") and (cells.images == 1).all()


def test_a_series_is_one_set_of_cells(tmp_path):
    movies = [
        recordings.movie(tmp_path / f"m{k}.isxd", n=n, rows=6, columns=8, start_ms=recordings.START_MS + 10_000 * k)
        for k, n in enumerate((5, 7))
    ]
    like = [formats.read_footer(movie) for movie in movies]
    traces = np.arange(24, dtype="f4").reshape(2, 12)
    files = [tmp_path / "c0.isxd", tmp_path / "c1.isxd"]
    cellsets.write_cell_set(files, like, np.ones((2, 6, 8), "f4"), traces)
    assert np.array_equal(isx.CellSet.read(str(files[1])).get_cell_trace_data(1), traces[1, 5:])
    cells = cellsets.read_cell_set(files)
    assert np.array_equal(cells.traces, traces)
    assert [(part.start, part.stop) for part in cells.parts] == [(0, 5), (5, 12)]


def test_parts_that_do_not_belong_together_are_refused(tmp_path):
    files = [recordings.cell_set(tmp_path / f"c{n}.isxd", n_cells=n) for n in (2, 3)]
    with pytest.raises(Unusable, match=r"c3\.isxd does not have the cells of c2\.isxd"):
        cellsets.read_cell_set(files)


def test_what_is_no_cell_set_is_refused(tmp_path):
    movie = recordings.movie(tmp_path / "movie.isxd")
    with pytest.raises(Unusable, match=r"movie\.isxd is not a cell set but holds data of kind movie"):
        cellsets.read_cell_set(movie)
    with pytest.raises(Unusable, match=r"none\.isxd cannot be used: cannot be opened"):
        cellsets.read_cell_set(tmp_path / "none.isxd")


def test_a_set_without_cells_can_be_written_and_read(tmp_path):
    movie = recordings.movie(tmp_path / "movie.isxd", n=5, rows=6, columns=8)
    target = tmp_path / "cells.isxd"
    cellsets.write_cell_set(target, [formats.read_footer(movie)], np.zeros((0, 6, 8)), np.zeros((0, 5)))
    assert isx.CellSet.read(str(target)).num_cells == 0
    cells = cellsets.read_cell_set(target)
    assert (cells.n_cells, cells.shape, cells.traces.shape) == (0, (6, 8), (0, 5))


def test_nothing_is_left_of_a_write_that_fails(tmp_path):
    movie = recordings.movie(tmp_path / "movie.isxd", n=5, rows=6, columns=8)
    with pytest.raises(ValueError, match="1 footprints for 2 names"):
        cellsets.write_cell_set(
            tmp_path / "cells.isxd", [formats.read_footer(movie)], np.ones((1, 6, 8)), np.ones((2, 5), "f4")
        )
    assert [path.name for path in tmp_path.iterdir()] == ["movie.isxd"]


def test_a_footer_is_edited_in_place(tmp_path):
    path = recordings.cell_set(tmp_path / "cells.isxd", n_cells=2)
    before = cellsets.read_cell_set(path)
    images = np.array(before.images)
    cellsets.edit_footer(path, CellStatuses=[2, 0])
    after = cellsets.read_cell_set(path)
    assert after.statuses == ("rejected", "accepted")
    assert np.array_equal(after.images, images)
    assert np.array_equal(after.traces, before.traces, equal_nan=True)
    assert isx.CellSet.read(str(path)).get_cell_status(0) == "rejected"


def test_names_are_padded_to_one_length():
    assert cellsets.default_names(1) == ["C0"]
    assert cellsets.default_names(10)[9] == "C9"
    assert cellsets.default_names(11)[:2] == ["C00", "C01"]
