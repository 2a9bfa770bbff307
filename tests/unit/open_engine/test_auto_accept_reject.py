from __future__ import annotations

import isx
import numpy as np
import pytest

from open_engine.files.cellsets import read_cell_set
from open_engine.steps.auto_accept_reject import auto_accept_reject
from recording import formats
from recording.errors import Unusable
from samples import recordings
from tests.unit.open_engine.test_cell_metrics import disc, written

# Four cells of 5 s whose traces have a MAD of 1: their SNR is the amplitude of their events.
TRACE = np.tile([-1, 0, 1, 1, -1], 10).astype(np.float32)
IMAGES = np.stack(
    [
        disc(20, 24, 8, 9, 4),
        disc(20, 24, 8, 9, 2),
        disc(20, 24, 5, 5, 3) + disc(20, 24, 14, 18, 3),
        disc(20, 24, 9, 9, 3),
    ]
)
EVENTS = [([5, 20], [10, 10]), ([5], [2]), ([5], [10]), ([], [])]


@pytest.fixture
def files(tmp_path):
    return written(tmp_path, IMAGES, np.tile(TRACE, (4, 1)), EVENTS)


@pytest.mark.parametrize(
    "filters, accepted",
    [
        (None, [0]),  # SNR > 3, Event Rate > 0, # Comps = 1
        ([("SNR", ">", 3)], [0, 2]),
        ([("SNR", ">", 2)], [0, 2]),  # not at least
        ([("SNR", "=", 2)], [1]),
        ([("SNR", "<", 2)], [3]),
        ([["Event Rate", ">", 0.3]], [0]),
        ([["Event Rate", "=", 0]], [3]),
        ([["# Comps", "=", 2]], [2]),
        ([["Cell Size", ">", 6]], [0, 2]),
        ([["Cell Size", "<", 7], ["Event Rate", ">", 0]], [1]),
        ([["# Comps", "<", 1]], []),
        ([], [0, 1, 2, 3]),
    ],
)
def test_cells_that_pass_all_filters_are_accepted_and_the_others_rejected(files, context, filters, accepted):
    before = read_cell_set(files[0])
    images = np.array(before.images)
    auto_accept_reject(*files, filters, context=context)
    by_isx = isx.CellSet.read(files[0])
    expected = ["accepted" if i in accepted else "rejected" for i in range(4)]
    assert [by_isx.get_cell_status(i) for i in range(4)] == expected
    after = read_cell_set(files[0])
    assert np.array_equal(after.images, images) and np.array_equal(after.traces, before.traces)


def test_a_cell_has_one_status_in_all_parts_of_a_series(tmp_path, context):
    traces = np.tile(TRACE, (4, 1))
    a = written(tmp_path, IMAGES, traces, [([], [])] * 4, "a")
    b = written(tmp_path, IMAGES, traces, EVENTS, "b", recordings.START_MS + 60_000)
    auto_accept_reject([a[0], b[0]], [a[1], b[1]], [["SNR", ">", 3]], context=context)
    for path in (a[0], b[0]):
        assert formats.read_footer(path)["CellStatuses"] == [0, 2, 0, 2]


def test_it_is_said_if_no_cell_passes(files, context, warnings):
    auto_accept_reject(*files, [["SNR", ">", 1000]], context=context)
    assert warnings == ["none of 4 cells passes all filters"]


@pytest.mark.parametrize("unknown", [("Skewness", ">", 1), ("SNR", ">=", 1)])
def test_unknown_filters_are_refused_before_anything_changes(files, context, unknown):
    with pytest.raises(
        Unusable, match=r"is not known: use one of # Comps, Cell Size, SNR, Event Rate and one of <, =, >"
    ):
        auto_accept_reject(*files, [unknown], context=context)
    assert formats.read_footer(files[0])["CellStatuses"] == [1, 1, 1, 1]
