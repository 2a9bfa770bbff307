from __future__ import annotations

import numpy as np
import pytest

from open_engine.outlines import greatest_distance, outlines


def mask(*rows):
    return np.array([[float(character == "#") for character in row] for row in rows])


@pytest.mark.parametrize(
    "rows, area, width, points",
    [
        (["#"], 0, 0, 1),
        (["##"], 0, 1, 2),
        (["###"], 0, 2, 4),  # there and back
        (["##", "#."], 0.5, np.sqrt(2), 3),  # as IDPS states it in a cell set of its own
        (["##", "##"], 1, np.sqrt(2), 4),
        (["###", "#.#", "###"], 4, np.sqrt(8), 8),  # holes count
        ([".#.", "###", ".#."], 2, 2, 4),
        (["#.", ".#"], 0, np.sqrt(2), 2),  # one component by its corner
        (["##..", "####", "..##"], 3, np.sqrt(13), 8),
    ],
)
def test_areas_and_widths_of_small_shapes(rows, area, width, points):
    (outline,) = outlines(mask(*rows), 0)
    assert outline.area == area
    assert greatest_distance(outline.points) == pytest.approx(width)
    assert len(outline.points) == points


def test_an_outline_walks_along_the_border_pixels():
    shape = mask("....", ".##.", ".###", "....")
    (outline,) = outlines(shape, 0)
    steps = np.abs(np.diff(np.vstack([outline.points, outline.points[:1]]), axis=0)).max(axis=1)
    assert (steps == 1).all()
    assert sorted(map(tuple, outline.points.tolist())) == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2)]
    assert outline.area == 1.5  # Pick: 5 points on the border, none inside
    assert outline.center == pytest.approx((16 / 9, 14 / 9))


def test_a_disc_has_the_area_of_one_and_its_diameter():
    y, x = np.mgrid[:60, :70]
    (outline,) = outlines((y - 28) ** 2 + (x - 33) ** 2 <= 20**2, 0.5)
    assert outline.area == pytest.approx(np.pi * 20**2, rel=0.06)
    assert greatest_distance(outline.points) == 40
    assert outline.center == pytest.approx((33, 28))


def test_components_are_cut_at_a_fraction_of_the_maximum():
    image = mask("##...", ".....", "...##") * np.array([[1, 1, 1, 1, 1], [1] * 5, [0.4] * 5])
    assert len(outlines(image, 0.3)) == 2
    assert len(outlines(image, 0.5)) == 1
    assert len(outlines(image, 0.4)) == 1  # must exceed it


def test_negative_and_missing_values_are_outside():
    image = mask("##.", "...")
    image[1] = [-3, np.nan, -3]
    assert len(outlines(image, 0)) == len(outlines(image, 0, rectify_first=False)) == 1
    for nothing in (np.zeros((3, 3)), -np.ones((3, 3)), np.full((3, 3), np.nan)):
        assert outlines(nothing, 0) == []
