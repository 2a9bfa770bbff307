"""Which cells are accepted: those with a transient and the shape of a cell."""

from __future__ import annotations

from pathlib import Path

import isx
import numpy as np
import pytest
from scipy import ndimage

from open_engine.cell_shape import doubts, is_cell
from open_engine.context import StepContext
from open_engine.files.cellsets import edit_footer, read_cell_set, reasons_of
from open_engine.metrics import compactness, image_metrics
from open_engine.steps.accept_cells import accept_cells
from samples import recordings
from tests.unit.open_engine.test_cell_metrics import disc, written

DIAMETER = 8.0
SHAPE = (40, 48)


def cell(row: float = 20, column: float = 24, width: float = DIAMETER) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.exp(-np.log(2) * ((y - row) ** 2 + (x - column) ** 2) / (width / 2) ** 2).astype(np.float32)


def with_stray_pixel() -> np.ndarray:
    image = cell()
    image[20, 34] = 0.6
    return image


def arc() -> np.ndarray:
    """A piece of the border of something large."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - np.array([20, 12])[:, None, None]
    away = np.hypot(y, x)
    return (np.exp(-(((away - 14) / 2) ** 2)) * (np.abs(y) < 12) * (x > 0)).astype(np.float32)


def ring() -> np.ndarray:
    return disc(*SHAPE, 20, 24, 10) - disc(*SHAPE, 20, 24, 7)


SHAPES = {
    "a cell": (cell(), True),
    "small": (cell(width=5), True),
    "large": (cell(width=10.5), True),
    "oval": (ndimage.zoom(cell(20, 24), (1, 1.4), order=1)[:, 10:58], True),
    "with a stray pixel above half of its peak": (with_stray_pixel(), True),
    "most of it in the field": (cell(row=2.5), True),
    "half of it in the field": (cell(row=0), True),
    "its centre outside of the field": (cell(row=-1.5), False),
    "a third of a diameter outside": (cell(row=-3), False),
    "large and round": (cell(width=11.4), True),
    "as compact, but long": (ndimage.zoom(cell(20, 24, 9.9), (1, 1.55), order=1)[:, 13:61], False),
    "outside of a corner": (cell(42, 50), False),
    "a patch out of focus": (cell(width=24), False),
    "an arc": (arc(), False),
    "a ring": (ring(), False),
    "two": (cell(20, 14) + cell(20, 34), False),
    "nothing": (cell() * 0, False),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_shape_of_a_cell(name: str) -> None:
    image, expected = SHAPES[name]
    assert is_cell(image, DIAMETER) == expected


LARGE = 15.0  # px wide, where cells are 8
OF_ALL_SIZES = np.geomspace(5, 13, 72)
ALIKE = np.linspace(7.4, 8.6, 72)
BY_DEPTH = 64 * 100 * np.tile([0.75, 0.75, 1.3, 1.3], 18) / OF_ALL_SIZES**2  # light that is spread, none lost
AT_ANY_DEPTH = 100 * np.tile([0.75, 0.75, 1.3, 1.3], 18)


def ragged(width: float = LARGE) -> np.ndarray:
    """As much of its light as a large cell's is far from its centre, but in pieces."""
    image = cell(width=6)
    image[::3, ::3] = 0.8
    return np.where(cell(width=width) > 0.3, image, 0)


@pytest.mark.parametrize(
    ("others", "light", "image", "brightness", "expected"),
    [
        (OF_ALL_SIZES, BY_DEPTH, cell(width=LARGE), 30, True),
        (OF_ALL_SIZES, BY_DEPTH, cell(width=LARGE), 8, False),
        (OF_ALL_SIZES, BY_DEPTH, cell(width=40), 30, False),
        (OF_ALL_SIZES, BY_DEPTH, cell(row=-8, width=LARGE), 30, False),
        (OF_ALL_SIZES, BY_DEPTH, ragged(), 30, False),
        (OF_ALL_SIZES, BY_DEPTH, ndimage.zoom(cell(20, 24, 9.9), (1, 2), order=1)[:, 24:72], 30, False),
        (OF_ALL_SIZES, BY_DEPTH, cell() * 0, 30, False),
        (OF_ALL_SIZES[::2], BY_DEPTH[::2], cell(width=LARGE), 30, False),
        (OF_ALL_SIZES, AT_ANY_DEPTH, cell(width=LARGE), 100, False),
        (ALIKE, BY_DEPTH, cell(width=LARGE), 30, False),
    ],
    ids=["large", "dim", "too large", "cut", "ragged", "long", "empty", "too few to tell", "no scattering", "alike"],
)
def test_where_tissue_scatters_light_large_dim_footprints_are_cells(
    others: np.ndarray, light: np.ndarray, image: np.ndarray, brightness: float, expected: bool
) -> None:
    assert not is_cell(image, DIAMETER)
    *found, last = doubts([*(cell(width=width) for width in others), image], np.append(light, brightness), DIAMETER)
    assert (last == "") == expected
    assert any(found) == (len(others) < 50 or light is AT_ANY_DEPTH)


