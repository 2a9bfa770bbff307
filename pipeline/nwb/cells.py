"""Cell sets: footprints as a PlaneSegmentation, traces in DfOverF or Fluorescence, by their unit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from hdmf.backends.hdf5 import H5DataIO
from hdmf.common import VectorData
from pynwb.ophys import DfOverF, Fluorescence, PlaneSegmentation, RoiResponseSeries

from common.csv_cells import cell
from pipeline.inspect import cellset, metadata
from pipeline.nwb.fill import Fill, empty
from pipeline.nwb.session import Opened, SessionFile
from protocol.job import NOBODY, Room, digest

ANIMAL_CELL = "animal_cell"
FOLLOWED = "Number of the cell in all sessions of the animal; -1: it is not followed"
DF_OVER_F = "dF over F"  # as isxcore spells the unit


def add(session: SessionFile, recording: Opened) -> None:
    cells = recording.handle
    n = cells.num_cells
    if n == 0:
        session.leave_out(recording, "cells")
        return
    names = [cells.get_cell_name(i) for i in range(n)]
    traces = np.ascontiguousarray(metadata.traces(recording.timing, n, cells.get_cell_trace_data).T)
    table = _same_cells(session, recording, names) or _table(session, recording, names, traces)
    unit = cellset.trace_unit(recording.footer)
    series = RoiResponseSeries(
        name=session.name("RoiResponseSeries", recording.source.label),
        description=f"Traces of {recording.title}; samples that were dropped, cropped or blank are NaN",
        data=H5DataIO(traces, compression="gzip", shuffle=True),
        unit="a.u." if unit == "au" else unit,
        rois=table.create_roi_table_region("All cells, in the order of the file", region=list(range(n))),
        starting_time=session.seconds(recording.start),
        rate=recording.rate,
    )
    holder = DfOverF if unit == DF_OVER_F else Fluorescence
    if holder.__name__ not in session.ophys.data_interfaces:
        session.ophys.add(holder(name=holder.__name__))
    session.ophys[holder.__name__].add_roi_response_series(series)


def rooms(path: Path) -> list[Room]:
    """Where a file that has just been written keeps room for the numbers of an animal's cells: see runner.numbers."""
    reserved: list[Room] = []

    def note(name: str, item: h5py.Dataset | h5py.Group) -> None:
        if name.endswith(f"/{ANIMAL_CELL}"):
            names = [cell(cell_name) for cell_name in item.parent["cell_name"].asstr()[:]]
            (n,) = item.shape
            reserved.append(Room(path.name, item.id.get_chunk_info(0).byte_offset, n, digest(names)))

    with h5py.File(path) as file:
        if "processing" in file:
            file["processing"].visititems(note)
    return reserved


def _same_cells(session: SessionFile, recording: Opened, names: list[str]) -> PlaneSegmentation | None:
    """The table of an earlier part of the series, if its cells are the same ones."""
    for other, table in session.parts.get(recording.source.series, ()):
        others = [other.handle.get_cell_name(i) for i in range(other.handle.num_cells)]
        if others == names and all(
            np.array_equal(other.handle.get_cell_image_data(i), recording.handle.get_cell_image_data(i))
            and other.handle.get_cell_status(i) == recording.handle.get_cell_status(i)
            for i in range(len(names))
        ):
            return table
    return None


def _table(session: SessionFile, recording: Opened, names: list[str], traces: np.ndarray) -> PlaneSegmentation:
    cells, n = recording.handle, len(names)
    described = [cellset.describe(names[i], cells.get_cell_status(i), cells.get_cell_image_data(i)) for i in range(n)]
    decided = recording.source.decided
    activity = cellset.activity(traces.T, recording.timing)
    rows, columns = cells.spacing.num_pixels
    masks = empty((n, columns, rows), np.float32, (1, columns, rows))
    status = [decided[cell.name].status if cell.name in decided else cell.status for cell in described]
    by = [decided[name].by if name in decided else "" for name in names]
    counted = activity.n_transients
    n_transients = np.array(counted, float) if None in counted else counted  # NaN if not known
    fields = [
        ("image_mask", masks, "Footprint, as isx reads it; axes x, y"),
        ("cell_name", names, "Name in the cell set"),
        ("status", status, "accepted, undecided or rejected"),
        *(
            [("decided_by", by, "Who decided on the status by eye; empty: the recipe, or the recording")]
            if any(by)
            else []
        ),
        # These three as neuroconv writes and roiextractors reads them.
        ("Accepted", [its == "accepted" for its in status], "Whether the status is accepted"),
        ("Rejected", [its == "rejected" for its in status], "Whether the status is rejected"),
        (
            "ROICentroids",
            np.array([cell.centroid for cell in described], dtype=np.float64),
            "x rightwards, y downwards, px from the middle of the top left pixel",
        ),
        ("area", [cell.area for cell in described], "px in which the footprint reaches half its maximum"),
        ("noise", activity.noise, "Standard deviation of the trace's noise, in its unit (Donoho and Johnstone 1994)"),
        ("snr", activity.snr, "(maximum - median) / noise of the trace"),
        ("n_transients", n_transients, "Transients that the trace shows"),
        ("transient_rate", activity.rate_hz, "Their rate in Hz"),
        ("half_decay", activity.half_decay_s, "Median time in s in which they fall to half"),
    ]
    if recording.source.is_of_session:
        nobody = np.full(n, NOBODY, "<i4")
        fields.append((ANIMAL_CELL, H5DataIO(nobody, chunks=(n,), maxshape=(n,)), FOLLOWED))
    table = session.segmentation(
        recording,
        names,
        [VectorData(name=name, data=data, description=what) for name, data, what in fields],
        f"Cells of {recording.title}",
    )

    def footprints() -> Iterator[np.ndarray]:
        for i in range(n):
            yield cells.get_cell_image_data(i).astype(np.float32, copy=False).T[np.newaxis]

    session.fills.append(Fill(f"/processing/ophys/ImageSegmentation/{table.name}/image_mask", footprints))
    session.parts.setdefault(recording.source.series, []).append((recording, table))
    return table
