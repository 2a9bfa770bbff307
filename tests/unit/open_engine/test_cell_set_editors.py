"""binarize_cell_set, crop_cell_set, transform_cell_set, compute_spatial_overlap_cell_set: exact definitions."""

from __future__ import annotations

import csv
import math

import isx
import numpy as np
import pytest

from open_engine.files.cellsets import edit_footer, read_cell_set, write_cell_set
from open_engine.steps.binarize_cell_set import binarize_cell_set
from open_engine.steps.compute_spatial_overlap_cell_set import compute_spatial_overlap_cell_set
from open_engine.steps.crop_cell_set import crop_cell_set
from open_engine.steps.transform_cell_set import transform_cell_set
from recording import formats
from recording.errors import Unusable
from samples import recordings

RNG = np.random.default_rng(1)
IMAGES = RNG.normal(size=(3, 5, 7)).astype(np.float32)
TRACES = RNG.normal(size=(3, 6)).astype(np.float32)
STATUSES = ("accepted", "undecided", "rejected")


def written(folder, name="cells", images=IMAGES, names=("a", "b", "c"), statuses=STATUSES, noted=None, **extra):
    movie = recordings.movie(folder / f"{name}-movie.isxd", 6, *images.shape[1:])
    footer = {**formats.read_footer(movie), "extraProperties": extra or None}
    n = len(images)
    path = folder / f"{name}.isxd"
    write_cell_set(path, [footer], images, TRACES[:n], names[:n], statuses[:n], noted)
    return str(path)


def assert_all_but_footprints_kept(out):
    by_isx = isx.CellSet.read(str(out))
    assert [by_isx.get_cell_name(i) for i in range(3)] == ["a", "b", "c"]
    assert tuple(by_isx.get_cell_status(i) for i in range(3)) == STATUSES
    assert np.array_equal([by_isx.get_cell_trace_data(i) for i in range(3)], TRACES)
    return np.array([by_isx.get_cell_image_data(i) for i in range(3)])


def test_binary_footprints_are_1_above_the_threshold(tmp_path, context):
    images = IMAGES.copy()
    images[0, 0, 0], images[0, 0, 1] = np.nan, 0.5
    out = tmp_path / "out.isxd"
    binarize_cell_set(written(tmp_path, images=images), str(out), 0.5, context=context)
    footprints = assert_all_but_footprints_kept(out)
    assert np.array_equal(footprints, np.where(np.nan_to_num(images, nan=-9) > 0.5, 1, 0))
    assert read_cell_set(out).kind == "binary"


def test_a_percentile_is_each_footprints_own(tmp_path, context):
    images = IMAGES * np.array([1, 10, 100], np.float32)[:, None, None]
    out = tmp_path / "out.isxd"
    binarize_cell_set(written(tmp_path, images=images), str(out), 80, True, context=context)
    assert assert_all_but_footprints_kept(out).sum(axis=(1, 2)).tolist() == [7, 7, 7]  # a fifth of 35


def test_footprints_that_binarize_to_nothing_are_reported(tmp_path, context, warnings):
    binarize_cell_set(written(tmp_path), str(tmp_path / "out.isxd"), 1000, context=context)
    assert warnings == ["3 of 3 footprints have no pixel above the threshold: a, b, c"]


def test_a_crop_is_left_right_top_bottom(tmp_path, context):
    out = tmp_path / "out.isxd"
    crop_cell_set(written(tmp_path), str(out), [2, 1, 0, 3], context=context)
    assert np.array_equal(assert_all_but_footprints_kept(out), IMAGES[:, 0:2, 2:6])
    spacing = formats.read_footer(out)["spacingInfo"]
    assert spacing["topLeft"] == {"x": {"num": 6, "den": 1}, "y": {"num": 0, "den": 1}}


def test_cells_that_a_crop_removes_are_reported(tmp_path, context, warnings):
    images = np.zeros((1, 5, 7), np.float32)
    images[0, 0, 0] = 1
    crop_cell_set(written(tmp_path, images=images), str(tmp_path / "out.isxd"), [1, 0, 1, 0], context=context)
    assert warnings == ["1 of 1 footprints lie wholly in what was cropped"]


def test_a_crop_that_leaves_nothing_is_refused(tmp_path, context):
    with pytest.raises(Unusable, match=r"crop = \[4, 3, 0, 0\] .* leaves nothing of the 7 x 5 px of cells\.isxd"):
        crop_cell_set(written(tmp_path), str(tmp_path / "out.isxd"), [4, 3, 0, 0], context=context)


