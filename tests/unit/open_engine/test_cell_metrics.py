from __future__ import annotations

import csv
import json
from dataclasses import astuple
from pathlib import Path

import isx
import numpy as np
import pytest

from open_engine.files.cellsets import read_cell_set, write_cell_set
from open_engine.metrics import Events, image_metrics, rise_and_decay_times, trace_metrics
from open_engine.steps.cell_metrics import COLUMNS, cell_metrics
from recording import formats
from recording.errors import Unusable
from samples import recordings

PERIOD_MS = 100


def written(folder, images, traces, events, name="", start_ms=recordings.START_MS):
    """A cell set and an event set; `events` has (samples, amplitudes) of each cell."""
    n = traces.shape[1]
    movie = recordings.movie(folder / f"m{name}.isxd", n, *images.shape[1:], period_ms=PERIOD_MS, start_ms=start_ms)
    cell_file, event_file = folder / f"cells{name}.isxd", folder / f"events{name}.isxd"
    write_cell_set(cell_file, [formats.read_footer(movie)], images, traces)
    names = read_cell_set(cell_file).names
    made = isx.EventSet.write(str(event_file), recordings.timing(n, PERIOD_MS, start_ms), list(names))
    for i, (samples, amplitudes) in enumerate(events):
        made.set_cell_data(i, np.array(samples, np.uint64) * PERIOD_MS * 1000, np.array(amplitudes, np.float32))
    made.flush()
    return str(cell_file), str(event_file)


def rows_of(path):
    with Path(path).open(newline="") as file:
        return list(csv.DictReader(file))


def disc(rows, columns, row, column, radius):
    y, x = np.mgrid[:rows, :columns]
    return ((y - row) ** 2 + (x - column) ** 2 <= radius**2).astype(np.float32)


IMAGES = np.stack([disc(20, 24, 8, 9, 4), disc(20, 24, 12, 15, 3)])


def test_numbers_that_the_vendor_states(tmp_path, context):
    """SNR 48.5975 = 9.63244 / 0.198209, from one event in 5 s; a cell without events has 0 throughout."""
    trace = np.tile([-0.198209, 0, 0.198209, 0.198209, -0.198209], 10)
    traces = np.stack([trace, trace]).astype(np.float32)
    cells, events = written(tmp_path, IMAGES, traces, [([20], [9.63244]), ([], [])])
    cell_metrics(cells, events, str(tmp_path / "metrics.csv"), context=context)
    first, second = rows_of(tmp_path / "metrics.csv")
    assert tuple(first) == COLUMNS
    assert first["cellName"] == "C0"
    assert float(first["snr"]) == pytest.approx(48.5975, rel=5e-6)  # its other numbers are rounded to six digits
    stated = {"mad": "0.198209", "eventRate": "0.2", "eventAmpMedian": "9.63244", "eventAmpSD": "0"}
    assert {key: first[key] for key in stated} == stated
    assert {second[key] for key in COLUMNS[1:10]} == {"0"}
    assert second["numContourComponents"] == "1"


def test_metrics_of_footprints_are_kept_in_the_cell_set(tmp_path, context):
    images = np.stack([IMAGES[0], disc(20, 24, 5, 5, 3) + 0.9 * disc(20, 24, 14, 18, 2)])
    cells, events = written(tmp_path, images, np.ones((2, 50), np.float32), [([], []), ([], [])])
    before = read_cell_set(cells)
    cell_metrics(cells, events, str(tmp_path / "metrics.csv"), context=context)
    one, two = rows_of(tmp_path / "metrics.csv")
    assert (one["overallCenterInPixelsX"], one["overallCenterInPixelsY"]) == ("9", "8")
    assert one["overallMaxContourWidthInPixels"] == one["largestComponentMaxContourWidthInPixels"] == "8"
    assert two["numContourComponents"] == "2"
    assert two["largestComponentMaxContourWidthInPixels"] == "6"
    assert float(two["overallAreaInPixels"]) > float(two["largestComponentAreaInPixels"])
    assert (two["largestComponentCenterInPixelsX"], two["overallCenterInPixelsX"]) == ("5", "11")
    after = read_cell_set(cells)
    assert after.footer["cellMetrics"][0][:2] == [1, {"x": 9, "y": 8}]
    assert np.array_equal(after.traces, before.traces) and np.array_equal(after.images, before.images)
    assert isx.CellSet.read(cells).num_cells == 2


def test_a_series_has_one_row_a_cell(tmp_path, context):
    rng = np.random.default_rng(0)
    traces = rng.normal(0, 1, (2, 90)).astype(np.float32)
    amplitudes = [[5.0, 7.0], [9.0]]
    a = written(tmp_path, IMAGES, traces[:, :40], [([5, 20], amplitudes[0]), ([], [])], "a")
    later = recordings.START_MS + 60_000
    b = written(tmp_path, IMAGES, traces[:, 40:], [([7], amplitudes[1]), ([3], [2.0])], "b", later)
    cell_metrics([a[0], b[0]], [a[1], b[1]], str(tmp_path / "metrics.csv"), context=context)
    first, second = rows_of(tmp_path / "metrics.csv")
    mad = np.median(np.abs(traces[0] - np.median(traces[0])))
    assert float(first["mad"]) == pytest.approx(mad, rel=1e-5)
    assert float(first["snr"]) == pytest.approx(7 / mad, rel=1e-5)
    assert float(first["eventRate"]) == pytest.approx(3 / 9, rel=1e-5)
    assert float(first["eventAmpSD"]) == pytest.approx(np.sqrt((4 + 0 + 4) / 3), rel=1e-5)
    assert float(second["eventRate"]) == pytest.approx(1 / 9, rel=1e-5)