def test_patches_among_the_cells_do_not_let_in_more() -> None:
    light = [*AT_ANY_DEPTH, *[25] * 5, 20, 20]
    found = doubts([cell(width=width) for width in (*ALIKE, *[11] * 5, LARGE, LARGE)], np.array(light), DIAMETER)
    assert all(found[-2:])


def test_the_stray_pixel_is_a_component_for_idps() -> None:
    assert image_metrics(with_stray_pixel()).n_components == 2


def test_compactness() -> None:
    assert compactness(disc(*SHAPE, 20, 24, 3), 4.1) == 1
    assert compactness(np.zeros(SHAPE), DIAMETER) == 0
    half = disc(*SHAPE, 20, 12, 1) + disc(*SHAPE, 20, 36, 1)
    assert compactness(half, DIAMETER) == 0


@pytest.mark.parametrize("noted", [None, DIAMETER])
def test_cells_are_accepted_and_rejected_in_place(tmp_path: Path, context: StepContext, noted: float | None) -> None:
    images = np.stack([cell(), arc(), with_stray_pixel(), cell(12, 12), cell(20, 30)])
    events = [([5], [1]), ([5], [1]), ([5], [1]), ([], []), ([7], [2])]
    cells, event_set = written(tmp_path, images, np.zeros((5, 50), np.float32), events)
    if noted:
        note(cells, noted)
    before = read_cell_set(cells)
    kept = np.array(before.images)
    accept_cells(cells, event_set, context=context)
    by_isx = isx.CellSet.read(cells)
    statuses = [by_isx.get_cell_status(i) for i in range(5)]
    assert statuses == ["accepted", "rejected", "accepted", "rejected", "accepted"]
    after = read_cell_set(cells)
    assert np.array_equal(after.images, kept)
    assert np.array_equal(after.traces, before.traces)


def test_the_diameter_is_that_of_run_cnmfe(tmp_path: Path, context: StepContext, warnings: list[str]) -> None:
    images = np.stack([cell(width=20)] * 2)
    cells, event_set = written(tmp_path, images, np.zeros((2, 50), np.float32), [([5], [1])] * 2)
    accept_cells(cells, event_set, context=context)
    assert read_cell_set(cells).statuses == ("accepted", "accepted")
    note(cells, DIAMETER)
    accept_cells(cells, event_set, context=context)
    assert read_cell_set(cells).statuses == ("rejected", "rejected")
    assert warnings == ["none of 2 cells has a transient and the shape of a cell"]


@pytest.mark.parametrize(
    ("widths", "accepted"),
    [
        pytest.param([8] + [10.5] * 6, 1, id="one cell"),
        pytest.param([8] + [10.5] * 14, 1, id="more patches"),
        pytest.param([8] * 7 + [10.5] * 3, 7, id="few cells"),
        pytest.param([8] * 8 + [10.5] * 3, 11, id="cells enough to say that some are larger"),
        pytest.param([10.5] * 16, 16, id="all larger than was taken"),
    ],
)
def test_of_few_cells_those_wider_than_was_taken_may_be_patches_out_of_focus(
    tmp_path: Path, context: StepContext, widths: list[float], accepted: int
) -> None:
    places = [(10 + 20 * (i // 4), 6 + 12 * (i % 4)) for i in range(len(widths))]
    images = np.stack([cell(row % 40, column, width) for (row, column), width in zip(places, widths)])
    n = len(widths)
    cells, event_set = written(tmp_path, images, np.zeros((n, 50), np.float32), [([5], [1])] * n)
    note(cells, DIAMETER)
    accept_cells(cells, event_set, context=context)
    decided = read_cell_set(cells)
    assert decided.statuses == ("accepted",) * accepted + ("rejected",) * (n - accepted)
    why = reasons_of(decided.footer)[-1]
    assert why.endswith("of its light is near its centre, less than 90%") if accepted < n else why == ""


def test_a_cell_has_one_status_in_all_parts_of_a_series(tmp_path: Path, context: StepContext) -> None:
    images, traces = np.stack([cell(), cell(12, 12)]), np.zeros((2, 50), np.float32)
    a = written(tmp_path, images, traces, [([], [])] * 2, "a")
    b = written(tmp_path, images, traces, [([5], [1]), ([], [])], "b", recordings.START_MS + 60_000)
    accept_cells([a[0], b[0]], [a[1], b[1]], context=context)
    for path in (a[0], b[0]):
        assert read_cell_set(path).statuses == ("accepted", "rejected")


def note(path: str, diameter: float) -> None:
    extra = {"idps": {"cnmfe": {"cell_diameter": diameter}}}
    edit_footer(Path(path), extraProperties=extra)
