from __future__ import annotations

import isx
import numpy as np
import pytest

from open_engine import polygons
from open_engine.files.cellsets import read_cell_set
from open_engine.steps.apply_rois import apply_rois
from recording import formats
from recording.errors import Unusable
from samples import recordings

SQUARE = [[2, 3], [5, 3], [5, 6], [2, 6]]  # x, y


def shown(mask):
    return ["".join(".#"[int(value)] for value in row) for row in mask]


def test_the_border_of_a_polygon_belongs_to_it():
    assert polygons.mask(SQUARE, (10, 12)).sum() == 16
    assert shown(polygons.mask([[0, 0], [4, 0], [0, 4]], (5, 5))) == ["#####", "####.", "###..", "##...", "#...."]
    ring = [[0, 0], [4, 0], [4, 4], [3, 4], [3, 1], [1, 1], [1, 4], [0, 4]]
    assert shown(polygons.mask(ring, (5, 5))) == ["#####", "#####", "##.##", "##.##", "##.##"]


def test_points_lines_and_repeated_corners_are_regions_too():
    assert shown(polygons.mask([[1, 1]], (3, 3))) == ["...", ".#.", "..."]
    assert shown(polygons.mask([[0, 0], [2, 2]], (3, 3))) == ["#..", ".#.", "..#"]
    assert np.array_equal(polygons.mask([SQUARE[0], *SQUARE, SQUARE[0]], (10, 12)), polygons.mask(SQUARE, (10, 12)))


def test_what_lies_outside_the_field_is_cut_off():
    assert polygons.mask([[-5, -5], [2, -5], [2, 2], [-5, 2]], (6, 6)).sum() == 9
    assert polygons.mask([[8, 8], [9, 8], [9, 9]], (6, 6)).sum() == 0


def test_traces_are_means_over_the_region_in_all_parts(tmp_path, context):
    data = np.random.default_rng(0).normal(100, 10, (20, 10, 12)).astype(np.float32)
    movies = [recordings.movie_from(tmp_path / "a.isxd", data[:12], dropped=[3])]
    movies.append(recordings.movie_from(tmp_path / "b.isxd", data[12:]))
    outs = [str(tmp_path / "ca.isxd"), str(tmp_path / "cb.isxd")]
    rois = [SQUARE, [[8, 1], [10, 1], [9, 8]]]
    apply_rois([str(movie) for movie in movies], outs, rois, ["soma", "µ"], context=context)
    cells = read_cell_set(outs)
    assert cells.names == ("soma", "µ")
    assert cells.traces[0, cells.valid] == pytest.approx(data[:, 3:7, 2:6].mean(axis=(1, 2)), rel=1e-6)
    mask = polygons.mask(rois[1], (10, 12)).astype(bool)
    assert cells.traces[1, cells.valid] == pytest.approx(data[:, mask].mean(axis=1), rel=1e-6)
    assert np.flatnonzero(~cells.valid).tolist() == [3]
    assert np.array_equal(isx.CellSet.read(outs[1]).get_cell_image_data(1), mask)
    footer = formats.read_footer(outs[0])
    assert footer["isRoiSet"] and footer["extraProperties"]["idps"]["cellset"] == {"method": "manual", "type": "binary"}


def test_regions_without_names_are_numbered(tmp_path, context):
    movie = recordings.movie(tmp_path / "m.isxd", 5, 10, 12)
    apply_rois(str(movie), str(tmp_path / "c.isxd"), [SQUARE] * 11, context=context)
    assert read_cell_set(tmp_path / "c.isxd").names[:2] == ("C00", "C01")


def test_what_cannot_be_applied_is_refused(tmp_path, context):
    movie, out = recordings.movie(tmp_path / "m.isxd", 5, 10, 12), tmp_path / "c.isxd"
    message = r"roi 1, which starts at \(30, 3\), lies outside the field of 12 x 10 px"
    with pytest.raises(Unusable, match=message):
        apply_rois(str(movie), str(out), [SQUARE, [[30, 3], [35, 3], [35, 9]]], context=context)
    with pytest.raises(Unusable, match="cell_names has 1 names for 2 rois"):
        apply_rois(str(movie), str(out), [SQUARE, SQUARE], ["a"], context=context)
    assert not out.exists()


def test_points_in_a_polygon() -> None:
    x, y = np.meshgrid(np.arange(8), np.arange(6))
    inside = polygons.contains([[1, 1], [6, 1], [6, 4], [1, 4]], x + 0.5, y + 0.5)
    assert inside.sum() == 15
    assert inside[1:4, 1:6].all()