def test_stored_metrics_are_exported_or_their_absence_is_said(tmp_path, context):
    cells, events = written(tmp_path, IMAGES, np.ones((2, 50), np.float32), [([], []), ([], [])])
    table = tmp_path / "metrics.csv"
    with pytest.raises(Unusable, match="hold no metrics that were computed before: set recompute_metrics = true"):
        cell_metrics(cells, events, str(table), recompute_metrics=False, context=context)
    assert not table.exists()
    cell_metrics(cells, events, str(table), context=context)
    body, footer = recordings.split_footer((tmp_path / "events.isxd").read_bytes())
    footer = {**json.loads(footer), "metrics": [[3.5, 1, 0.2, 4, 0, 0.1, 0, 0.2, 0], [0] * 9]}
    (tmp_path / "events.isxd").write_bytes(body + recordings.footer_bytes(footer))
    cell_metrics(cells, events, str(table), recompute_metrics=False, context=context)
    first, second = rows_of(table)
    assert (first["snr"], first["decayMedian"], first["overallCenterInPixelsX"]) == ("3.5", "0.2", "9")
    assert second["snr"] == "0"


def test_event_sets_must_belong_to_the_cells(tmp_path, context):
    cells, events = written(tmp_path, IMAGES, np.ones((2, 50), np.float32), [([], []), ([], [])])
    other = isx.EventSet.write(str(tmp_path / "other.isxd"), recordings.timing(50, PERIOD_MS), ["X7"])
    other.set_cell_data(0, np.array([0], np.uint64), np.array([1], np.float32))
    other.flush()
    for given, message in (
        (tmp_path / "other.isxd", r"other\.isxd has events of cells that cells\.isxd does not have"),
        (cells, r"cells\.isxd is not an event set but holds data of kind cell_set"),
        ([events, events], "2 event sets for 1 cell sets"),
        (tmp_path / "none.isxd", r"none\.isxd cannot be used"),
    ):
        paths = [str(path) for path in given] if isinstance(given, list) else str(given)
        with pytest.raises(Unusable, match=message):
            cell_metrics(cells, paths, str(tmp_path / "metrics.csv"), context=context)


def test_no_cells_give_a_table_without_rows(tmp_path, context, warnings):
    movie = recordings.movie(tmp_path / "m.isxd", 10, 6, 8)
    write_cell_set(tmp_path / "c.isxd", [formats.read_footer(movie)], np.zeros((0, 6, 8)), np.zeros((0, 10)))
    cell_metrics(str(tmp_path / "c.isxd"), [], str(tmp_path / "t.csv"), context=context)
    assert rows_of(tmp_path / "t.csv") == [] and "no cells" in warnings[0]


def test_traces_without_noise_or_numbers():
    everywhere = np.ones(10, bool)
    events = Events(np.array([3]), np.array([2.0]))
    constant = trace_metrics(np.ones(10), everywhere, events, 0.1)
    assert (constant.snr, constant.mad) == (0, 0) and constant.event_rate == pytest.approx(1)
    assert np.isnan(astuple(trace_metrics(np.full(10, np.nan), everywhere, events, 0.1))).all()
    some = np.array([0, 1, np.nan, 1, 0, 1, 0, 1, 0, 1.0])
    assert (
        trace_metrics(some, everywhere, events, 0.1).mad == 0.5 or trace_metrics(some, everywhere, events, 0.1).mad == 0
    )
    nothing = image_metrics(np.zeros((4, 4)))
    assert (nothing.n_components, nothing.area) == (0, 0) and np.isnan(nothing.center + nothing.largest_center).all()
    assert nothing.as_json()[:3] == [0, {"x": 0, "y": 0}, {"x": 0, "y": 0}]


def test_time_that_was_not_recorded_does_not_lower_the_event_rate():
    valid = np.ones(100, bool)
    valid[50:] = False
    rate = trace_metrics(np.random.default_rng(0).normal(size=100), valid, Events(np.array([3]), np.array([2.0])), 0.1)
    assert rate.event_rate == pytest.approx(1 / 5)


def test_rise_and_decay_times_of_a_known_transient():
    trace = np.zeros(60)
    trace[10:14] = [1, 2, 3, 4]  # four samples up
    trace[14:60] = 4 * np.exp(-np.arange(1, 47) / 6)
    for event in (10, 11, 13):  # wherever in the rise the event's time lies
        rises, decays = rise_and_decay_times(trace, np.array([event]))
        assert rises == [4] and decays == pytest.approx([6], abs=0.02)
    assert rise_and_decay_times(np.ones(5), np.array([2])) == ([], [])
