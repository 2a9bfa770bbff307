from __future__ import annotations

import isx
import numpy as np
import pytest

from open_engine.blobs import find_cells
from open_engine.steps.estimate_num_ics import estimate_num_ics
from recording.errors import Unusable


def discs(centres, diameter, rows=80, columns=100, noise=0.05):
    y, x = np.mgrid[:rows, :columns]
    image = np.random.default_rng(0).normal(0, noise, (rows, columns))
    for row, column in centres:
        image += (y - row) ** 2 + (x - column) ** 2 <= (diameter / 2) ** 2
    return image.astype(np.float32)


CENTRES = [(15, 15), (15, 50), (40, 30), (60, 80), (62, 12)]


def written(path, image):
    isx.Image.write(str(path), isx.Spacing(image.shape), np.float32, image)
    return str(path)


def test_cells_are_counted_in_each_image(tmp_path, context):
    one = written(tmp_path / "one.isxd", discs(CENTRES, 12))
    two = written(tmp_path / "two.isxd", discs(CENTRES[:2], 12))
    assert estimate_num_ics(one, average_diameter=12, context=context) == 5
    assert estimate_num_ics([one], min_diameter=4, max_diameter=20, context=context) == 5
    assert estimate_num_ics([one, two], average_diameter=12, context=context) == [5, 2]


def test_centres_and_diameters_are_right():
    cells = find_cells(discs(CENTRES, 12), 4, 20)
    cells = cells[np.lexsort((cells[:, 1], cells[:, 0]))]
    assert cells[:, :2] == pytest.approx(np.array(sorted(CENTRES), float), abs=1)
    assert cells[:, 2] == pytest.approx(np.full(5, 12), rel=0.2)


def test_what_is_larger_or_smaller_is_no_cell():
    y, x = np.mgrid[:200, :200]
    glow = np.exp(-((y - 90) ** 2 + (x - 110) ** 2) / (2 * 30**2))
    assert len(find_cells(glow, 4, 15)) == 0
    assert len(find_cells(discs(CENTRES, 3, noise=0.01), 9, 20)) == 0


def test_of_cells_that_are_too_near_the_stronger_counts():
    image = discs([(20, 20), (20, 36)], 10)
    assert len(find_cells(image, 5, 20)) == 2
    assert len(find_cells(image, 5, 20, min_inter_dist=20)) == 1


def test_images_without_cells():
    assert len(find_cells(np.zeros((30, 30), np.float32), 4, 20)) == 0
    assert len(find_cells(np.full((30, 30), np.nan, np.float32), 4, 20)) == 0
    holes = discs(CENTRES, 12)
    holes[:3] = np.nan
    assert len(find_cells(holes, 4, 20)) == 5
    assert len(find_cells(discs([(3, 3)], 4, 7, 7), 13 / 3, 65 / 3)) <= 1  # a field smaller than a cell


def test_without_a_diameter_nothing_can_be_counted(tmp_path, context):
    with pytest.raises(Unusable, match="needs average_diameter, or both min_diameter and max_diameter"):
        estimate_num_ics(written(tmp_path / "i.isxd", discs(CENTRES, 12)), min_diameter=3, context=context)
