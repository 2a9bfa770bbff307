"""What is not known of a cell stays unknown through every step and table, and warnings name the cells."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import isx
import numpy as np
import pytest
from pynwb import NWBHDF5IO

from open_engine.context import StepContext
from open_engine.files.cellsets import edit_footer, read_cell_set
from open_engine.steps.auto_accept_reject import auto_accept_reject
from open_engine.steps.cell_metrics import cell_metrics
from open_engine.steps.compute_spatial_overlap_cell_set import compute_spatial_overlap_cell_set
from open_engine.steps.create_neural_activity_movie import create_neural_activity_movie
from open_engine.steps.deconvolve_cellset import deconvolve_cellset
from open_engine.steps.event_detection import event_detection
from open_engine.steps.export_cell_contours import export_cell_contours
from open_engine.steps.multiplane_registration import multiplane_registration
from pipeline.inspect.context import Context
from pipeline.inspect.results import write_results
from pipeline.nwb.session import Source
from pipeline.nwb.write import Contents, write
from recording.errors import Unusable
from samples import recordings

N = 300
GAP = slice(50, 80)


@pytest.fixture(params=[(), (7,), (7, 9), (np.inf,) * 150], ids=["nothing", "one number", "two numbers", "infinite"])
def cells(tmp_path: Path, request) -> str:
    """C1 holds two numbers at most, C2 has a gap, C3 is constant, C4 has no footprint, C5 one infinite value."""
    sound = isx.CellSet.read(str(recordings.cell_set(tmp_path / "sound.isxd", n_cells=6, n=N)))
    path, left = tmp_path / "cells.isxd", request.param
    made = isx.CellSet.write(str(path), recordings.timing(N, dropped=[10]), isx.Spacing((48, 64)))
    for i in range(6):
        footprint, trace = sound.get_cell_image_data(i).copy(), sound.get_cell_trace_data(i).copy()
        trace[:] = np.nan if i == 1 else 5 if i == 3 else trace
        trace[GAP] = np.nan if i == 2 else trace[GAP]
        if i == 1:
            trace[100 : 100 + len(left)] = left
        trace[100] = np.inf if i == 5 else trace[100]
        footprint[:] = 0 if i == 4 else footprint
        made.set_cell_data(i, footprint, trace.astype(np.float32), f"C{i}")
    made.flush()
    return str(path)


@pytest.fixture
def events(cells: str, context: StepContext, warnings: list[str]) -> str:
    path = str(Path(cells).with_name("events.isxd"))
    event_detection(cells, path, context=context)
    assert warnings == ["cells whose traces hold fewer than 3 numbers are not in the event set: C1"]
    warnings.clear()
    return path


def names_of(path: str) -> list[str]:
    events = isx.EventSet.read(path)
    return [events.get_cell_name(i) for i in range(events.num_cells)]


def test_events(events):
    assert names_of(events) == ["C0", "C2", "C3", "C4", "C5"]
    event_set = isx.EventSet.read(events)
    assert len(event_set.get_cell_data(2)[0]) == 0  # constant: known to have none


def test_events_of_no_cell_that_is_known(tmp_path, context, warnings):
    path = recordings.cell_set(tmp_path / "c.isxd", n_cells=2)
    data = path.read_bytes()
    values = np.frombuffer(data, "<f4", 2 * (48 * 64 + 200)).copy().reshape(2, -1)
    values[:, 48 * 64 :] = np.nan
    path.write_bytes(values.tobytes() + data[values.nbytes :])
    with pytest.raises(Unusable, match=r"^no trace of c\.isxd in which events would be sought holds 3 numbers$"):
        event_detection(str(path), str(tmp_path / "e.isxd"), context=context)
    with pytest.raises(Unusable, match=r"^no trace of c\.isxd that would be deconvolved holds 3 numbers$"):
        deconvolve_cellset(str(path), str(tmp_path / "d.isxd"), context=context)


@pytest.mark.parametrize(("only", "which"), [(True, "accepted"), (False, "accepted or undecided")])
def test_events_of_rejected_cells_alone(tmp_path, context, only, which):
    path = recordings.cell_set(tmp_path / "c.isxd", n_cells=2)
    edit_footer(path, CellStatuses=[2, 2])
    with pytest.raises(Unusable, match=rf"^no cell of c\.isxd is {which}: accept some first$"):
        event_detection(str(path), str(tmp_path / "e.isxd"), accepted_cells_only=only, context=context)


def test_metrics(cells, events, tmp_path, context, warnings):
    table = tmp_path / "metrics.csv"
    cell_metrics(cells, events, str(table), context=context)
    with table.open(newline="") as file:
        rows = {
            row.pop("cellName"): {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)
        }
    of_traces = list(rows["C0"])[:9]
    assert np.isnan([rows["C1"][name] for name in of_traces]).all() and rows["C1"]["numContourComponents"] == 1
    assert np.isfinite(list(rows["C2"].values())).all() and rows["C2"]["snr"] > 0
    assert {rows["C3"][name] for name in of_traces} == {0}
    places = [name for name in rows["C4"] if "Center" in name]
    assert np.isnan([rows["C4"][name] for name in places]).all() and rows["C4"]["overallAreaInPixels"] == 0
    assert rows["C4"]["snr"] > 0 and rows["C5"]["snr"] > 0
    assert warnings == [
        "cells whose traces hold fewer than 3 numbers, so SNR, rates and times are not known: C1",
        "cells whose footprints are empty, so places are not known: C4",
    ]
    assert isx.CellSet.read(cells).num_cells == 6  # their footprints' metrics are in it now
    json.dumps(read_cell_set(cells).footer, allow_nan=False)


@pytest.mark.parametrize(
    ("filters", "status"),
    [
        ([("SNR", ">", 3)], "undecided"),
        ([("Event Rate", "<", 100), ("# Comps", "=", 1)], "undecided"),
        ([("SNR", ">", 3), ("# Comps", ">", 1)], "rejected"),
        ([("# Comps", "=", 1)], "accepted"),
    ],
)
def test_statuses(cells, events, context, warnings, filters, status):
    auto_accept_reject(cells, events, filters, context=context)
    decided = read_cell_set(cells)
    assert decided.statuses[1] == status
    assert "undecided" not in decided.statuses[:1] + decided.statuses[2:]
    named = [text for text in warnings if "undecided" in text]
    assert named == (
        ["cells whose traces hold fewer than 3 numbers stay undecided: C1"] if status == "undecided" else []
    )


def test_deconvolution(cells, tmp_path, context, warnings):
    denoised, spikes = str(tmp_path / "den.isxd"), str(tmp_path / "spk.isxd")
    deconvolve_cellset(cells, denoised, spikes, context=context)
    assert warnings == ["cells whose traces hold fewer than 3 numbers have no denoised traces and no spikes: C1"]
    before, after = read_cell_set(cells), read_cell_set(denoised)
    assert after.names == before.names
    known = np.isfinite(before.traces) & before.valid
    known[1] = False
    assert np.array_equal(np.isfinite(after.traces), known)
    assert names_of(spikes) == ["C0", "C2", "C3", "C4", "C5"]
    offsets_us, _ = isx.EventSet.read(spikes).get_cell_data(1)
    assert not ((offsets_us >= GAP.start * 50_000) & (offsets_us < GAP.stop * 50_000)).any()


def test_steps_that_need_what_a_cell_lacks_name_it(cells, tmp_path, context, warnings):
    export_cell_contours(cells, str(tmp_path / "c.json"), context=context)
    create_neural_activity_movie([cells], [str(tmp_path / "m.isxd")], context=context)
    compute_spatial_overlap_cell_set(cells, cells, str(tmp_path / "o.csv"), context=context)
    multiplane_registration([cells, cells], str(tmp_path / "p.isxd"), context=context)
    unmatched = "cells of cells.isxd match none, because their footprints are empty: C4"
    silent = "cells of cells.isxd match none, because their traces hold fewer than 3 numbers: C1"
    said = [text for text in warnings if not text.startswith("planes")]
    assert said == [
        "cells without a contour, because their footprints are empty: C4",
        "cells whose traces hold fewer than 3 numbers are dark in the movie: C1",
        *[unmatched] * 2,
        *[unmatched, silent] * 2,
    ]


# ---- tables, pages, NWB


def test_inspection(cells, tmp_path):
    out, said = tmp_path / "out", []
    out.mkdir()
    write_results(Path(cells), "cell_set", "s", out, Context(tmp_path, warn=said.append), with_page=True)
    assert said[:2] == ["1 of 6 cells have no footprint: C4", "1 of 6 cells have traces without information: C1"]
    with (out / "s-cells.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    unknown = ("noise", "snr", "n_transients", "transient_rate_hz", "half_decay_s")
    assert {rows["C1"][name] for name in unknown} == {""}
    assert int(rows["C0"]["n_transients"]) > 0 and rows["C3"]["n_transients"] == "0"
    assert {rows["C4"][name] for name in ("centroid_x_px", "centroid_y_um", "overlap")} == {""}
    assert rows["C1"]["overlap"] != ""
    seconds = (N - 1 - (GAP.stop - GAP.start)) * 0.05
    assert float(rows["C2"]["transient_rate_hz"]) == pytest.approx(int(rows["C2"]["n_transients"]) / seconds)
    assert "1 of 6 cells have traces without information: C1" in (out / "s.html").read_text()


def test_nwb(cells, tmp_path):
    write(tmp_path / "c.nwb", Contents([Source(Path(cells), "cell_set")], "id"), Context(tmp_path, 1, lambda _: None))
    with NWBHDF5IO(str(tmp_path / "c.nwb"), "r") as io:
        table = io.read().processing["ophys"]["ImageSegmentation"]["PlaneSegmentation"]
        assert np.isnan([table[name][1] for name in ("noise", "snr", "n_transients", "transient_rate")]).all()
        assert table["n_transients"][3] == 0
