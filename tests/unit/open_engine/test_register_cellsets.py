"""register_cellsets and multicolor_registration."""

from __future__ import annotations

import csv

import isx
import numpy as np
import pytest
from PIL import Image

from open_engine.files.cellsets import read_cell_set, write_cell_set
from open_engine.pairing import decisions
from open_engine.steps.multicolor_registration import multicolor_registration
from open_engine.steps.register_cellsets import register_cellsets
from recording import formats
from recording.errors import Unusable
from samples import recordings

SHAPE = (30, 40)


def bars(*columns, rows=SHAPE[0], width=SHAPE[1]):
    """Footprints of one row of 4 px that begin at these columns."""
    images = np.zeros((len(columns), rows, width), np.float32)
    for image, column in zip(images, columns):
        image[10, column : column + 4] = 1
    return images


def written(folder, name, images, noted=None, statuses=(), **extra):
    movie = recordings.movie(folder / f"{name}-movie.isxd", 5, *images.shape[1:])
    footer = {**formats.read_footer(movie), "extraProperties": extra or None}
    path = folder / f"{name}.isxd"
    names = [f"{name}{i}" for i in range(len(images))]
    write_cell_set(path, [footer], images, np.ones((len(images), 5)), names, statuses, noted)
    return str(path)


def tables(folder):
    read = []
    for name in ("overlap.csv", "matrix.csv"):
        with (folder / name).open(newline="") as file:
            read.append(list(csv.reader(file)))
    return read


def run(function, folder, first, second, context, **parameters):
    paths = (str(folder / "overlap.csv"), str(folder / "matrix.csv"), str(folder / "made"))
    function(first, second, *paths, context=context, **parameters)
    return tables(folder)


def test_decisions_are_yes_from_the_upper_threshold_and_no_up_to_the_lower():
    scores = np.array([[0.7, 0.1], [0.71, 0.0], [0.3, 0.3], [0.0, 0.5], [0, 0]])
    assert decisions(scores, 0.3, 0.7) == [(0, "uncertain"), (0, "yes"), (0, "no"), (1, "uncertain"), (0, "no")]


def test_tables_and_maps_of_two_cell_sets(tmp_path, context):
    first = written(tmp_path, "a", bars(2, 12, 22))
    second = written(tmp_path, "b", bars(2, 14, 33))
    overlap, matrix = run(register_cellsets, tmp_path, first, second, context, primary_cellset_name="bob")
    assert overlap == [
        ["", "b0", "b1", "b2"],
        ["a0", "1", "0", "0"],
        ["a1", "0", "0.333333", "0"],
        ["a2", "0", "0", "0"],
    ]
    assert matrix == [
        ["", "bob", "max_jaccard_index", "secondary", "match"],
        ["0", "a0", "1", "b0", "yes"],
        ["1", "a1", "0.333333", "b1", "uncertain"],
        ["2", "a2", "0", "b0", "no"],
    ]
    made = tmp_path / "made"
    assert sorted(file.name for file in made.iterdir()) == [
        "a-cellmap-overlay.tiff",
        "a-cellmap.tiff",
        "b-cellmap.tiff",
    ]
    overlay = np.asarray(Image.open(made / "a-cellmap-overlay.tiff"))
    assert overlay[10, 2].tolist() == [255, 255, 0] and overlay[10, 12].tolist() == [0, 255, 0]
    assert overlay[10, 35].tolist() == [255, 0, 0] and not overlay[0].any()


def test_a_cell_set_matches_itself(tmp_path, context):
    rng = np.random.default_rng(0)
    path = written(tmp_path, "a", np.abs(rng.normal(size=(4, *SHAPE))).astype(np.float32))
    overlap, matrix = run(register_cellsets, tmp_path, path, path, context, lower_threshold=0.1, upper_threshold=0.3)
    assert [float(overlap[i + 1][i + 1]) for i in range(4)] == pytest.approx([1] * 4)
    for row in matrix[1:]:
        assert row[1] == row[3] and float(row[2]) == pytest.approx(1) and row[4] == "yes"
    assert matrix[0][2] == "max_ncc"


def test_rejected_cells_take_no_part(tmp_path, context):
    path = written(tmp_path, "a", bars(2, 12, 22), statuses=["accepted", "undecided", "rejected"])
    assert len(run(register_cellsets, tmp_path, path, path, context)[1]) == 3
    assert len(run(register_cellsets, tmp_path, path, path, context, accepted_cells_only=True)[1]) == 2


def test_without_cells_nothing_is_written(tmp_path, context):
    first = written(tmp_path, "a", bars(2), statuses=["undecided"])
    for function in (register_cellsets, multicolor_registration):
        with pytest.raises(Unusable, match=r"there are no cells to compare in a\.isxd"):
            run(function, tmp_path, first, first, context, accepted_cells_only=True)
    assert not (tmp_path / "overlap.csv").exists() and not (tmp_path / "matrix.csv").exists()


def test_two_colours_are_brought_to_one_form(tmp_path, context):
    """The first set is analog and was cropped by motion correction, the second binary and of the whole field."""
    field = {"topLeft": {"x": 0, "y": 0}, "width": SHAPE[1], "height": SHAPE[0]}
    green = bars(2, 12, 22, rows=28, width=35) * np.array([5, 6, 7], np.float32)[:, None, None]
    first = written(tmp_path, "green", green, {"type": "analog"}, idps={"pre_mc": field})
    second = written(tmp_path, "red", bars(2, 14, 33))
    settings = {"upper_threshold": 0.9, "image_format": "png"}
    _, matrix = run(multicolor_registration, tmp_path, first, second, context, **settings)
    assert [row[4] for row in matrix[1:]] == ["yes", "uncertain", "no"]
    made = tmp_path / "made"
    red = {"green-REG.isxd", "red-REG.isxd"} & {file.name for file in made.iterdir()}
    assert "green-REG.isxd" in red
    for decision, name in (("matched", "green0"), ("uncertain", "green1"), ("non-matched", "green2")):
        cells = isx.CellSet.read(str(made / f"green-REG-BIN-cellset-{decision}.isxd"))
        assert [cells.get_cell_name(i) for i in range(cells.num_cells)] == [name]
        assert cells.spacing.num_pixels == SHAPE
    assert (made / "green-REG-BIN-cellmap-overlay.png").exists()


def test_only_wanted_cell_sets_are_saved(tmp_path, context):
    path = written(tmp_path, "a", bars(2, 12))
    run(multicolor_registration, tmp_path, path, path, context, save_matched_cellset=False)
    assert not list((tmp_path / "made").glob("*-cellset-*.isxd"))
    run(multicolor_registration, tmp_path, path, path, context)
    (saved,) = (tmp_path / "made").glob("*-cellset-*.isxd")
    assert saved.name == "a-cellset-matched.isxd" and read_cell_set(saved).n_cells == 2
