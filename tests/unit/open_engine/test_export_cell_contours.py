from __future__ import annotations

import json

import numpy as np
import pytest

from open_engine.files.cellsets import write_cell_set
from open_engine.steps.export_cell_contours import export_cell_contours
from recording import formats
from samples import recordings


@pytest.fixture
def cells(tmp_path):
    images = np.zeros((3, 6, 8), np.float32)
    images[0, 1:3, 1:4] = 1
    images[0, 2, 2] = 0.4
    images[1, 0, 0] = images[1, 5, 7] = 2
    images[2] = -1
    movie = recordings.movie(tmp_path / "m.isxd", 5, 6, 8)
    write_cell_set(tmp_path / "c.isxd", [formats.read_footer(movie)], images, np.zeros((3, 5)), ["a", "b", "c"])
    return str(tmp_path / "c.isxd")


def test_outlines_are_lists_of_x_and_y_by_cell_and_component(tmp_path, context, cells):
    export_cell_contours(cells, str(tmp_path / "out.json"), context=context)
    contours = json.loads((tmp_path / "out.json").read_text())
    assert list(contours) == ["a", "b", "c"]
    assert sorted(contours["a"][0]) == [[1, 1], [1, 2], [2, 1], [2, 2], [3, 1], [3, 2]]
    assert contours["b"] == [[[0, 0]], [[7, 5]]]
    assert contours["c"] == []


def test_the_threshold_is_a_fraction_of_the_maximum(tmp_path, context, cells):
    export_cell_contours(cells, str(tmp_path / "out.json"), threshold=0.5, rectify_first=False, context=context)
    (outline,) = json.loads((tmp_path / "out.json").read_text())["a"]
    assert [2, 2] not in outline


def test_no_cells_give_no_contours(tmp_path, context, warnings):
    movie = recordings.movie(tmp_path / "m.isxd", 5, 6, 8)
    write_cell_set(tmp_path / "c.isxd", [formats.read_footer(movie)], np.zeros((0, 6, 8)), np.zeros((0, 5)))
    export_cell_contours(str(tmp_path / "c.isxd"), str(tmp_path / "out.json"), context=context)
    assert json.loads((tmp_path / "out.json").read_text()) == {} and "no cells" in warnings[0]