@pytest.mark.parametrize("pad_value", [math.nan, 0, -2.5])
def test_footprints_are_padded_to_the_field_before_motion_correction(tmp_path, context, pad_value):
    field = {"topLeft": {"x": 3, "y": 1}, "width": 12, "height": 9}  # µm on the sensor, px
    source = written(tmp_path, idps={"pre_mc": field, "mc_padding": False})
    spacing = formats.read_footer(source)["spacingInfo"]
    # 2 px right and 1 px below the corner of that field, which is cut to whole µm.
    spacing["topLeft"] = {"x": {"num": 99, "den": 10}, "y": {"num": 49, "den": 10}}
    edit_footer(tmp_path / "cells.isxd", spacingInfo=spacing)
    out = tmp_path / "out.isxd"
    transform_cell_set(source, str(out), pad_value, context=context)
    expected = np.full((3, 9, 12), pad_value, np.float32)
    expected[:, 1:6, 2:9] = IMAGES
    assert np.array_equal(assert_all_but_footprints_kept(out), expected, equal_nan=True)
    corner = formats.read_footer(out)["spacingInfo"]["topLeft"]
    assert (corner["x"]["num"] / corner["x"]["den"], corner["y"]["num"] / corner["y"]["den"]) == (3.9, 1.9)


def test_footprints_of_padded_movies_stay_as_they_are(tmp_path, context):
    field = {"topLeft": {"x": 0, "y": 0}, "width": 7, "height": 5}
    out = tmp_path / "out.isxd"
    transform_cell_set(written(tmp_path, idps={"pre_mc": field, "mc_padding": True}), str(out), context=context)
    assert np.array_equal(assert_all_but_footprints_kept(out), IMAGES)


def test_without_that_field_footprints_cannot_be_padded(tmp_path, context):
    with pytest.raises(Unusable, match=r"cells\.isxd does not state the field before motion correction"):
        transform_cell_set(written(tmp_path), str(tmp_path / "out.isxd"), context=context)
    smaller = {"topLeft": {"x": 0, "y": 0}, "width": 6, "height": 5}
    source = written(tmp_path, "small", idps={"pre_mc": smaller})
    with pytest.raises(Unusable, match="does not lie in the field of 6 x 5 px before motion correction"):
        transform_cell_set(source, str(tmp_path / "out.isxd"), context=context)


# ---- overlap


def table(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_overlap_of_analog_footprints_is_their_normalised_cross_correlation(tmp_path, context):
    positive = np.abs(IMAGES)
    first = written(tmp_path, "one", positive, statuses=("accepted", "undecided", "accepted"))
    second = written(tmp_path, "two", np.stack([2 * positive[1], np.zeros((5, 7), "f4")]), ("x", "y"))
    compute_spatial_overlap_cell_set(first, second, str(tmp_path / "out.csv"), context=context)
    head, *rows = table(tmp_path / "out.csv")
    assert head == ["", "x", "y"] and [row[0] for row in rows] == ["a", "b", "c"]
    a, b = positive[0].astype(float).ravel(), positive[1].astype(float).ravel()
    assert float(rows[0][1]) == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), rel=1e-5)
    assert rows[1][1:] == ["1", "0"]


def test_overlap_of_binary_footprints_is_the_jaccard_index(tmp_path, context):
    images = np.zeros((3, 5, 7), np.float32)
    images[0, 0, :4] = images[1, 0, 2:6] = images[2, 4, :] = 1
    path = written(tmp_path, images=images, statuses=("accepted",) * 3)
    compute_spatial_overlap_cell_set(path, path, str(tmp_path / "out.csv"), context=context)
    assert table(tmp_path / "out.csv")[1:] == [
        ["a", "1", "0.333333", "0"],
        ["b", "0.333333", "1", "0"],
        ["c", "0", "0", "1"],
    ]


@pytest.mark.parametrize("only, names", [(False, ["a", "b"]), (True, ["a"])])
def test_rejected_cells_are_left_out(tmp_path, context, only, names):
    path = written(tmp_path)
    compute_spatial_overlap_cell_set(path, path, str(tmp_path / "out.csv"), only, context=context)
    assert table(tmp_path / "out.csv")[0][1:] == names


def test_cell_sets_that_cannot_be_compared_are_refused(tmp_path, context):
    usual = written(tmp_path)
    other_size = written(tmp_path, "size", np.ones((1, 4, 7), np.float32))
    binary = written(tmp_path, "binary", (IMAGES > 0).astype(np.float32))
    rejected = written(tmp_path, "none", statuses=("rejected",) * 3)
    for other, message in (
        (other_size, r"footprints in cells\.isxd have 7 x 5 px but those in size\.isxd 7 x 4 px"),
        (binary, r"footprints in cells\.isxd are analog but those in binary\.isxd binary"),
        (rejected, r"there are no cells to compare in none\.isxd"),
    ):
        with pytest.raises(Unusable, match=message):
            compute_spatial_overlap_cell_set(usual, other, str(tmp_path / "out.csv"), context=context)
    assert not (tmp_path / "out.csv").exists()
